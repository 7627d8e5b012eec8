// Samples in runs, and the parts of them that an op looks at.
//
// A design row is X[t, (i, j)] = f[t - delays[i], j], and 0 where t - delays[i] leaves the run of t: nothing crosses a run boundary.
// Columns are delay-major: block i holds delay i, n_features columns wide.
#pragma once

#include <algorithm>
#include <vector>

#include "core/matrix.hpp"

namespace voxridge {

struct Segment {       // rows [begin, end), all in one run
    index_t begin, end;
    index_t run_begin, run_end;
    index_t size() const { return end - begin; }
};

struct Range {
    index_t begin, end;
    index_t size() const { return end > begin ? end - begin : 0; }
};

// The rows t of a segment at which f[t - delay] exists.
inline Range rows_with_delay(const Segment& s, index_t delay) {
    return {std::max(s.begin, s.run_begin + delay), std::min(s.end, s.run_end + delay)};
}

// Cuts sorted row ranges [begin, end) at the run boundaries. `run_offsets` holds R + 1 increasing offsets, the last one n_samples.
inline std::vector<Segment> cut_at_runs(const std::vector<index_t>& run_offsets, const std::vector<Range>& ranges) {
    std::vector<Segment> segments;
    for (const Range& range : ranges) {
        require(range.begin >= 0 && range.begin <= range.end && range.end <= run_offsets.back(), "segments: rows [", range.begin, ", ",
                range.end, ") are outside the ", run_offsets.back(), " samples");
        auto next = std::ranges::upper_bound(run_offsets, range.begin);
        for (index_t begin = range.begin; begin < range.end; ++next) {
            const index_t end = std::min(range.end, *next);
            if (end > begin) segments.push_back({begin, end, *(next - 1), *next});
            begin = end;
        }
    }
    return segments;
}

inline index_t total_rows(const std::vector<Segment>& segments) {
    index_t n = 0;
    for (const Segment& s : segments) n += s.size();
    return n;
}

}  // namespace voxridge
