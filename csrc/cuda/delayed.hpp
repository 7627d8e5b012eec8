// Grams, kernels and products of the delayed design on the device, without the delayed design: the contracts of core/delayed_gram.hpp,
// core/delayed_kernel.hpp and core/delayed_products.hpp, with matrices on the device of the stream and runs, ranges and delays on the host.
//
// F is the type of the features, T that of the results: (float, float), (float, double), (double, double).
//
// Extra memory is the scratch of the stream, which stays with it: what an op gathers or converts, at most kChunkBytes (or one row), and 8 bytes
// for every row and delay where rows are gathered. The number of products does not depend on the number of runs or segments.
#pragma once

#include <vector>

#include "core/rows.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

inline constexpr index_t kChunkBytes = index_t{128} << 20;  // large enough that a chunk's product reads the result seldom
inline constexpr index_t kStripBytes = index_t{32} << 20;   // rows of the base kernel that shift_kernel keeps: within a device's cache
inline constexpr index_t kLeastStrip = 32;                  // rows of a strip at least, however wide
inline constexpr index_t kSumRows = 512;                    // rows of a partial sum

// gram (p, p) <- X'X over the rows of `segments`, both triangles. Blocks of one lag share a product, as core/delayed_gram.hpp has it.
template <class F, class T>
void delayed_gram(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                  Matrix<T> gram);

// kernel (n, n) <- F F', the lower triangle, in T; with `accumulate` it is added. What is above the diagonal may change.
template <class F, class T>
void base_kernel(Stream& stream, Matrix<const F> features, Matrix<T> kernel, bool accumulate);

// cross (n_left, n_right) <- left right'.
template <class F, class T>
void base_cross_kernel(Stream& stream, Matrix<const F> left, Matrix<const F> right, Matrix<T> cross);

// In place:  kernel[t, u] <- sum over i of kernel[t - delays[i], u - delays[i]],  terms outside the run of t or the run of u being 0.
// symmetric: only the lower triangle is read, both are written. A strip of rows at a time, a thread for every column and eight rows of it.
// Extra memory: kStripBytes, or kLeastStrip rows and as many as the delays span, and 16 bytes for every row and column.
template <class T>
void shift_kernel(Stream& stream, Matrix<T> kernel, const std::vector<index_t>& row_offsets, const std::vector<index_t>& col_offsets,
                  const std::vector<index_t>& delays, bool symmetric);

// out (p, v) <- X'y over the rows of `segments`. Extra memory: rows of y that do not follow one another are gathered, too, in another
// kChunkBytes at most.
template <class F, class T>
void delayed_xty(Stream& stream, Matrix<const F> features, Matrix<const T> y, const std::vector<Segment>& segments,
                 const std::vector<index_t>& delays, Matrix<T> out);

// out (rows of all segments in order, k) <- X[segments] w.
template <class F, class T>
void delayed_xw(Stream& stream, Matrix<const F> features, Matrix<const T> w, const std::vector<Segment>& segments,
                const std::vector<index_t>& delays, Matrix<T> out);

// out (p) on the device <- sum over the rows t of `segments` of X[t], in float64. Extra memory: p float64 for every kSumRows rows.
template <class F>
void delayed_sums(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, double* out);

}  // namespace voxridge::cuda
