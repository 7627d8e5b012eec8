// Symmetric results are computed on one side and copied to the other.
#pragma once

#include <algorithm>

#include "cpu/parallel.hpp"

namespace voxridge {

// to = from', both n x n and either different blocks or the same one: then the lower triangle is copied to the upper. Tiles keep the
// column-wise writes in cache.
template <class T>
void transpose_block(Matrix<T> from, Matrix<T> to, bool lower_only, int n_threads = 1) {
    constexpr index_t tile = 32;
    parallel_for((from.rows + tile - 1) / tile, n_threads, [&](index_t block) {
        const index_t i0 = block * tile, i1 = std::min(i0 + tile, from.rows);
        for (index_t j0 = 0; j0 < (lower_only ? i1 : from.cols); j0 += tile)
            for (index_t i = i0; i < i1; ++i)
                for (index_t j = j0; j < std::min(j0 + tile, lower_only ? i : from.cols); ++j) to.row(j)[i] = from.row(i)[j];
    });
}

template <class T>
void mirror_lower(Matrix<T> a, int n_threads = 1) {
    transpose_block(a, a, true, n_threads);
}

}  // namespace voxridge
