// Tiles of factor * residual in the registers of a block, for the epilogue of heldout_moments.cu.
//
// While a block multiplies one piece of k, its threads hold the next piece in registers, on its way from memory to the other half of shared memory.
#pragma once

#include "cuda/heldout_tiles.hpp"

namespace voxridge::cuda::heldout {

template <class T>
struct Operands {
    Matrix<const T> factor, residual;
    const index_t* inner;  // nullptr: the identity
    bool factor_aligned, residual_aligned;

    VOXRIDGE_DEVICE int depth() const { return static_cast<int>(factor.cols); }
    // The row of the residual that belongs to column j of the factor, from the place of `column` in its first row on.
    VOXRIDGE_DEVICE const T* row_of_residual(int j, const T* column) const { return column + (inner ? inner[j] : index_t{j}) * residual.stride; }
};

// What a thread loads of the next piece of k, in registers until the tile's buffers are free for it.
template <class T, class Tile>
struct Incoming {
    Pack<T> a[Tile::kLoadsA][Tile::kValues], b[Tile::kLoadsB][Tile::kValues];

    VOXRIDGE_DEVICE void start(int thread, const Operands<T>& from, index_t row, index_t first_column) {
        VOXRIDGE_UNROLL
        for (int l = 0; l < Tile::kLoadsA; ++l)  // beyond the last row any will do: nobody asks for its results
            rows_[l] = from.factor.row(smaller(row + Tile::a_row(thread, l), from.factor.rows - 1));
        const index_t at = first_column + Tile::b_column(thread);
        column_ = from.residual.data + at;
        count_ = rest(from.residual.cols, at, Tile::kPack);
    }
    VOXRIDGE_DEVICE void fetch(int thread, const Operands<T>& from, int k) {
        const bool inside = kMany && k + Tile::kDepth <= from.depth();
        if (inside && from.factor_aligned)
            fetch_a<true>(thread, from, k);
        else
            fetch_a<false>(thread, from, k);
        if (inside && from.residual_aligned && count_ == Tile::kPack)
            fetch_b<true>(thread, from, k);
        else
            fetch_b<false>(thread, from, k);
    }

private:
    const T* rows_[Tile::kLoadsA];
    const T* column_;
    int count_;  // of columns that are there, up to a pack
    static constexpr bool kMany = Tile::kLoadsA * Tile::kValues > 1;  // then one question for all of them is worth its registers

    template <bool Packed>  // all of it is there, and may be loaded as packs
    VOXRIDGE_DEVICE void fetch_a(int thread, const Operands<T>& from, int k) {
        VOXRIDGE_UNROLL
        for (int l = 0; l < Tile::kLoadsA; ++l) {
            VOXRIDGE_UNROLL
            for (int c = 0; c < Tile::kValues; ++c) {
                const int j = k + Tile::a_k(thread) + c * Tile::kPack;
                a[l][c] = load<Tile::kPack>(rows_[l] + j, Packed ? Tile::kPack : from.depth() - j, Packed || from.factor_aligned);
            }
        }
    }
    template <bool Packed>
    VOXRIDGE_DEVICE void fetch_b(int thread, const Operands<T>& from, int k) {
        VOXRIDGE_UNROLL
        for (int l = 0; l < Tile::kLoadsB; ++l) {
            VOXRIDGE_UNROLL
            for (int c = 0; c < Tile::kValues; ++c) {
                const int j = k + Tile::b_k(thread, l) + c;
                if (Packed)
                    b[l][c] = load<Tile::kPack>(from.row_of_residual(j, column_), Tile::kPack, true);
                else if (j < from.depth())
                    b[l][c] = load<Tile::kPack>(from.row_of_residual(j, column_), count_, from.residual_aligned);
                else
                    b[l][c] = Pack<T>{};
            }
        }
    }
};

// Products of the ordinary cores, summed in T in the order of k.
template <class Element, int WarpRows, int WarpCols>
struct SimtProduct : SimtTile<Element, WarpRows, WarpCols> {
    using T = Element;
    using Tile = SimtTile<T, WarpRows, WarpCols>;
    using Tile::kDepth, Tile::kPack, Tile::kLoadsA, Tile::kLoadsB, Tile::kThreadRows, Tile::kThreadCols;
    struct Shared {
        // The factor lies transposed; a pack behind each row sends the elements that a warp writes to different banks.
        alignas(16) T a[2][kDepth][Tile::kRows + kPack];
        alignas(16) T b[2][kDepth][Tile::kCols];
    };
    static constexpr int kBlocks = sizeof(T) == 4 && Tile::kThreads == 256 ? 2 : 0;  // one multiplies while the other waits at a barrier
    T sums[kThreadRows][kThreadCols];
    Incoming<T, Tile> next;

    VOXRIDGE_DEVICE void clear() {
        VOXRIDGE_UNROLL
        for (int i = 0; i < kThreadRows; ++i) {
            VOXRIDGE_UNROLL
            for (int j = 0; j < kThreadCols; ++j) sums[i][j] = T(0);
        }
    }
    VOXRIDGE_DEVICE void put(int thread, Shared& shared, int half) const {
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsA; ++l) {
            VOXRIDGE_UNROLL
            for (int c = 0; c < kPack; ++c) shared.a[half][Tile::a_k(thread) + c][Tile::a_row(thread, l)] = next.a[l][0].value[c];
        }
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsB; ++l) store(&shared.b[half][Tile::b_k(thread, l)][Tile::b_column(thread)], next.b[l][0]);
    }
    template <class Block>
    VOXRIDGE_DEVICE void multiply(const Block& block, const Shared& shared, int half, int) {
        const int row = Tile::row_of(Tile::part_of(block.thread()), 0), column = Tile::column_of(Tile::owner_of(block.thread()), 0);
        VOXRIDGE_UNROLL
        for (int k = 0; k < kDepth; ++k) {
            const auto a0 = load<kPack>(&shared.a[half][k][row], kPack, true), a1 = load<kPack>(&shared.a[half][k][row + 4 * kPack], kPack, true);
            const auto b0 = load<kPack>(&shared.b[half][k][column], kPack, true), b1 = load<kPack>(&shared.b[half][k][column + 8 * kPack], kPack, true);
            VOXRIDGE_UNROLL
            for (int i = 0; i < kPack; ++i) {
                VOXRIDGE_UNROLL
                for (int j = 0; j < kPack; ++j) {
                    sums[i][j] += a0.value[i] * b0.value[j], sums[i][kPack + j] += a0.value[i] * b1.value[j];
                    sums[kPack + i][j] += a1.value[i] * b0.value[j], sums[kPack + i][kPack + j] += a1.value[i] * b1.value[j];
                }
            }
        }
    }
    VOXRIDGE_DEVICE void finish() {}
    VOXRIDGE_DEVICE T at(int i, int j) const { return sums[i][j]; }
};

// Products of the tensor cores: inputs rounded once, on their way to shared memory.
template <Precision P>
struct TensorProduct : TensorTile<P == Precision::bf16 ? 2 : 1> {
    using T = float;
    static constexpr bool kBf16 = P == Precision::bf16;
    using Tile = TensorTile<kBf16 ? 2 : 1>;
    using Word = std::uint32_t;
    using Tile::kDepth, Tile::kPack, Tile::kWords, Tile::kValues, Tile::kLoadsA, Tile::kLoadsB;
    // Tensor cores truncate the sums that they carry, always towards zero: over tens of thousands of steps that shrinks a result by as much as
    // rounding the inputs to tf32 blurs it. So they carry sums over 256 of k only; those are added by the ordinary cores, which round. The second
    // set of sums costs 64 registers, and one block on a multiprocessor instead of two.
    static constexpr int kCarried = 256 / kDepth;
    struct Shared {
        alignas(16) Word a[2][Tile::kRows][kWords];
        alignas(16) Word b[2][kWords][Tile::kCols + 8];  // 8 words between rows: the four rows that a fragment reads lie in different banks
    };
    static constexpr int kBlocks = 0;
    float sums[4][4][4], carried[4][4][4];  // fragments of 16 rows, of 8 columns; elements
    Incoming<float, Tile> next;

    VOXRIDGE_DEVICE void clear() {
        VOXRIDGE_UNROLL
        for (int e = 0; e < 64; ++e) sums[e / 16][e / 4 % 4][e % 4] = carried[e / 16][e / 4 % 4][e % 4] = 0.0F;
    }
    VOXRIDGE_DEVICE void finish() {
        VOXRIDGE_UNROLL
        for (int e = 0; e < 64; ++e) {
            sums[e / 16][e / 4 % 4][e % 4] += carried[e / 16][e / 4 % 4][e % 4];
            carried[e / 16][e / 4 % 4][e % 4] = 0.0F;
        }
    }
    VOXRIDGE_DEVICE void put(int thread, Shared& shared, int half) const {
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsA; ++l) {
            Pack<Word> words;
            VOXRIDGE_UNROLL
            for (int w = 0; w < kPack; ++w) {
                const int first = w * kValues, second = first + kValues - 1;  // along k, as they were loaded
                words.value[w] = word(next.a[l][first / kPack].value[first % kPack], next.a[l][second / kPack].value[second % kPack]);
            }
            store(&shared.a[half][Tile::a_row(thread, l)][Tile::a_word(thread)], words);
        }
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsB; ++l) {
            Pack<Word> words;
            VOXRIDGE_UNROLL
            for (int w = 0; w < kPack; ++w) words.value[w] = word(next.b[l][0].value[w], next.b[l][kValues - 1].value[w]);
            store(&shared.b[half][Tile::b_slot(Tile::b_word(thread, l))][Tile::b_column(thread)], words);
        }
    }
    template <class Block>
    VOXRIDGE_DEVICE void multiply(const Block& block, const Shared& shared, int half, int step) {
        const int group = block.thread() % 32 / 4, place = block.thread() % 4;
        const int row = block.thread() / 128 * 64 + group, column = block.thread() / 32 % 4 * 32 + group;
        Word b[4][4];
        VOXRIDGE_UNROLL
        for (int e = 0; e < 16; ++e) b[e / 4][e % 4] = shared.b[half][e % 4 * 4 + place][column + e / 4 * 8];
        VOXRIDGE_UNROLL
        for (int i = 0; i < 4; ++i) {
            const auto upper = load<kPack>(&shared.a[half][row + i * 16][place * kPack], kPack, true);
            const auto lower = load<kPack>(&shared.a[half][row + i * 16 + 8][place * kPack], kPack, true);
            VOXRIDGE_UNROLL
            for (int s = 0; s < 4; s += 2) {
                const Word a[4] = {upper.value[s], lower.value[s], upper.value[s + 1], lower.value[s + 1]};
                VOXRIDGE_UNROLL
                for (int j = 0; j < 4; ++j) {
                    const Word bs[2] = {b[j][s], b[j][s + 1]};
                    if constexpr (kBf16)
                        block.mma_bf16(carried[i][j], a, bs);
                    else
                        block.mma_tf32(carried[i][j], a, bs);
                }
            }
        }
        if (step % kCarried == kCarried - 1) finish();
    }
    VOXRIDGE_DEVICE float at(int i, int j) const { return sums[i / 2][j / 2][i % 2 * 2 + j % 2]; }

private:
    VOXRIDGE_DEVICE static Word word(float first, [[maybe_unused]] float second) {
        if constexpr (kBf16)
            return to_bf16x2(first, second);
        else
            return to_tf32(first);
    }
};

// The tile whose first element is (row, column) of factor * residual. Nobody uses `shared` any more when it returns.
template <class Product, class Block>
VOXRIDGE_DEVICE void multiply_tile(Product& product, const Block& block, typename Product::Shared& shared,
                                   const Operands<typename Product::T>& from, index_t row, index_t column) {
    product.clear();
    const int k = from.depth(), thread = block.thread();
    if (k == 0) return;
    product.next.start(thread, from, row, column);
    product.next.fetch(thread, from, 0);
    product.put(thread, shared, 0);
    block.sync();
    for (int step = 0, next = Product::kDepth;; ++step, next += Product::kDepth) {
        if (next < k) product.next.fetch(thread, from, next);
        product.multiply(block, shared, step % 2, step);
        if (next < k) product.put(thread, shared, 1 - step % 2);  // which was last read before the last barrier
        block.sync();
        if (next >= k) break;
    }
    product.finish();
}

}  // namespace voxridge::cuda::heldout
