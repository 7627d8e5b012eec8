// One pass over the elements of a matrix, each formed from its own row and column.
#pragma once

#include "cuda/block.hpp"

namespace voxridge::cuda {

// A block has 32 columns and 64 rows, a warp a row at a time. Blocks are numbered along the columns first, in x alone: y would end at 65,535.
//
//     struct Op {
//         Matrix<T> out;
//         T value(index_t i, index_t j) const;               // device
//         index_t row(index_t i), column(index_t j) const;   // device; the place in `out`
//     };
//
// A thread forms all its values before it writes one, so that its reads need not wait for each other. Values may come from their own place in `out`.
// What is too long to stand between two reads, as a division is, goes to an optional  T finish(T value, index_t i, index_t j) const.
template <class T, class Op>
struct Elements {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = false;
    static constexpr int kColumns = 32, kWarps = kThreads / kColumns, kRowsOfThread = 8, kRows = kWarps * kRowsOfThread;
    struct Shared {};
    Op op;
    index_t rows, cols;
    unsigned blocks_across;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t j = index_t{block.x() % blocks_across} * kColumns + block.thread() % kColumns;
        const index_t first = index_t{block.x() / blocks_across} * kRows + block.thread() / kColumns;
        if (j >= cols) return;
        T values[kRowsOfThread] = {};
        if (first + (kRowsOfThread - 1) * kWarps < rows) {  // without a branch between two reads
            for (int k = 0; k < kRowsOfThread; ++k) values[k] = op.value(first + k * kWarps, j);
        } else {
            for (int k = 0; k < kRowsOfThread; ++k)
                if (first + k * kWarps < rows) values[k] = op.value(first + k * kWarps, j);
        }
        if constexpr (requires(const Op& o, T value) { o.finish(value, rows, cols); }) {
            for (int k = 0; k < kRowsOfThread; ++k)
                if (first + k * kWarps < rows) values[k] = op.finish(values[k], first + k * kWarps, j);
        }
        const index_t column = op.column(j);
        for (int k = 0; k < kRowsOfThread; ++k) {
            const index_t i = first + k * kWarps;
            if (i < rows) op.out.row(op.row(i))[column] = values[k];
        }
    }
};

// The i and j of an op run over rows x cols.
template <class T, class Op>
void for_each_element(Stream& stream, const Op& op, index_t rows, index_t cols) {
    using Kernel = Elements<T, Op>;
    const index_t across = blocks_for(cols, Kernel::kColumns), down = blocks_for(rows, Kernel::kRows);
    launch(stream, {across * down}, Kernel{op, rows, cols, static_cast<unsigned>(across)});
}

// Element (i, j) goes to row i and column j.
struct InPlace {
    VOXRIDGE_DEVICE static index_t row(index_t i) { return i; }
    VOXRIDGE_DEVICE static index_t column(index_t j) { return j; }
};

}  // namespace voxridge::cuda
