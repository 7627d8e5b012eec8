// Grams, kernels and products of the delayed design on the device, without the delayed design: the contracts of core/delayed_gram.hpp,
// core/delayed_kernel.hpp and core/delayed_products.hpp, with matrices on the device of the stream and runs, ranges and delays on the host.
//
// F is the type of the features, T that of the results: (float, float), (float, double), (double, double).
#pragma once

#include <vector>

#include "core/rows.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

template <class F, class T>
void delayed_gram(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                  Matrix<T> gram);

// kernel (n, n) <- F F', the lower triangle, in T; with `accumulate` it is added.
template <class F, class T>
void base_kernel(Stream& stream, Matrix<const F> features, Matrix<T> kernel, bool accumulate);

template <class F, class T>
void base_cross_kernel(Stream& stream, Matrix<const F> left, Matrix<const F> right, Matrix<T> cross);

// In place, a thread for every diagonal. symmetric: only the lower triangle is read, both are written.
template <class T>
void shift_kernel(Stream& stream, Matrix<T> kernel, const std::vector<index_t>& row_offsets, const std::vector<index_t>& col_offsets,
                  const std::vector<index_t>& delays, bool symmetric);

template <class F, class T>
void delayed_xty(Stream& stream, Matrix<const F> features, Matrix<const T> y, const std::vector<Segment>& segments,
                 const std::vector<index_t>& delays, Matrix<T> out);

template <class F, class T>
void delayed_xw(Stream& stream, Matrix<const F> features, Matrix<const T> w, const std::vector<Segment>& segments,
                const std::vector<index_t>& delays, Matrix<T> out);

// out (p) on the device, float64.
template <class F>
void delayed_sums(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, double* out);

}  // namespace voxridge::cuda
