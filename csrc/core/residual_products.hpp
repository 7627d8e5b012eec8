// Sums over samples of products of residuals, for every pair of models and every target: what the weights of a stack are made from.
#pragma once

#include <vector>

#include "core/matrix.hpp"
#include "core/poll.hpp"

namespace voxridge {

// sums (m (m + 1) / 2, v) += sum_t e_i[t, v] e_j[t, v]   for i >= j, in the order (0, 0), (1, 0), (1, 1), (2, 0), ...
//   e_i = parts[i] (n, v), or truth - parts[i] where truth (n, v) is not empty; differences, products and sums in float64.
// A target's sum is one after the other over its rows, so its bits depend neither on the other targets nor on threads. Extra memory:
// about 64 (m + 4)^2 / 2 + 512 (m + 4) doubles a thread.
template <class T>
void residual_products(const std::vector<Matrix<const T>>& parts, Matrix<const T> truth, Matrix<double> sums, int n_threads,
                       const Poll& poll);

}  // namespace voxridge
