// Rows of the delayed design on the device, gathered a chunk at a time: the products of the delayed ops are few and large, however many runs
// and segments there are.
#pragma once

#include <optional>
#include <type_traits>

#include "core/rows.hpp"
#include "cuda/delayed.hpp"
#include "cuda/scratch.hpp"

namespace voxridge::cuda {

// Where a gathered row comes from: row i is i + 1, row i negated is -(i + 1), and 0 is a row of zeros.
using Places = std::vector<index_t>;

// The sample of every row of the segments, as a place.
Places sample_places(const std::vector<Segment>& segments);
// The feature row of every row of the segments at every delay, row by row.
Places design_places(const std::vector<Segment>& segments, const std::vector<index_t>& delays);

// out (rows, k * c) <- in row r, one after the other, the rows places[r, 0], ..., places[r, k - 1] of `from` (n, c); places on the device.
template <class F, class T>
void gather_rows(Stream& stream, Matrix<const F> from, const index_t* places, index_t k, Matrix<T> out);

// Rows of this many columns that a buffer of kChunkBytes holds, at most n and at least one.
template <class T>
index_t chunk_rows(index_t n, index_t columns) {
    return std::clamp<index_t>(kChunkBytes / static_cast<index_t>(sizeof(T)) / std::max<index_t>(columns, 1), 1, std::max<index_t>(n, 1));
}

// A table of places on the device, k to a row, and a buffer for chunk_rows of what is gathered by it. Both are pieces of `scratch`, which is
// taken here: others add their pieces before.
template <class F, class T>
class RowTable {
public:
    RowTable(Stream& stream, Matrix<const F> from, const Places& places, index_t k, Scratch& scratch)
        : stream_(stream),
          from_(from),
          k_(k),
          rows_(static_cast<index_t>(places.size()) / k),
          step_(chunk_rows<T>(rows_, k * from.cols)) {
        const auto table = scratch.add<index_t>(rows_ * k);
        const auto buffer = scratch.add<T>(step_ * k * from.cols);
        scratch.take(stream);
        places_ = scratch.upload(stream, table, places);
        buffer_ = scratch.at(buffer);
    }

    index_t rows() const { return rows_; }

    // visit(first, rows): the rows [begin, end) of the table, gathered, from row `first` on.
    template <class Visit>
    void for_each_chunk(index_t begin, index_t end, const Visit& visit) const {
        for (index_t first = begin; first < end; first += step_) {
            const Matrix<T> chunk{buffer_, std::min(step_, end - first), k_ * from_.cols, k_ * from_.cols};
            gather_rows<F, T>(stream_, from_, places_ + first * k_, k_, chunk);
            visit(first, Matrix<const T>(chunk));
        }
    }

private:
    Stream& stream_;
    Matrix<const F> from_;
    index_t k_, rows_, step_;
    const index_t* places_;
    T* buffer_;
};

// Segments that follow one another without a hole, whatever their runs.
std::vector<Range> stretches(const std::vector<Segment>& segments);

// The design at the rows of `segments`, a chunk at a time; where it is the features themselves, long stretches of them are seen in place.
template <class F, class T>
class DesignChunks {
public:
    DesignChunks(Stream& stream, Matrix<const F> features, const std::vector<Segment>& segments, const std::vector<index_t>& delays,
                 Scratch& scratch)
        : features_(features), parts_(stretches(segments)) {
        constexpr index_t worth_a_product = 256;  // rows, in the mean
        const bool in_place = std::is_same_v<F, T> && delays == std::vector<index_t>{0} &&
                              total_rows(segments) >= worth_a_product * static_cast<index_t>(parts_.size());
        if (in_place)
            scratch.take(stream);
        else
            table_.emplace(stream, features, design_places(segments, delays), static_cast<index_t>(delays.size()), scratch);
    }

    // visit(first, rows): from the first-th of the rows on.
    template <class Visit>
    void for_each(const Visit& visit) const {
        if (table_) return table_->for_each_chunk(0, table_->rows(), visit);
        if constexpr (std::is_same_v<F, T>) {
            index_t first = 0;
            for (const Range& part : parts_) {
                visit(first, features_.block(part.begin, 0, part.size(), features_.cols));
                first += part.size();
            }
        }
    }

private:
    Matrix<const F> features_;
    std::vector<Range> parts_;
    std::optional<RowTable<F, T>> table_;  // none: in place
};

// Zeros, of any type.
template <class T>
void fill_zero(Stream& stream, Matrix<T> a) {
    constexpr auto size = static_cast<index_t>(sizeof(T));
    if (a.rows > 0 && a.cols > 0) stream.zero(a.data, a.stride * size, a.cols * size, a.rows);
}

// Lower triangle of C = A'A + beta C (trans) or AA' + beta C; what is above the diagonal may change.
void lower_product(Stream& stream, bool trans, Matrix<const double> a, double beta, Matrix<double> c);
void lower_product(Stream& stream, bool trans, Matrix<const float> a, double beta, Matrix<float> c);

}  // namespace voxridge::cuda
