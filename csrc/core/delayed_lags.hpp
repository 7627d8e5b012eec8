// The blocks of a delayed Gram by their lag, and what sets two blocks of one lag apart.
#pragma once

#include <cstdlib>
#include <map>

#include "core/rows.hpp"

namespace voxridge {

struct Pair {
    std::size_t i, k;  // delays[i] - delays[k] = lag >= 0
};

// Blocks on and above the diagonal (or, where the delays do not ascend, their transposes) by |delays[i] - delays[k]|.
using Lags = std::map<index_t, std::vector<Pair>>;

inline Lags pairs_by_lag(const std::vector<index_t>& delays) {
    Lags lags;
    for (std::size_t i = 0; i < delays.size(); ++i)
        for (std::size_t k = i; k < delays.size(); ++k) {
            const index_t lag = delays[i] - delays[k];
            lags[std::abs(lag)].push_back(lag >= 0 ? Pair{i, k} : Pair{k, i});
        }
    return lags;
}

template <class T>
Matrix<T> block_of(Matrix<T> gram, Pair pair, index_t p0) {
    return gram.block(static_cast<index_t>(pair.i) * p0, static_cast<index_t>(pair.k) * p0, p0, p0);
}

// add(sign, u): the products f[u]' f[u + lag] that enter (+1) and leave (-1) when the window of feature rows moves from the place of a pair
// with delays[i] = from to that of a pair of the same lag with delays[i] = to.
template <class Add>
void for_each_edge(const std::vector<Segment>& segments, index_t from, index_t to, index_t lag, const Add& add) {
    const index_t move = from - to;  // > 0: the window moves towards later rows
    const index_t back = std::min<index_t>(move, 0), ahead = std::max<index_t>(move, 0);
    const int entering = move > 0 ? 1 : -1;
    for (const Segment& s : segments) {
        const auto between = [&](int sign, index_t begin, index_t end) {
            for (index_t u = std::max(begin, s.run_begin); u < std::min(end, s.run_end - lag); ++u) add(sign, u);
        };
        between(entering, s.end - from + back, s.end - from + ahead);
        between(-entering, s.begin - from + back, s.begin - from + ahead);
    }
}

}  // namespace voxridge
