#include "core/delayed_gram.hpp"

#include "core/blas.hpp"
#include "core/delayed_lags.hpp"
#include "cpu/chunks.hpp"
#include "cpu/mirror.hpp"

namespace voxridge {
namespace {

// block (pair) += sum over the rows of one segment, a chunk of rows at a time.
template <class F, class T>
void add_segment(Matrix<const F> features, const Segment& s, const std::vector<index_t>& delays, const Lags& lags, Matrix<T> gram,
                 RowChunk<F, T>& chunk, const Poll& poll) {
    const auto [lowest, highest] = std::ranges::minmax_element(delays);
    const index_t step = std::is_same_v<F, T> ? std::max<index_t>(s.size(), 1) : kChunkRows;
    for (index_t begin = s.begin; begin < s.end; begin += step) {
        const Segment piece{begin, std::min(begin + step, s.end), s.run_begin, s.run_end};
        const index_t first = std::max(piece.begin - *highest, s.run_begin), last = std::min(piece.end - *lowest, s.run_end);
        if (last <= first) continue;
        const Matrix<const T> rows = chunk.rows(features, first, last);
        for (const auto& [lag, pairs] : lags) {
            const auto [i, k] = pairs.front();
            const Range a = rows_with_delay(piece, delays[i]), b = rows_with_delay(piece, delays[k]);
            const Range both{std::max(a.begin, b.begin), std::min(a.end, b.end)};
            if (both.size() == 0) continue;
            const auto left = rows.block(both.begin - delays[i] - first, 0, both.size(), features.cols);
            const auto right = rows.block(both.begin - delays[k] - first, 0, both.size(), features.cols);
            Matrix<T> block = block_of(gram, pairs.front(), features.cols);
            if (lag == 0)
                blas::syrk<T>(true, 1, left, 1, block);
            else
                blas::gemm<T>(true, false, 1, left, right, 1, block);
        }
        poll();
    }
}

// Rows of left and right factors, multiplied into the block whenever the buffers are full.
template <class F, class T>
class EdgeProducts {
public:
    EdgeProducts(Matrix<const F> features, Matrix<T> block)
        : features_(features), block_(block), left_(static_cast<std::size_t>(kChunkRows / 2 * features.cols)), right_(left_.size()) {}

    void add(T sign, index_t u, index_t v) {
        T* left = left_.data() + filled_ * features_.cols;
        for (index_t j = 0; j < features_.cols; ++j) left[j] = sign * static_cast<T>(features_.row(u)[j]);
        std::copy_n(features_.row(v), features_.cols, right_.data() + filled_ * features_.cols);
        if (++filled_ == kChunkRows / 2) flush();
    }

    void flush() {
        const Matrix<const T> left{left_.data(), filled_, features_.cols, features_.cols};
        const Matrix<const T> right{right_.data(), filled_, features_.cols, features_.cols};
        if (filled_ > 0) blas::gemm<T>(true, false, 1, left, right, 1, block_);
        filled_ = 0;
    }

private:
    Matrix<const F> features_;
    Matrix<T> block_;
    std::vector<T> left_, right_;
    index_t filled_ = 0;
};

template <class T>
void copy_block(Matrix<T> from, Matrix<T> to, int n_threads) {
    parallel_for(from.rows, n_threads, [&](index_t i) { std::copy_n(from.row(i), from.cols, to.row(i)); });
}

// Blocks below the diagonal hold pairs (i, k) with i > k; a pair with i < k (delays not ascending) was formed above it.
template <class T>
void mirror_blocks(Matrix<T> gram, const Lags& lags, index_t p0, int n_threads) {
    for (const auto& [lag, pairs] : lags)
        for (const Pair& pair : pairs)
            if (pair.i != pair.k) transpose_block(block_of(gram, pair, p0), block_of(gram, Pair{pair.k, pair.i}, p0), false, n_threads);
}

template <class F, class T>
void lagged_gram(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, Matrix<T> gram,
                 int n_threads, const Poll& poll) {
    const Lags lags = pairs_by_lag(delays);
    for (const auto& [lag, pairs] : lags) fill_zero(block_of(gram, pairs.front(), features.cols), n_threads);
    {
        RowChunk<F, T> chunk;
        for (const Segment& s : segments) add_segment(features, s, delays, lags, gram, chunk, poll);
    }
    mirror_lower(block_of(gram, lags.at(0).front(), features.cols), n_threads);
    for (const auto& [lag, pairs] : lags)
        for (std::size_t other = 1; other < pairs.size(); ++other) {
            const Matrix<T> block = block_of(gram, pairs[other], features.cols);
            copy_block(block_of(gram, pairs.front(), features.cols), block, n_threads);
            EdgeProducts<F, T> edges(features, block);
            for_each_edge(segments, delays[pairs.front().i], delays[pairs[other].i], lag,
                          [&edges, shift = lag](int sign, index_t u) { edges.add(static_cast<T>(sign), u, u + shift); });
            edges.flush();
            poll();
        }
    mirror_blocks(gram, lags, features.cols, n_threads);
}

template <class F, class T>
void gathered_gram(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, Matrix<T> gram,
                   int n_threads, const Poll& poll) {
    const std::vector<Segment> rows = single_rows(segments);
    const auto n_rows = static_cast<index_t>(rows.size());
    const index_t step = std::max<index_t>(1, kChunkRows / static_cast<index_t>(delays.size()));
    std::vector<T> buffer(static_cast<std::size_t>(std::min(step, n_rows) * gram.cols));
    fill_zero(gram, n_threads);
    for (index_t first = 0; first < n_rows; first += step) {
        const Matrix<T> design{buffer.data(), std::min(step, n_rows - first), gram.cols, gram.cols};
        gather_delayed(features, rows, first, delays, design);
        blas::syrk<T>(true, 1, design, 1, gram);
        poll();
    }
    mirror_lower(gram, n_threads);
}

}  // namespace

template <class F, class T>
void delayed_gram(Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays, Matrix<T> gram,
                  int n_threads, const Poll& poll) {
    const index_t p = features.cols * static_cast<index_t>(delays.size());
    require(gram.rows == p && gram.cols == p,
            "delayed_gram: out is ", shape{gram.rows, gram.cols}, ", expected ", shape{p, p}, " (delays * features)");
    if (p == 0 || segments.empty()) return fill_zero(gram, n_threads);
    const auto [lowest, highest] = std::ranges::minmax_element(delays);
    if (worth_in_place(segments, 2 * (*highest - *lowest) + 32))
        lagged_gram(features, segments, delays, gram, n_threads, poll);
    else
        gathered_gram(features, segments, delays, gram, n_threads, poll);
}

template void delayed_gram<float, float>(Matrix<const float>, const std::vector<Segment>&, const std::vector<index_t>&, Matrix<float>, int, const Poll&);
template void delayed_gram<float, double>(Matrix<const float>, const std::vector<Segment>&, const std::vector<index_t>&, Matrix<double>, int, const Poll&);
template void delayed_gram<double, double>(Matrix<const double>, const std::vector<Segment>&, const std::vector<index_t>&, Matrix<double>, int, const Poll&);

}  // namespace voxridge
