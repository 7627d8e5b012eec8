// Feature rows as the BLAS wants them: in T, contiguous per row. A view where they already are, else a copy of one chunk.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/rows.hpp"

namespace voxridge {

template <class F, class T>
class RowChunk {
public:
    // Rows [begin, end) of `features`.
    Matrix<const T> rows(Matrix<const F> features, index_t begin, index_t end) {
        if constexpr (std::is_same_v<F, T>) {
            return features.block(begin, 0, end - begin, features.cols);
        } else {
            buffer_.resize(static_cast<std::size_t>((end - begin) * features.cols));
            for (index_t t = begin; t < end; ++t)
                std::copy_n(features.row(t), features.cols, buffer_.data() + (t - begin) * features.cols);
            return {buffer_.data(), end - begin, features.cols, features.cols};
        }
    }

private:
    std::vector<T> buffer_;
};

// Short segments make thin products; past this mean length a GEMM on the rows where they lie is the faster way.
inline bool worth_in_place(const std::vector<Segment>& segments, index_t least_mean) {
    return total_rows(segments) >= least_mean * static_cast<index_t>(segments.size());
}

inline std::vector<Segment> single_rows(const std::vector<Segment>& segments) {
    std::vector<Segment> rows;
    for (const Segment& s : segments)
        for (index_t t = s.begin; t < s.end; ++t) rows.push_back({t, t + 1, s.run_begin, s.run_end});
    return rows;
}

// out (rows, D * p0): the delayed design at rows[first .. first + out.rows), which hold one sample each.
template <class F, class T>
void gather_delayed(Matrix<const F> features, const std::vector<Segment>& rows, index_t first, const std::vector<index_t>& delays,
                    Matrix<T> out) {
    for (index_t r = 0; r < out.rows; ++r) {
        const Segment& s = rows[static_cast<std::size_t>(first + r)];
        T* target = out.row(r);
        for (const index_t delay : delays) {
            const index_t source = s.begin - delay;
            if (source >= s.run_begin && source < s.run_end)
                std::copy_n(features.row(source), features.cols, target);
            else
                std::fill_n(target, features.cols, T{0});
            target += features.cols;
        }
    }
}

}  // namespace voxridge
