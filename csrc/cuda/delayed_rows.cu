#include "cuda/delayed_rows.hpp"

#include "cuda/blas.hpp"
#include "cuda/block.hpp"

namespace voxridge::cuda {
namespace {

// A warp copies 32 columns of one row, from every place of the row.
template <class F, class T>
struct Gather {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = false;
    static constexpr index_t kColumns = 32, kRows = kThreads / kColumns;
    struct Shared {};
    Matrix<const F> from;
    const index_t* places;
    index_t k;
    Matrix<T> out;
    index_t row_blocks;  // of the grid

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t j = index_t{block.x()} * kColumns + block.thread() % kColumns;
        if (j >= from.cols) return;
        for (index_t r = index_t{block.y()} * kRows + block.thread() / kColumns; r < out.rows; r += row_blocks * kRows)
            for (index_t i = 0; i < k; ++i) {
                const index_t place = places[r * k + i];
                T value = 0;
                if (place > 0) value = static_cast<T>(from.row(place - 1)[j]);
                if (place < 0) value = -static_cast<T>(from.row(-place - 1)[j]);
                out.row(r)[i * from.cols + j] = value;
            }
    }
};

}  // namespace

Places sample_places(const std::vector<Segment>& segments) {
    Places places;
    places.reserve(static_cast<std::size_t>(total_rows(segments)));
    for (const Segment& s : segments)
        for (index_t t = s.begin; t < s.end; ++t) places.push_back(t + 1);
    return places;
}

Places design_places(const std::vector<Segment>& segments, const std::vector<index_t>& delays) {
    Places places;
    places.reserve(static_cast<std::size_t>(total_rows(segments)) * delays.size());
    for (const Segment& s : segments)
        for (index_t t = s.begin; t < s.end; ++t)
            for (const index_t delay : delays) places.push_back(t - delay >= s.run_begin && t - delay < s.run_end ? t - delay + 1 : 0);
    return places;
}

std::vector<Range> stretches(const std::vector<Segment>& segments) {
    std::vector<Range> parts;
    for (const Segment& s : segments) {
        if (!parts.empty() && parts.back().end == s.begin)
            parts.back().end = s.end;
        else
            parts.push_back({s.begin, s.end});
    }
    return parts;
}

template <class F, class T>
void gather_rows(Stream& stream, Matrix<const F> from, const index_t* places, index_t k, Matrix<T> out) {
    using Kernel = Gather<F, T>;
    const index_t row_blocks = std::min(blocks_for(out.rows, Kernel::kRows), kMaxGridYZ);
    launch(stream, {blocks_for(from.cols, Kernel::kColumns), row_blocks}, Kernel{from, places, k, out, row_blocks});
}

void lower_product(Stream& stream, bool trans, Matrix<const double> a, double beta, Matrix<double> c) { syrk(stream, trans, 1, a, beta, c); }

void lower_product(Stream& stream, bool trans, Matrix<const float> a, double beta, Matrix<float> c) {
    constexpr index_t step = 4096;  // rows of C: without what lies above the diagonal, but for the blocks on it
    const auto rows_of_c = [&](index_t begin, index_t n) { return trans ? a.block(0, begin, a.rows, n) : a.block(begin, 0, n, a.cols); };
    for (index_t begin = 0; begin < c.rows; begin += step) {
        const index_t n = std::min(step, c.rows - begin);
        gemm(stream, trans, !trans, 1, rows_of_c(begin, n), rows_of_c(0, begin + n), beta, c.block(begin, 0, n, begin + n));
    }
}

template void gather_rows<float, float>(Stream&, Matrix<const float>, const index_t*, index_t, Matrix<float>);
template void gather_rows<float, double>(Stream&, Matrix<const float>, const index_t*, index_t, Matrix<double>);
template void gather_rows<double, double>(Stream&, Matrix<const double>, const index_t*, index_t, Matrix<double>);

}  // namespace voxridge::cuda
