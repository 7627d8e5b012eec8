// The delayed design itself, where a route needs some of its rows: as columns, which is what triangular solves take.
#pragma once

#include "core/matrix.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

// out (p, m), p = D * n_features, float64:  out[(i, j), c] = root_t (X[t, (i, j)] - mean_(i, j))  with t = rows[c] and
// X[t, (i, j)] = features[t - delays[i], j] where run_begin[t] <= t - delays[i] < run_end[t], else 0.
// All on the device; run_begin and run_end (n), delays (D), mean (p) or nullptr: 0, root (n) or nullptr: 1.
template <class F>
void design_columns(Stream& stream, Matrix<const F> features, const index_t* rows, const index_t* run_begin, const index_t* run_end,
                    const index_t* delays, index_t n_delays, const double* mean, const double* root, Matrix<double> out);

}  // namespace voxridge::cuda
