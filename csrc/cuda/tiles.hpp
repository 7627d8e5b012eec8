// Tiles of 32 x 32 elements, through which a block of threads reads rows and writes columns as rows.
#pragma once

#include "cuda/block.hpp"

namespace voxridge::cuda {

inline constexpr int kTile = 32;        // rows and columns; a warp has a row
inline constexpr int kTileThreads = 256;
inline constexpr int kTileWarps = kTileThreads / kTile;
inline constexpr int kTileRows = kTile / kTileWarps;  // that a thread has

// One column more than needed, so that the threads of a warp find a column in different banks.
struct Tile {
    double value[kTile][kTile + 1];
};

struct TilePair {
    index_t i, j;  // i >= j
};

// A grid of blocks, one for each of the n (n + 1) / 2 tiles on and below the diagonal of a matrix of n x n tiles.
constexpr Grid lower_grid(index_t n) { return {n | 1, (n + 1) / 2, 1}; }

// The tile of block (x, y) of that grid. Rows y and n - 1 - y of the triangle have n + 1 tiles together, and make a row of the grid; where n is
// odd rows y - 1 and n - 1 - y do, with n tiles.
VOXRIDGE_HD constexpr TilePair lower_tile(index_t n, index_t x, index_t y) {
    const index_t split = n % 2 == 0 ? y + 1 : y;
    if (x < split) return {split - 1, x};
    return {n - 1 - y, x - split};
}

}  // namespace voxridge::cuda
