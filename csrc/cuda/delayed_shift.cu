#include "cuda/block.hpp"
#include "cuda/delayed.hpp"
#include "cuda/passes.hpp"
#include "cuda/scratch.hpp"

namespace voxridge::cuda {
namespace {

// The run of every sample.
std::vector<Range> run_of_each(const std::vector<index_t>& offsets) {
    std::vector<Range> runs;
    runs.reserve(static_cast<std::size_t>(offsets.back()));
    for (std::size_t r = 0; r + 1 < offsets.size(); ++r)
        runs.insert(runs.end(), static_cast<std::size_t>(offsets[r + 1] - offsets[r]), Range{offsets[r], offsets[r + 1]});
    return runs;
}

// Delays that reach from one row, and from one column, to another.
std::vector<index_t> within_reach(const std::vector<index_t>& delays, index_t rows, index_t cols) {
    std::vector<index_t> kept;
    for (const index_t d : delays)
        if (std::max(d, -d) < std::min(rows, cols)) kept.push_back(d);
    return kept;
}

constexpr index_t kShiftRows = 8;  // of a thread, which has one column

// Rows [begin, end) of the shifted kernel from rows of the base kernel in `kept`: row t is its row t % capacity.
template <class T>
struct Shift {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = false;
    struct Shared {};
    Matrix<T> kernel;
    Matrix<const T> kept;
    index_t begin, end;
    bool lower;
    const Range *row_runs, *col_runs;
    const index_t* delays;
    index_t n_delays;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t u = index_t{block.x()} * kThreads + block.thread();
        const index_t first = begin + index_t{block.y()} * kShiftRows;
        const index_t last = first + kShiftRows < end ? first + kShiftRows : end;
        if (u >= kernel.cols) return;
        const Range cols = col_runs[u];
        index_t place = first % kept.rows;
        for (index_t t = first; t < last; ++t, place = place + 1 == kept.rows ? 0 : place + 1) {
            if (lower && u > t) continue;
            const Range rows = row_runs[t];
            T sum = 0;
            for (index_t i = 0; i < n_delays; ++i) {
                const index_t d = delays[i];
                if (t - d < rows.begin || t - d >= rows.end || u - d < cols.begin || u - d >= cols.end) continue;
                index_t from = place - d;  // |d| < kept.rows
                if (from < 0) from += kept.rows;
                if (from >= kept.rows) from -= kept.rows;
                sum += kept.row(from)[u - d];
            }
            kernel.row(t)[u] = sum;
        }
    }
};

// kept <- rows [begin, end) of the first `cols` columns, each to its place; end - begin <= kept.rows.
template <class T>
void keep_rows(Stream& stream, Matrix<const T> kernel, index_t begin, index_t end, index_t cols, Matrix<T> kept) {
    constexpr auto size = static_cast<index_t>(sizeof(T));
    while (begin < end) {
        const index_t place = begin % kept.rows, n = std::min(end - begin, kept.rows - place);
        stream.copy(kept.row(place), kept.stride * size, kernel.row(begin), kernel.stride * size, cols * size, n);
        begin += n;
    }
}

// A strip of rows at a time, from the last to the first. `kept` holds what the strip reads of the base kernel: its own rows, the rows above it
// that positive delays reach, which the strips to come still want, and the rows below that negative ones reach, which are overwritten already.
template <class T>
void shift_strips(Stream& stream, Matrix<T> kernel, const std::vector<Range>& row_runs, const std::vector<Range>& col_runs,
                  const std::vector<index_t>& delays, bool lower) {
    index_t above = 0, below = 0;
    for (const index_t d : delays) above = std::max(above, d), below = std::max(below, -d);
    const index_t fit = kStripBytes / static_cast<index_t>(sizeof(T)) / kernel.cols - above - below;
    const index_t step = std::min(std::clamp<index_t>(fit, kLeastStrip, kMaxGridYZ * kShiftRows), kernel.rows);
    Scratch scratch;
    const auto rows_piece = scratch.add<Range>(kernel.rows), cols_piece = scratch.add<Range>(kernel.cols);
    const auto delays_piece = scratch.add<index_t>(static_cast<index_t>(delays.size()));
    const index_t capacity = step + above + below;
    const auto kept_piece = scratch.add<T>(capacity * kernel.cols);
    scratch.take(stream);
    const Range* rows = scratch.upload(stream, rows_piece, row_runs);
    const Range* cols = scratch.upload(stream, cols_piece, col_runs);
    const index_t* reach = scratch.upload(stream, delays_piece, delays);
    const Matrix<T> kept{scratch.at(kept_piece), capacity, kernel.cols, kernel.cols};
    index_t read = kernel.rows;  // rows from here on have been kept
    for (index_t end = kernel.rows; end > 0; end -= std::min(step, end)) {
        const index_t begin = std::max<index_t>(end - step, 0), top = std::max<index_t>(begin - above, 0);
        const index_t width = lower ? std::min(end, kernel.cols) : kernel.cols;
        keep_rows<T>(stream, kernel, top, read, width, kept);
        read = std::min(read, top);
        const Shift<T> shift{kernel, kept, begin, end, lower, rows, cols, reach, static_cast<index_t>(delays.size())};
        launch(stream, {blocks_for(width, shift.kThreads), blocks_for(end - begin, kShiftRows)}, shift);
    }
}

void require_runs(const std::vector<index_t>& offsets, const char* name) {
    require(offsets.size() >= 2 && offsets.front() == 0 && std::ranges::is_sorted(offsets), "shift_kernel: ", name,
            " must start at 0, increase, and end at the number of samples");
}

}  // namespace

template <class T>
void shift_kernel(Stream& stream, Matrix<T> kernel, const std::vector<index_t>& row_offsets, const std::vector<index_t>& col_offsets,
                  const std::vector<index_t>& delays, bool symmetric) {
    require_runs(row_offsets, "row_offsets");
    require_runs(col_offsets, "col_offsets");
    require(row_offsets.back() == kernel.rows && col_offsets.back() == kernel.cols, "shift_kernel: runs of ",
            shape{row_offsets.back(), col_offsets.back()}, " samples, kernel ", shape{kernel.rows, kernel.cols});
    require(!symmetric || row_offsets == col_offsets, "shift_kernel: a symmetric kernel has one set of runs");
    if (kernel.rows == 0 || kernel.cols == 0) return;
    if (delays != std::vector<index_t>{0})
        shift_strips(stream, kernel, run_of_each(row_offsets), run_of_each(col_offsets), within_reach(delays, kernel.rows, kernel.cols), symmetric);
    if (symmetric) mirror_lower(stream, kernel);
}

template void shift_kernel<float>(Stream&, Matrix<float>, const std::vector<index_t>&, const std::vector<index_t>&, const std::vector<index_t>&, bool);
template void shift_kernel<double>(Stream&, Matrix<double>, const std::vector<index_t>&, const std::vector<index_t>&, const std::vector<index_t>&, bool);

}  // namespace voxridge::cuda
