#include "cuda/blas.hpp"
#include "cuda/block.hpp"
#include "cuda/delayed_rows.hpp"

namespace voxridge::cuda {
namespace {

// partial (blocks of kRows rows, k * c) <- sums of the rows at places[r, i], a thread for every column.
template <class F>
struct PartialSums {
    static constexpr int kThreads = 128;
    static constexpr bool kSyncs = false;
    struct Shared {};
    Matrix<const F> features;
    const index_t* places;
    index_t n_rows, k, column_blocks;
    double* partial;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t at = index_t{block.x()} / column_blocks, chunk = at / k, i = at % k;
        const index_t j = index_t{block.x()} % column_blocks * kThreads + block.thread();
        if (j >= features.cols) return;
        const index_t first = chunk * kSumRows, last = first + kSumRows < n_rows ? first + kSumRows : n_rows;
        double sum = 0;
        for (index_t r = first; r < last; ++r) {
            const index_t place = places[r * k + i];
            if (place > 0) sum += static_cast<double>(features.row(place - 1)[j]);
        }
        partial[at * features.cols + j] = sum;
    }
};

struct SumOfRows {
    static constexpr int kThreads = 128;
    static constexpr bool kSyncs = false;
    struct Shared {};
    Matrix<const double> a;
    double* out;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t j = index_t{block.x()} * kThreads + block.thread();
        if (j >= a.cols) return;
        double sum = 0;
        for (index_t i = 0; i < a.rows; ++i) sum += a.row(i)[j];
        out[j] = sum;
    }
};

bool consecutive(const Places& places, index_t first, index_t n) {
    const auto begin = places.begin() + first;
    return std::adjacent_find(begin, begin + n, [](index_t a, index_t b) { return b != a + 1; }) == begin + n;
}

}  // namespace

template <class F, class T>
void delayed_xty(Stream& stream, Matrix<const F> features, Matrix<const T> y, const std::vector<Segment>& segments,
                 const std::vector<index_t>& delays, Matrix<T> out) {
    const index_t p = features.cols * static_cast<index_t>(delays.size());
    require(y.rows == features.rows, "delayed_xty: features have ", features.rows, " rows, y has ", y.rows);
    require(out.rows == p && out.cols == y.cols, "delayed_xty: out is ", shape{out.rows, out.cols}, ", expected ", shape{p, y.cols});
    const Places samples = sample_places(segments);
    const auto n_rows = static_cast<index_t>(samples.size());
    if (n_rows == 0 || p == 0 || y.cols == 0) return fill_zero(stream, out);
    // Rows of y that do not follow one another are gathered, a panel of targets at a time.
    const index_t step = chunk_rows<T>(n_rows, p), panel = chunk_rows<T>(y.cols, step);
    const bool gathers = stretches(segments).size() > 1;
    Scratch scratch;
    const auto places_piece = scratch.add<index_t>(gathers ? n_rows : 0);
    const auto panel_piece = scratch.add<T>(gathers ? step * panel : 0);
    const DesignChunks<F, T> design(stream, features, segments, delays, scratch);
    if (gathers) scratch.upload(stream, places_piece, samples);
    design.for_each([&](index_t first, Matrix<const T> rows) {
        const double keep = first > 0 ? 1 : 0;
        if (consecutive(samples, first, rows.rows)) {
            const index_t t = samples[static_cast<std::size_t>(first)] - 1;
            return gemm(stream, true, false, 1, rows, y.block(t, 0, rows.rows, y.cols), keep, out);
        }
        for (index_t v = 0; v < y.cols; v += panel) {
            const index_t n = std::min(panel, y.cols - v);
            const Matrix<T> gathered{scratch.at(panel_piece), rows.rows, n, n};
            gather_rows<T, T>(stream, y.block(0, v, y.rows, n), scratch.at(places_piece) + first, 1, gathered);
            gemm(stream, true, false, 1, rows, gathered, keep, out.block(0, v, p, n));
        }
    });
}

template <class F, class T>
void delayed_xw(Stream& stream, Matrix<const F> features, Matrix<const T> w, const std::vector<Segment>& segments,
                const std::vector<index_t>& delays, Matrix<T> out) {
    const index_t p = features.cols * static_cast<index_t>(delays.size()), n_rows = total_rows(segments);
    require(w.rows == p, "delayed_xw: w is ", shape{w.rows, w.cols}, ", expected ", p, " rows (delays * features)");
    require(out.rows == n_rows && out.cols == w.cols, "delayed_xw: out is ", shape{out.rows, out.cols}, ", expected ", shape{n_rows, w.cols});
    if (n_rows == 0 || p == 0 || w.cols == 0) return fill_zero(stream, out);
    Scratch scratch;
    const DesignChunks<F, T> design(stream, features, segments, delays, scratch);
    design.for_each([&](index_t first, Matrix<const T> rows) {
        gemm(stream, false, false, 1, rows, w, 0, out.block(first, 0, rows.rows, out.cols));
    });
}

template <class F>
void delayed_sums(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                  double* out) {
    const index_t k = static_cast<index_t>(delays.size()), p = features.cols * k;
    const index_t n_rows = total_rows(segments), n_chunks = blocks_for(n_rows, kSumRows);
    if (n_rows == 0 || p == 0) return fill_zero(stream, Matrix<double>{out, 1, p, p});
    Scratch scratch;
    const auto places_piece = scratch.add<index_t>(n_rows * k);
    const auto partial_piece = scratch.add<double>(n_chunks * p);
    scratch.take(stream);
    const index_t* places = scratch.upload(stream, places_piece, design_places(segments, delays));
    double* partial = scratch.at(partial_piece);
    const index_t column_blocks = blocks_for(features.cols, PartialSums<F>::kThreads);
    launch(stream, {column_blocks * k * n_chunks}, PartialSums<F>{features, places, n_rows, k, column_blocks, partial});
    launch(stream, {blocks_for(p, SumOfRows::kThreads)}, SumOfRows{{partial, n_chunks, p, p}, out});
}

#define VOXRIDGE_INSTANTIATE(F, T)                                                                                                       \
    template void delayed_xty<F, T>(Stream&, Matrix<const F>, Matrix<const T>, const std::vector<Segment>&, const std::vector<index_t>&, \
                                    Matrix<T>);                                                                                          \
    template void delayed_xw<F, T>(Stream&, Matrix<const F>, Matrix<const T>, const std::vector<Segment>&, const std::vector<index_t>&,  \
                                   Matrix<T>);
VOXRIDGE_INSTANTIATE(float, float)
VOXRIDGE_INSTANTIATE(float, double)
VOXRIDGE_INSTANTIATE(double, double)
#undef VOXRIDGE_INSTANTIATE
template void delayed_sums<float>(Stream&, Matrix<const float>, const std::vector<Segment>&, const std::vector<index_t>&, double*);
template void delayed_sums<double>(Stream&, Matrix<const double>, const std::vector<Segment>&, const std::vector<index_t>&, double*);

}  // namespace voxridge::cuda
