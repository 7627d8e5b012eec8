// Sums over the rows of every column, float64, in an order that depends on the number of rows alone: a block sums a chunk of rows for 32
// columns, its warps take turns with the rows and are added in order, and a second kernel adds the chunks in order.
#pragma once

#include <algorithm>

#include "cuda/block.hpp"

namespace voxridge::cuda {

inline constexpr index_t kLeastChunk = 256, kMostChunks = 64;  // 64 chunks of 512 columns are 1024 blocks

// Rows of a chunk, a multiple of 8.
constexpr index_t rows_of_chunk(index_t n) { return std::max(kLeastChunk, blocks_for(blocks_for(n, kMostChunks), 8) * 8); }

// Of the scratch that sum_rows wants: at most kMostChunks rows for every sum.
template <class Term>
index_t partial_elements(index_t n, index_t cols) {
    return blocks_for(n, rows_of_chunk(n)) * Term::kSums * cols;
}

// Where sum s of column j goes: target[s][j], over what is there or on top of it.
template <int kSums>
struct SumTargets {
    double* target[kSums];
    bool on_top;
};

// Term:  static constexpr int kSums;
//        struct Sample;
//        Sample read(index_t i, index_t j) const;                           // device
//        static void add(const Sample& sample, double (&sums)[kSums]);      // device
template <class Term>
struct PartialSums {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = true;
    static constexpr int kColumns = 32, kWarps = kThreads / kColumns, kAhead = 4;  // rows that a thread reads before it adds them
    struct Shared {
        double sums[Term::kSums][kWarps][kColumns];
    };
    Term term;
    index_t n, cols, chunk;
    double* partial;  // (chunks, kSums, cols)

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const int lane = block.thread() % kColumns, warp = block.thread() / kColumns;
        const index_t j = index_t{block.x()} * kColumns + lane, begin = index_t{block.y()} * chunk, end = begin + chunk < n ? begin + chunk : n;
        double sums[Term::kSums] = {};
        if (j < cols) sum_chunk(begin + warp, end, j, sums);
        for (int s = 0; s < Term::kSums; ++s) shared.sums[s][warp][lane] = sums[s];
        block.sync();
        if (warp >= Term::kSums || j >= cols) return;
        double total = 0;
        for (int w = 0; w < kWarps; ++w) total += shared.sums[warp][w][lane];
        partial[(index_t{block.y()} * Term::kSums + warp) * cols + j] = total;
    }

    VOXRIDGE_DEVICE void sum_chunk(index_t i, index_t end, index_t j, double (&sums)[Term::kSums]) const {
        for (; i + (kAhead - 1) * kWarps < end; i += kAhead * kWarps) {
            typename Term::Sample samples[kAhead];
            for (int k = 0; k < kAhead; ++k) samples[k] = term.read(i + k * kWarps, j);
            for (int k = 0; k < kAhead; ++k) Term::add(samples[k], sums);
        }
        for (; i < end; i += kWarps) Term::add(term.read(i, j), sums);
    }
};

template <int kSums>
struct AddChunks {
    static constexpr int kThreads = 128;
    static constexpr bool kSyncs = false;
    struct Shared {};
    const double* partial;
    index_t chunks, cols;
    SumTargets<kSums> to;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t j = index_t{block.x()} * kThreads + block.thread();
        const index_t s = block.y();
        if (j >= cols) return;
        double total = 0;
        for (index_t c = 0; c < chunks; ++c) total += partial[(c * kSums + s) * cols + j];
        double* const out = to.target[s] + j;
        *out = to.on_top ? *out + total : total;
    }
};

// `partial` holds partial_elements<Term>(n, cols), on the device.
template <class Term>
void sum_rows(Stream& stream, const Term& term, index_t n, index_t cols, double* partial, const SumTargets<Term::kSums>& to) {
    using Sum = PartialSums<Term>;
    using Add = AddChunks<Term::kSums>;
    static_assert(Term::kSums <= Sum::kWarps);
    const index_t chunk = rows_of_chunk(n), chunks = blocks_for(n, chunk);
    launch(stream, {blocks_for(cols, Sum::kColumns), chunks}, Sum{term, n, cols, chunk, partial});
    launch(stream, {blocks_for(cols, Add::kThreads), Term::kSums}, Add{partial, chunks, cols, to});
}

}  // namespace voxridge::cuda
