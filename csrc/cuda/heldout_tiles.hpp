// Who does what in the products of heldout_moments.cu: which elements a thread loads, where they lie in shared memory, which results are its own.
//
// A tile's results are shared out by parts and owners: a thread is one of the kParts that hold some rows of a column, and one of the kOwners that
// hold some columns of a row. Its result (i, j) lies in row row_of(part, i) and column column_of(owner, j) of the tile.
#pragma once

#include "cuda/block.hpp"

#ifdef __CUDACC__
#define VOXRIDGE_UNROLL _Pragma("unroll")  // arrays that live in registers want constant subscripts
#else
#define VOXRIDGE_UNROLL
#endif

namespace voxridge::cuda::heldout {

// Neighbours in memory, moved as one.
template <class T, int N = 16 / static_cast<int>(sizeof(T))>
struct alignas(N * sizeof(T)) Pack {
    static constexpr int kSize = N;
    T value[N];
};

// Whether every row starts at a multiple of 16 bytes, so that packs may be loaded as one.
template <class T>
bool rows_aligned(Matrix<const T> a) {
    return reinterpret_cast<std::uintptr_t>(a.data) % 16 == 0 && a.stride * static_cast<index_t>(sizeof(T)) % 16 == 0;
}

// The first `count` elements of a pack, zeros behind them; nothing else is read.
template <int N, class T>
VOXRIDGE_DEVICE Pack<T, N> load(const T* from, int count, bool aligned) {
    if (aligned && count >= N) return *reinterpret_cast<const Pack<T, N>*>(from);
    Pack<T, N> pack;
    VOXRIDGE_UNROLL
    for (int c = 0; c < N; ++c) pack.value[c] = c < count ? from[c] : T(0);
    return pack;
}

template <class T>
VOXRIDGE_DEVICE void store(T* to, const Pack<T>& pack) {
    *reinterpret_cast<Pack<T>*>(to) = pack;
}

// --- blocks

VOXRIDGE_HD constexpr index_t smaller(index_t a, index_t b) { return a < b ? a : b; }
// The rest of a row of n elements from i on, up to `most`, as a count.
VOXRIDGE_HD constexpr int rest(index_t n, index_t i, int most) { return static_cast<int>(smaller(n - i, most)); }
VOXRIDGE_HD constexpr index_t pieces(index_t n, index_t size) { return (n + size - 1) / size; }

// Tiles of rows, shared out evenly to so few blocks that their partial sums stay small beside y: a function of m and the tile alone.
inline constexpr index_t kMaxRowBlocks = 128;

struct RowBlocks {
    index_t tiles, per_block, blocks;
};

VOXRIDGE_HD constexpr RowBlocks row_blocks(index_t m, index_t tile_rows) {
    const index_t tiles = pieces(m, tile_rows), per_block = pieces(tiles, kMaxRowBlocks);
    return {tiles, per_block, tiles == 0 ? 0 : pieces(tiles, per_block)};
}

// Which block of rows and which tile of targets a block of the grid computes. Blocks that run at the same time are neighbours in both directions, so
// that the factor and the residual are read from the cache and not, once for every tile, from memory.
inline constexpr index_t kBand = 8;  // tiles of targets

struct Place {
    index_t row_block, column_tile;
};

VOXRIDGE_HD constexpr Place place_of(index_t block, index_t n_row_blocks, index_t n_column_tiles) {
    const index_t band = block / (kBand * n_row_blocks), within = block - band * kBand * n_row_blocks;
    const index_t width = smaller(kBand, n_column_tiles - band * kBand);
    return {within / width, band * kBand + within % width};
}

// --- tiles of the ordinary cores

// A warp is 4 x 8 threads; a thread has 2 x 2 groups of one pack x one pack, so that a warp reads packs from shared memory without conflicts.
template <class T, int WarpRows, int WarpCols>
struct SimtTile {
    static constexpr int kPack = Pack<T>::kSize, kValues = 1;  // kValues: packs of a load
    static constexpr int kThreads = 32 * WarpRows * WarpCols, kRows = 8 * kPack * WarpRows, kCols = 16 * kPack * WarpCols, kDepth = 8;
    static constexpr int kThreadRows = 2 * kPack, kThreadCols = 2 * kPack, kSpan = kPack;  // kSpan: columns of a thread that are neighbours
    static constexpr int kParts = 4 * WarpRows, kOwners = 8 * WarpCols, kOwnersOfWarp = 8;
    static constexpr int kLoadsA = kRows * kDepth / kPack / kThreads, kLoadsB = kCols * kDepth / kPack / kThreads;
    static_assert(kLoadsA * kThreads * kPack == kRows * kDepth && kLoadsB * kThreads * kPack == kCols * kDepth);
    static_assert(kThreads % (kDepth / kPack) == 0 && kThreads % (kCols / kPack) == 0);  // all loads of a thread lie in the same columns

    VOXRIDGE_HD static constexpr int part_of(int thread) { return thread / 32 / WarpCols * 4 + thread % 32 / 8; }
    VOXRIDGE_HD static constexpr int owner_of(int thread) { return thread / 32 % WarpCols * 8 + thread % 8; }
    VOXRIDGE_HD static constexpr int row_of(int part, int i) {
        return part / 4 * 8 * kPack + i / kPack * 4 * kPack + part % 4 * kPack + i % kPack;
    }
    VOXRIDGE_HD static constexpr int column_of(int owner, int j) {
        return owner / 8 * 16 * kPack + j / kPack * 8 * kPack + owner % 8 * kPack + j % kPack;
    }
    // A load is a pack: of the factor along k from (a_row, a_k), of the residual along the targets from (b_k, b_column).
    VOXRIDGE_HD static constexpr int a_row(int thread, int load) { return (thread + load * kThreads) / (kDepth / kPack); }
    VOXRIDGE_HD static constexpr int a_k(int thread) { return thread % (kDepth / kPack) * kPack; }
    VOXRIDGE_HD static constexpr int b_k(int thread, int load) { return (thread + load * kThreads) / (kCols / kPack); }
    VOXRIDGE_HD static constexpr int b_column(int thread) { return thread % (kCols / kPack) * kPack; }
};

// --- tiles of the tensor cores

// Operands are words of 32 bits along k: one tf32, or two bf16. 2 x 4 warps have 64 x 32 results each, 4 x 4 fragments of mma m16n8.
// A dot product may take its words in any order if both operands do: thread `place` of a group of four takes words 4 place .. 4 place + 3 of the
// factor, one pack, where the fragments say place and place + 4 of two products; word 4 p + c of the residual therefore lies in slot 4 c + p.
template <int Values>  // in a word
struct TensorTile {
    static constexpr int kThreads = 256, kRows = 128, kCols = 128, kWords = 16, kValues = Values, kDepth = kWords * Values, kPack = 4;
    static constexpr int kThreadRows = 8, kThreadCols = 8, kSpan = 2;
    static constexpr int kParts = 16, kOwners = 16, kOwnersOfWarp = 4;
    static constexpr int kLoadsA = kRows * kWords / kPack / kThreads, kLoadsB = kCols * kWords / kPack / kThreads;

    VOXRIDGE_HD static constexpr int part_of(int thread) { return thread / 128 * 8 + thread % 32 / 4; }
    VOXRIDGE_HD static constexpr int owner_of(int thread) { return thread / 32 % 4 * 4 + thread % 4; }
    VOXRIDGE_HD static constexpr int row_of(int part, int i) { return part / 8 * 64 + i / 2 * 16 + i % 2 * 8 + part % 8; }
    VOXRIDGE_HD static constexpr int column_of(int owner, int j) { return owner / 4 * 32 + j / 2 * 8 + owner % 4 * 2 + j % 2; }
    // A load is four words, so a pack for each of the values of a word: of the factor along k, of the residual along the targets.
    VOXRIDGE_HD static constexpr int a_row(int thread, int load) { return (thread + load * kThreads) / (kWords / kPack); }
    VOXRIDGE_HD static constexpr int a_word(int thread) { return thread % (kWords / kPack) * kPack; }
    VOXRIDGE_HD static constexpr int a_k(int thread) { return a_word(thread) * Values; }
    VOXRIDGE_HD static constexpr int b_k(int thread, int load) { return b_word(thread, load) * Values; }
    VOXRIDGE_HD static constexpr int b_word(int thread, int load) { return (thread + load * kThreads) / (kCols / kPack); }
    VOXRIDGE_HD static constexpr int b_column(int thread) { return thread % (kCols / kPack) * kPack; }
    VOXRIDGE_HD static constexpr int b_slot(int word) { return word % 4 * 4 + word / 4; }
};

}  // namespace voxridge::cuda::heldout
