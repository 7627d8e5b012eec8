#include "cuda/passes.hpp"
#include "cuda/tiles.hpp"

namespace voxridge::cuda {
namespace {

constexpr bool every_tile_once(index_t n) {
    const Grid grid = lower_grid(n);
    bool seen[16][16] = {};
    for (index_t y = 0; y < grid.y; ++y)
        for (index_t x = 0; x < grid.x; ++x) {
            const TilePair at = lower_tile(n, x, y);
            if (at.j < 0 || at.j > at.i || at.i >= n || seen[at.i][at.j]) return false;
            seen[at.i][at.j] = true;
        }
    return grid.x * grid.y == n * (n + 1) / 2;
}
static_assert(every_tile_once(0) && every_tile_once(1) && every_tile_once(2) && every_tile_once(3) && every_tile_once(15) && every_tile_once(16));

// Strict lower triangle <- upper.
struct LowerFromUpper {
    static constexpr int kThreads = kTileThreads;
    static constexpr bool kSyncs = true;
    using Shared = Tile;
    Matrix<double> a;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const TilePair at = lower_tile(blocks_for(a.rows, kTile), block.x(), block.y());
        const int lane = block.thread() % kTile, warp = block.thread() / kTile;
        for (int k = 0; k < kTileRows; ++k) {
            const int y = warp + k * kTileWarps;
            const index_t row = at.j * kTile + y, column = at.i * kTile + lane;
            if (row < column && column < a.cols) shared.value[y][lane] = a.row(row)[column];
        }
        block.sync();
        for (int k = 0; k < kTileRows; ++k) {
            const int y = warp + k * kTileWarps;
            const index_t row = at.i * kTile + y, column = at.j * kTile + lane;
            if (column < row && row < a.rows) a.row(row)[column] = shared.value[lane][y];
        }
    }
};

// Both triangles of `out` <- value(row, column) of the lower one. A block reads nothing that another writes, so the values may come from `out`.
template <class Value>
struct BothFromLower {
    static constexpr int kThreads = kTileThreads;
    static constexpr bool kSyncs = true;
    using Shared = Tile;
    Value value;
    Matrix<double> out;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const TilePair at = lower_tile(blocks_for(out.rows, kTile), block.x(), block.y());
        const int lane = block.thread() % kTile, warp = block.thread() / kTile;
        const bool whole = at.j < at.i && (at.i + 1) * kTile <= out.rows;
        double values[kTileRows] = {};
        if (whole) {  // without a branch between two reads
            for (int k = 0; k < kTileRows; ++k) values[k] = value(at.i * kTile + warp + k * kTileWarps, at.j * kTile + lane);
        } else {
            for (int k = 0; k < kTileRows; ++k) {
                const index_t row = at.i * kTile + warp + k * kTileWarps, column = at.j * kTile + lane;
                if (column <= row && row < out.rows) values[k] = value(row, column);
            }
        }
        for (int k = 0; k < kTileRows; ++k) shared.value[warp + k * kTileWarps][lane] = values[k];
        block.sync();
        for (int k = 0; k < kTileRows; ++k) {
            const int y = warp + k * kTileWarps;
            const index_t row = at.i * kTile + y, column = at.j * kTile + lane;
            if (column <= row && row < out.rows) out.row(row)[column] = values[k];
            const index_t above = at.j * kTile + y, right = at.i * kTile + lane;
            if (above < right && right < out.cols) out.row(above)[right] = shared.value[lane][y];
        }
    }
};

template <class Value>
void fill_from_lower(Stream& stream, const Value& value, Matrix<double> out) {
    launch(stream, lower_grid(blocks_for(out.rows, kTile)), BothFromLower<Value>{value, out});
}

struct Centred {
    Matrix<const double> a;
    const double* mean;
    double grand;
    const double* root;
    VOXRIDGE_DEVICE double operator()(index_t i, index_t j) const {
        const double value = a.row(i)[j] - mean[i] - mean[j] + grand;
        return root ? root[i] * root[j] * value : value;
    }
};

struct Picked {
    Matrix<const double> a;
    const index_t* rows;
    double scale, diagonal, share;
    const double* r;
    VOXRIDGE_DEVICE double operator()(index_t i, index_t j) const {
        const index_t t = rows[i], u = rows[j];
        double value = scale * (t < u ? a.row(u)[t] : a.row(t)[u]);
        if (t == u) value += diagonal;
        return r ? value + share * r[t] * r[u] : value;
    }
};

// Rows of a symmetric matrix: as they are up to the diagonal, columns beyond it.
template <class T>
struct SymmetricRows {
    static constexpr int kThreads = kTileThreads;
    static constexpr bool kSyncs = true;
    using Shared = Tile;
    Matrix<const double> a;
    index_t begin;
    double scale, diagonal;
    Matrix<T> out;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const index_t first_row = begin + index_t{block.y()} * kTile, first_column = index_t{block.x()} * kTile, end = begin + out.rows;
        const int lane = block.thread() % kTile, warp = block.thread() / kTile;
        double mirrored[kTileRows] = {}, values[kTileRows] = {};
        for (int k = 0; k < kTileRows; ++k) {
            const int y = warp + k * kTileWarps;
            const index_t row = first_row + lane, column = first_column + y;
            if (row < column && column < a.cols && row < end) mirrored[k] = a.row(column)[row];
        }
        for (int k = 0; k < kTileRows; ++k) {
            const index_t row = first_row + warp + k * kTileWarps, column = first_column + lane;
            if (column <= row && row < end) values[k] = a.row(row)[column];
        }
        for (int k = 0; k < kTileRows; ++k) shared.value[warp + k * kTileWarps][lane] = mirrored[k];
        block.sync();
        for (int k = 0; k < kTileRows; ++k) {
            const int y = warp + k * kTileWarps;
            const index_t row = first_row + y, column = first_column + lane;
            values[k] = scale * (row < column ? shared.value[lane][y] : values[k]);
            if (row == column) values[k] += diagonal;
        }
        for (int k = 0; k < kTileRows; ++k) {
            const index_t row = first_row + warp + k * kTileWarps, column = first_column + lane;
            if (row < end && column < a.cols) out.row(row - begin)[column] = static_cast<T>(values[k]);
        }
    }
};

struct NoShared {};

struct SetDiagonal {
    static constexpr int kThreads = 128;
    static constexpr bool kSyncs = false;
    using Shared = NoShared;
    Matrix<double> a;
    const double* diagonal;
    double alpha;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t i = index_t{block.x()} * kThreads + block.thread();
        if (i < a.rows) a.row(i)[i] = diagonal[i] + alpha;
    }
};

struct GetDiagonal {
    static constexpr int kThreads = 128;
    static constexpr bool kSyncs = false;
    using Shared = NoShared;
    Matrix<const double> a;
    double* diagonal;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t i = index_t{block.x()} * kThreads + block.thread();
        if (i < a.rows) diagonal[i] = a.row(i)[i];
    }
};

void require_square(Matrix<const double> a, const char* op) {
    require(a.rows == a.cols, op, ": the matrix is ", shape{a.rows, a.cols}, ", not square");
}

}  // namespace

void restore_lower(Stream& stream, Matrix<double> a) {
    require_square(a, "restore_lower");
    launch(stream, lower_grid(blocks_for(a.rows, kTile)), LowerFromUpper{a});
}

template <class T>
void symmetric_rows(Stream& stream, Matrix<const double> a, index_t begin, double scale, double diagonal, Matrix<T> out) {
    require(a.rows == a.cols && out.cols == a.cols && begin >= 0 && begin + out.rows <= a.rows, "symmetric_rows: rows [", begin, ", ",
            begin + out.rows, ") of a ", shape{a.rows, a.cols}, " matrix, out ", shape{out.rows, out.cols});
    launch(stream, {blocks_for(a.cols, kTile), blocks_for(out.rows, kTile)}, SymmetricRows<T>{a, begin, scale, diagonal, out});
}

void set_diagonal(Stream& stream, Matrix<double> a, const double* diagonal, double alpha) {
    require_square(a, "set_diagonal");
    launch(stream, {blocks_for(a.rows, SetDiagonal::kThreads)}, SetDiagonal{a, diagonal, alpha});
}

void get_diagonal(Stream& stream, Matrix<const double> a, double* diagonal) {
    require_square(a, "get_diagonal");
    launch(stream, {blocks_for(a.rows, GetDiagonal::kThreads)}, GetDiagonal{a, diagonal});
}

void centre_kernel(Stream& stream, Matrix<double> a, const double* mean, double grand, const double* root) {
    require_square(a, "centre_kernel");
    fill_from_lower(stream, Centred{a, mean, grand, root}, a);
}

void symmetric_block(Stream& stream, Matrix<const double> a, const index_t* rows, double scale, double diagonal, double share, const double* r,
                     Matrix<double> out) {
    require_square(a, "symmetric_block");
    require(out.rows == out.cols, "symmetric_block: out is ", shape{out.rows, out.cols}, ", not square");
    fill_from_lower(stream, Picked{a, rows, scale, diagonal, share, r}, out);
}

template void symmetric_rows<float>(Stream&, Matrix<const double>, index_t, double, double, Matrix<float>);
template void symmetric_rows<double>(Stream&, Matrix<const double>, index_t, double, double, Matrix<double>);

}  // namespace voxridge::cuda
