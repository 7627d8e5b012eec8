#include "core/delayed_lags.hpp"
#include "cuda/blas.hpp"
#include "cuda/delayed_rows.hpp"
#include "cuda/passes.hpp"

namespace voxridge::cuda {
namespace {

// The first block of every lag: one product a chunk of rows, of every segment's rows together.
template <class F, class T>
void form_blocks(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                 const Lags& lags, Matrix<T> gram) {
    const index_t p0 = features.cols;
    Scratch scratch;
    const DesignChunks<F, T> design(stream, features, segments, delays, scratch);
    design.for_each([&](index_t first, Matrix<const T> rows) {
        const double keep = first > 0 ? 1 : 0;
        const auto columns = [&](std::size_t i) { return rows.block(0, static_cast<index_t>(i) * p0, rows.rows, p0); };
        for (const auto& [lag, pairs] : lags) {
            const auto [i, k] = pairs.front();
            const Matrix<T> block = block_of(gram, pairs.front(), p0);
            if (lag == 0)
                lower_product(stream, true, columns(i), keep, block);
            else
                gemm(stream, true, false, 1, columns(i), columns(k), keep, block);
        }
    });
    mirror_lower(stream, block_of(gram, lags.at(0).front(), p0));
}

// Every other block of a lag: a copy of the first, and the rows at the ends of the segments that set the two apart.
template <class F, class T>
void correct_blocks(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                    const Lags& lags, Matrix<T> gram) {
    constexpr auto size = static_cast<index_t>(sizeof(T));
    const index_t p0 = features.cols;
    struct Edges {
        Pair from, to;
        index_t begin, end;  // in `places`
    };
    std::vector<Edges> blocks;
    Places places;  // left factor with its sign, right factor
    for (const auto& [lag, pairs] : lags)
        for (std::size_t other = 1; other < pairs.size(); ++other) {
            const auto begin = static_cast<index_t>(places.size()) / 2;
            for_each_edge(segments, delays[pairs.front().i], delays[pairs[other].i], lag, [&, shift = lag](int sign, index_t u) {
                places.push_back(sign * (u + 1));
                places.push_back(u + shift + 1);
            });
            blocks.push_back({pairs.front(), pairs[other], begin, static_cast<index_t>(places.size()) / 2});
        }
    Scratch scratch;
    const RowTable<F, T> table(stream, features, places, 2, scratch);
    for (const Edges& edges : blocks) {
        const Matrix<T> from = block_of(gram, edges.from, p0), to = block_of(gram, edges.to, p0);
        stream.copy(to.data, to.stride * size, from.data, from.stride * size, p0 * size, p0);
        table.for_each_chunk(edges.begin, edges.end, [&](index_t, Matrix<const T> rows) {
            gemm(stream, true, false, 1, rows.block(0, 0, rows.rows, p0), rows.block(0, p0, rows.rows, p0), 1, to);
        });
    }
}

template <class F, class T>
void lagged_gram(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                 Matrix<T> gram) {
    const Lags lags = pairs_by_lag(delays);
    form_blocks<F, T>(stream, features, segments, delays, lags, gram);
    if (delays.size() == 1) return;
    correct_blocks<F, T>(stream, features, segments, delays, lags, gram);
    for (const auto& [lag, pairs] : lags)
        for (const Pair& pair : pairs)
            if (pair.i != pair.k)
                transpose<T>(stream, block_of(gram, pair, features.cols), block_of(gram, Pair{pair.k, pair.i}, features.cols));
}

}  // namespace

template <class F, class T>
void delayed_gram(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                  Matrix<T> gram) {
    const index_t p = features.cols * static_cast<index_t>(delays.size()), n_rows = total_rows(segments);
    require(gram.rows == p && gram.cols == p, "delayed_gram: out is ", shape{gram.rows, gram.cols}, ", expected ", shape{p, p},
            " (delays * features)");
    if (p == 0 || n_rows == 0) return fill_zero(stream, gram);
    const auto [lowest, highest] = std::ranges::minmax_element(delays);
    // As core/delayed_gram.hpp: where segments are short, their ends are most of them.
    if (n_rows >= (2 * (*highest - *lowest) + 32) * static_cast<index_t>(segments.size()))
        return lagged_gram<F, T>(stream, features, segments, delays, gram);
    Scratch scratch;
    const DesignChunks<F, T> design(stream, features, segments, delays, scratch);
    design.for_each([&](index_t first, Matrix<const T> rows) {
        lower_product(stream, true, rows, first > 0 ? 1 : 0, gram);
    });
    mirror_lower(stream, gram);
}

#define VOXRIDGE_INSTANTIATE(F, T) \
    template void delayed_gram<F, T>(Stream&, Matrix<const F>, const std::vector<Segment>&, const std::vector<index_t>&, Matrix<T>);
VOXRIDGE_INSTANTIATE(float, float)
VOXRIDGE_INSTANTIATE(float, double)
VOXRIDGE_INSTANTIATE(double, double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::cuda
