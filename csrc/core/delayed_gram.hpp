// Gram matrix of the delayed design, primal, without the delayed design.
#pragma once

#include "core/poll.hpp"
#include "core/rows.hpp"

namespace voxridge {

// gram (p, p), p = D * p0, overwritten with  sum over the rows t of `segments` of  X[t]' X[t],  both triangles.
//   features (n_samples, p0), F; gram, T: the products are formed and summed in T.
//   X[t, (i, j)] = features[t - delays[i], j] inside the run, else 0.
// Block (i, k) depends on the lag delays[i] - delays[k] but for the ends of the segments, so one product per distinct lag is formed and
// every other block of that lag gets a correction of a few rows. Where the segments are shorter than that is worth, the rows are
// gathered instead. Extra memory: two buffers of kChunkRows rows, p0 wide (gathered: p wide, kChunkRows / D rows).
template <class F, class T>
void delayed_gram(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, Matrix<T> gram,
                  int n_threads, const Poll& poll);

inline constexpr index_t kChunkRows = 512;

}  // namespace voxridge
