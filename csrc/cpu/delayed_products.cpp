#include "core/delayed_products.hpp"

#include "core/blas.hpp"
#include "core/delayed_gram.hpp"
#include "cpu/chunks.hpp"
#include "cpu/parallel.hpp"

namespace voxridge {
namespace {

// visit(piece, rows, first): pieces of segments, with the feature rows [first, ...) that any delay of the piece reaches, in T.
template <class F, class T, class Visit>
void for_each_piece(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, const Visit& visit) {
    const auto [lowest, highest] = std::ranges::minmax_element(delays);
    RowChunk<F, T> chunk;
    for (const Segment& s : segments) {
        const index_t step = std::is_same_v<F, T> ? std::max<index_t>(s.size(), 1) : kChunkRows;
        for (index_t begin = s.begin; begin < s.end; begin += step) {
            const Segment piece{begin, std::min(begin + step, s.end), s.run_begin, s.run_end};
            const index_t first = std::max(piece.begin - *highest, s.run_begin), last = std::min(piece.end - *lowest, s.run_end);
            if (last > first) visit(piece, chunk.rows(features, first, last), first);
        }
    }
}

template <class F, class T>
void xty_gathered(Matrix<const F> features, Matrix<const T> y, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                  Matrix<T> out, const Poll& poll) {
    const std::vector<Segment> rows = single_rows(segments);
    const index_t n_rows = static_cast<index_t>(rows.size()), p0 = features.cols;
    std::vector<T> left(static_cast<std::size_t>(std::min(kChunkRows, n_rows) * p0));
    std::vector<T> right(static_cast<std::size_t>(std::min(kChunkRows, n_rows) * y.cols));
    for (index_t first = 0; first < n_rows; first += kChunkRows) {
        const index_t n = std::min(kChunkRows, n_rows - first);
        for (index_t r = 0; r < n; ++r) std::copy_n(y.row(rows[static_cast<std::size_t>(first + r)].begin), y.cols, right.data() + r * y.cols);
        for (std::size_t i = 0; i < delays.size(); ++i) {
            const Matrix<T> design{left.data(), n, p0, p0};
            gather_delayed(features, rows, first, {delays[i]}, design);
            blas::gemm<T>(true, false, 1, design, Matrix<const T>{right.data(), n, y.cols, y.cols}, 1,
                          out.block(static_cast<index_t>(i) * p0, 0, p0, y.cols));
        }
        poll();
    }
}

constexpr index_t kShortestGemm = 24;  // rows; below it, gathering costs less than thin products

}  // namespace

template <class F, class T>
void delayed_xty(Matrix<const F> features, Matrix<const T> y, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                 Matrix<T> out, const Poll& poll) {
    const index_t p0 = features.cols, p = p0 * static_cast<index_t>(delays.size());
    require(y.rows == features.rows, "delayed_xty: features have ", features.rows, " rows, y has ", y.rows);
    require(out.rows == p && out.cols == y.cols, "delayed_xty: out is ", shape{out.rows, out.cols}, ", expected ", shape{p, y.cols});
    fill_zero(out);
    if (segments.empty() || out.rows == 0 || out.cols == 0) return;
    if (!worth_in_place(segments, kShortestGemm)) return xty_gathered(features, y, segments, delays, out, poll);
    for_each_piece<F, T>(features, segments, delays, [&](const Segment& piece, Matrix<const T> rows, index_t first) {
        for (std::size_t i = 0; i < delays.size(); ++i) {
            const Range t = rows_with_delay(piece, delays[i]);
            if (t.size() == 0) continue;
            blas::gemm<T>(true, false, 1, rows.block(t.begin - delays[i] - first, 0, t.size(), p0), y.block(t.begin, 0, t.size(), y.cols),
                          1, out.block(static_cast<index_t>(i) * p0, 0, p0, y.cols));
        }
        poll();
    });
}

template <class F, class T>
void delayed_xw(Matrix<const F> features, Matrix<const T> w, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                Matrix<T> out, const Poll& poll) {
    const index_t p0 = features.cols, p = p0 * static_cast<index_t>(delays.size()), n_rows = total_rows(segments);
    require(w.rows == p, "delayed_xw: w is ", shape{w.rows, w.cols}, ", expected ", p, " rows (delays * features)");
    require(out.rows == n_rows && out.cols == w.cols, "delayed_xw: out is ", shape{out.rows, out.cols}, ", expected ", shape{n_rows, w.cols});
    fill_zero(out);
    if (n_rows == 0 || out.cols == 0 || p == 0) return;
    if (!worth_in_place(segments, kShortestGemm)) {
        const std::vector<Segment> rows = single_rows(segments);
        const index_t step = std::max<index_t>(1, kChunkRows / static_cast<index_t>(delays.size()));
        std::vector<T> buffer(static_cast<std::size_t>(std::min(step, n_rows) * p));
        for (index_t begin = 0; begin < n_rows; begin += step) {
            const Matrix<T> design{buffer.data(), std::min(step, n_rows - begin), p, p};
            gather_delayed(features, rows, begin, delays, design);
            blas::gemm<T>(false, false, 1, Matrix<const T>(design), w, 0, out.block(begin, 0, design.rows, out.cols));
            poll();
        }
        return;
    }
    index_t done = 0;  // rows of `out` that belong to earlier segments
    for (const Segment& s : segments) {
        for_each_piece<F, T>(features, {s}, delays, [&](const Segment& piece, Matrix<const T> rows, index_t first) {
            for (std::size_t i = 0; i < delays.size(); ++i) {
                const Range t = rows_with_delay(piece, delays[i]);
                if (t.size() == 0) continue;
                blas::gemm<T>(false, false, 1, rows.block(t.begin - delays[i] - first, 0, t.size(), p0),
                              w.block(static_cast<index_t>(i) * p0, 0, p0, w.cols), 1, out.block(done + t.begin - s.begin, 0, t.size(), out.cols));
            }
            poll();
        });
        done += s.size();
    }
}

template <class F>
void delayed_sums(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, double* out) {
    const index_t p0 = features.cols;
    std::fill_n(out, p0 * static_cast<index_t>(delays.size()), 0.0);
    for (const Segment& s : segments)
        for (std::size_t i = 0; i < delays.size(); ++i) {
            const Range rows = rows_with_delay(s, delays[i]);
            double* sum = out + static_cast<index_t>(i) * p0;
            for (index_t t = rows.begin; t < rows.end; ++t) {
                const F* f = features.row(t - delays[i]);
                for (index_t j = 0; j < p0; ++j) sum[j] += static_cast<double>(f[j]);
            }
        }
}

#define VOXRIDGE_INSTANTIATE(F, T)                                                                                              \
    template void delayed_xty<F, T>(Matrix<const F>, Matrix<const T>, const std::vector<Segment>&, const std::vector<index_t>&, \
                                    Matrix<T>, const Poll&);                                                                    \
    template void delayed_xw<F, T>(Matrix<const F>, Matrix<const T>, const std::vector<Segment>&, const std::vector<index_t>&,  \
                                   Matrix<T>, const Poll&);
VOXRIDGE_INSTANTIATE(float, float)
VOXRIDGE_INSTANTIATE(float, double)
VOXRIDGE_INSTANTIATE(double, double)
#undef VOXRIDGE_INSTANTIATE
template void delayed_sums<float>(Matrix<const float>, const std::vector<Segment>&, const std::vector<index_t>&, double*);
template void delayed_sums<double>(Matrix<const double>, const std::vector<Segment>&, const std::vector<index_t>&, double*);

}  // namespace voxridge
