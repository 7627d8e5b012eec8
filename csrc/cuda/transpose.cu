#include "cuda/passes.hpp"
#include "cuda/tiles.hpp"

namespace voxridge::cuda {
namespace {

// Through a tile of shared memory, so that reads and writes both follow the rows.
template <class T>
struct Transpose {
    static constexpr int kThreads = kTileThreads;
    static constexpr bool kSyncs = true;
    struct Shared {
        T tile[kTile][kTile + 1];  // one more: a column is spread over all banks
    };
    Matrix<const T> from;
    Matrix<T> to;
    bool lower;  // from and to are one matrix: its lower triangle to its upper one

    Grid grid() const {
        const index_t rows = blocks_for(from.rows, kTile), columns = blocks_for(from.cols, kTile);
        return lower ? lower_grid(rows) : Grid{columns, rows};
    }

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        TilePair at{block.y(), block.x()};
        if (lower) at = lower_tile(blocks_for(from.rows, kTile), at.j, at.i);
        const int lane = block.thread() % kTile, warp = block.thread() / kTile;
        for (int y = warp; y < kTile; y += kTileWarps) {
            const index_t i = at.i * kTile + y, j = at.j * kTile + lane;
            if (i < from.rows && j < from.cols) shared.tile[y][lane] = from.row(i)[j];
        }
        block.sync();
        for (int y = warp; y < kTile; y += kTileWarps) {
            const index_t i = at.i * kTile + lane, j = at.j * kTile + y;
            if (i < from.rows && j < from.cols && (!lower || j < i)) to.row(j)[i] = shared.tile[lane][y];
        }
    }
};

template <class T>
void run(Stream& stream, const Transpose<T>& kernel) {
    launch(stream, kernel.grid(), kernel);
}

}  // namespace

template <class T>
void mirror_lower(Stream& stream, Matrix<T> a) {
    require(a.rows == a.cols, "mirror_lower: a is ", shape{a.rows, a.cols}, ", expected a square matrix");
    run(stream, Transpose<T>{a, a, true});
}

template <class T>
void transpose(Stream& stream, Matrix<const T> from, Matrix<T> to) {
    require(to.rows == from.cols && to.cols == from.rows, "transpose: out is ", shape{to.rows, to.cols}, ", expected ",
            shape{from.cols, from.rows});
    run(stream, Transpose<T>{from, to, false});
}

template void mirror_lower<float>(Stream&, Matrix<float>);
template void mirror_lower<double>(Stream&, Matrix<double>);
template void transpose<float>(Stream&, Matrix<const float>, Matrix<float>);
template void transpose<double>(Stream&, Matrix<const double>, Matrix<double>);

}  // namespace voxridge::cuda
