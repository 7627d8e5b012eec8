// Gram matrix of the delayed design, dual, without the delayed design.
#pragma once

#include "core/poll.hpp"
#include "core/rows.hpp"

namespace voxridge {

// kernel (n, n) <- F F' in T, the lower triangle: all that shift_kernel reads; with `accumulate` it is added, so that features may come a
// group of columns at a time. Features that are not T already are converted a chunk of
// columns at a time; that chunk (at most kKernelChunk elements) is the only extra memory.
template <class F, class T>
void base_kernel(Matrix<const F> features, Matrix<T> kernel, bool accumulate, const Poll& poll);

// cross (n_left, n_right) = left right', in T.
template <class F, class T>
void base_cross_kernel(Matrix<const F> left, Matrix<const F> right, Matrix<T> cross, const Poll& poll);

// In place:  kernel[t, u] <- sum over i of kernel[t - delays[i], u - delays[i]],  terms outside the run of t or the run of u being 0.
// Rows and columns have run offsets of their own. Only elements of one diagonal meet, so bands of diagonals go to threads.
// symmetric: only the lower triangle is read, both are written. Extra memory: -min(delays) + 1 rows of a band.
template <class T>
void shift_kernel(Matrix<T> kernel, const std::vector<index_t>& row_offsets, const std::vector<index_t>& col_offsets,
                  const std::vector<index_t>& delays, bool symmetric, int n_threads);

inline constexpr index_t kKernelChunk = index_t{4096} * 1024;

}  // namespace voxridge
