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

    // N elements of the factor from (i, j) on, and of the row of the residual that belongs to column j; zeros beyond the edges.
    template <int N>
    VOXRIDGE_DEVICE Pack<T, N> left(index_t i, index_t j) const {
        return load<N>(factor.row(i) + j, i < factor.rows ? factor.cols - j : 0, factor_aligned);
    }
    template <int N>
    VOXRIDGE_DEVICE Pack<T, N> right(index_t j, index_t v) const {
        if (j >= factor.cols) return load<N>(residual.data, 0, false);
        return load<N>(residual.row(inner ? inner[j] : j) + v, residual.cols - v, residual_aligned);
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
    T sums[kThreadRows][kThreadCols];
    Pack<T> next_a[kLoadsA], next_b[kLoadsB];

    VOXRIDGE_DEVICE void clear() {
        VOXRIDGE_UNROLL
        for (int i = 0; i < kThreadRows; ++i) {
            VOXRIDGE_UNROLL
            for (int j = 0; j < kThreadCols; ++j) sums[i][j] = T(0);
        }
    }
    VOXRIDGE_DEVICE void fetch(int thread, const Operands<T>& from, index_t row, index_t k, index_t column) {
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsA; ++l) next_a[l] = from.template left<kPack>(row + Tile::a_row(thread, l), k + Tile::a_k(thread, l));
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsB; ++l) next_b[l] = from.template right<kPack>(k + Tile::b_k(thread, l), column + Tile::b_column(thread, l));
    }
    VOXRIDGE_DEVICE void put(int thread, Shared& shared, int half) const {
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsA; ++l) {
            VOXRIDGE_UNROLL
            for (int c = 0; c < kPack; ++c) shared.a[half][Tile::a_k(thread, l) + c][Tile::a_row(thread, l)] = next_a[l].value[c];
        }
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsB; ++l) store(&shared.b[half][Tile::b_k(thread, l)][Tile::b_column(thread, l)], next_b[l]);
    }
    template <class Block>
    VOXRIDGE_DEVICE void multiply(const Block& block, const Shared& shared, int half, index_t) {
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
    static constexpr int kValues = kBf16 ? 2 : 1;
    using Tile = TensorTile<kValues>;
    using Word = std::uint32_t;
    using Tile::kDepth, Tile::kPack, Tile::kWords, Tile::kLoadsA, Tile::kLoadsB;
    // Tensor cores truncate the sums that they carry, always towards zero: over tens of thousands of steps that shrinks a result by as much as
    // rounding the inputs to tf32 blurs it. So they carry sums over 256 of k only; those are added by the ordinary cores, which round. The second
    // set of sums costs 64 registers, and one block on a multiprocessor instead of two.
    static constexpr index_t kCarried = 256 / kDepth;
    struct Shared {
        alignas(16) Word a[2][Tile::kRows][kWords];
        alignas(16) Word b[2][kWords][Tile::kCols + 8];  // 8 words between rows: the four rows that a fragment reads lie in different banks
    };
    float sums[4][4][4], carried[4][4][4];  // fragments of 16 rows, of 8 columns; elements
    Pack<float> next_a[kLoadsA][kValues], next_b[kLoadsB][kValues];

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
    VOXRIDGE_DEVICE void fetch(int thread, const Operands<float>& from, index_t row, index_t k, index_t column) {
        VOXRIDGE_UNROLL
        for (int l = 0; l < 2 * kValues; ++l) {
            const int load = l / kValues, c = l % kValues;
            next_a[load][c] = from.left<kPack>(row + Tile::a_row(thread, load), k + Tile::a_word(thread, load) * kValues + c * kPack);
        }
        VOXRIDGE_UNROLL
        for (int l = 0; l < 2 * kValues; ++l) {
            const int load = l / kValues, c = l % kValues;
            next_b[load][c] = from.right<kPack>(k + Tile::b_word(thread, load) * kValues + c, column + Tile::b_column(thread, load));
        }
    }
    VOXRIDGE_DEVICE void put(int thread, Shared& shared, int half) const {
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsA; ++l) {
            Pack<Word> words;
            VOXRIDGE_UNROLL
            for (int w = 0; w < kPack; ++w) {
                const int first = w * kValues, second = first + kValues - 1;  // along k, as they were loaded
                words.value[w] = word(next_a[l][first / kPack].value[first % kPack], next_a[l][second / kPack].value[second % kPack]);
            }
            store(&shared.a[half][Tile::a_row(thread, l)][Tile::a_word(thread, l)], words);
        }
        VOXRIDGE_UNROLL
        for (int l = 0; l < kLoadsB; ++l) {
            Pack<Word> words;
            VOXRIDGE_UNROLL
            for (int w = 0; w < kPack; ++w) words.value[w] = word(next_b[l][0].value[w], next_b[l][kValues - 1].value[w]);
            store(&shared.b[half][Tile::b_slot(Tile::b_word(thread, l))][Tile::b_column(thread, l)], words);
        }
    }
    template <class Block>
    VOXRIDGE_DEVICE void multiply(const Block& block, const Shared& shared, int half, index_t step) {
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
                    if constexpr (kBf16) block.mma_bf16(carried[i][j], a, bs);
                    else block.mma_tf32(carried[i][j], a, bs);
                }
            }
        }
        if (step % kCarried == kCarried - 1) finish();
    }
    VOXRIDGE_DEVICE float at(int i, int j) const { return sums[i / 2][j / 2][i % 2 * 2 + j % 2]; }

private:
    VOXRIDGE_DEVICE static Word word(float first, [[maybe_unused]] float second) {
        if constexpr (kBf16) return to_bf16x2(first, second);
        else return to_tf32(first);
    }
};

// The tile whose first element is (row, column) of factor * residual. Nobody uses `shared` any more when it returns.
template <class Product, class Block>
VOXRIDGE_DEVICE void multiply_tile(Product& product, const Block& block, typename Product::Shared& shared,
                                   const Operands<typename Product::T>& from, index_t row, index_t column) {
    product.clear();
    const index_t steps = pieces(from.factor.cols, Product::kDepth);
    if (steps == 0) return;
    product.fetch(block.thread(), from, row, 0, column);
    product.put(block.thread(), shared, 0);
    block.sync();
    for (index_t step = 0; step < steps; ++step) {
        const int half = static_cast<int>(step % 2);
        if (step + 1 < steps) product.fetch(block.thread(), from, row, (step + 1) * Product::kDepth, column);
        product.multiply(block, shared, half, step);
        if (step + 1 < steps) product.put(block.thread(), shared, 1 - half);  // which was last read before the last barrier
        block.sync();
    }
    product.finish();
}

}  // namespace voxridge::cuda::heldout
