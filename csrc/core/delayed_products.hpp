// Products of the delayed design with a matrix, without the delayed design: block i is a plain GEMM on features shifted by delays[i].
#pragma once

#include "core/poll.hpp"
#include "core/rows.hpp"

namespace voxridge {

// out (p, n_targets) <- sum over the rows t of `segments` of X[t]' y[t].  features (n_samples, p0), y (n_samples, n_targets).
template <class F, class T>
void delayed_xty(Matrix<const F> features, Matrix<const T> y, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                 Matrix<T> out, const Poll& poll);

// out (rows of all segments in order, k) <- X[segments] w,  w (p, k).
template <class F, class T>
void delayed_xw(Matrix<const F> features, Matrix<const T> w, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                Matrix<T> out, const Poll& poll);

// out (p) <- sum over the rows t of `segments` of X[t], in float64.
template <class F>
void delayed_sums(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, double* out);

}  // namespace voxridge
