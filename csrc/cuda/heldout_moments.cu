#include "cuda/heldout_moments.hpp"

#include "cuda/heldout_products.hpp"

namespace voxridge::cuda {
namespace {

using namespace heldout;

// Partial sums (row block, 3, v) of blocks of rows. A block goes through its tiles in order; q lives in registers.
template <class Product>
struct PartialMoments {
    using T = Product::T;
    static constexpr int kThreads = Product::kThreads;
    static constexpr bool kSyncs = true;
    static constexpr int kBlocks = Product::kBlocks;
    static constexpr int kSpan = Product::kSpan, kRounds = Product::kThreadCols / kSpan;   // a round: neighbouring columns of every thread
    static constexpr int kSlots = kSpan * Product::kOwners;                                // columns of a round
    static constexpr int kStride = kSlots + Product::kOwnersOfWarp;                        // a warp's sums lie in different banks
    struct Shared {
        union {
            Product::Shared product;
            double parts[3][Product::kParts][kStride];
        };
        double totals[3 * Product::kCols];
    };

    HeldOut<T> set;
    Operands<T> operands;
    bool y_aligned, base_aligned;
    RowBlocks row_blocks;
    double* out;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const index_t n_targets = set.y.cols;
        const Place at = place_of(block.x(), row_blocks.blocks, pieces(n_targets, Product::kCols));
        const index_t first = at.row_block * row_blocks.per_block, column = at.column_tile * Product::kCols;
        for (int s = block.thread(); s < 3 * Product::kCols; s += kThreads) shared.totals[s] = 0.0;
        for (index_t tile = first; tile < smaller(first + row_blocks.per_block, row_blocks.tiles); ++tile) {
            Product product;
            multiply_tile(product, block, shared.product, operands, tile * Product::kRows, column);
            VOXRIDGE_UNROLL
            for (int round = 0; round < kRounds; ++round) {
                sum_rows(block.thread(), product, round, tile * Product::kRows, column, shared);
                block.sync();
                sum_parts(block.thread(), round, shared);
                block.sync();
            }
        }
        for (int s = block.thread(); s < 3 * Product::kCols; s += kThreads) {
            const index_t moment = s / Product::kCols, v = column + s % Product::kCols;
            if (v < n_targets) out[(at.row_block * 3 + moment) * n_targets + v] = shared.totals[s];
        }
    }

    // The thread's own rows of its columns of the round.
    VOXRIDGE_DEVICE void sum_rows(int thread, const Product& product, int round, index_t first_row, index_t first_column, Shared& shared) const {
        const int part = Product::part_of(thread), owner = Product::owner_of(thread);
        const index_t v = first_column + Product::column_of(owner, round * kSpan);
        const int left = rest(set.y.cols, v, kSpan);
        const auto along = load<kSpan>(set.along ? set.along + v : nullptr, set.along ? left : 0, false);
        const auto shift = load<kSpan>(set.shift ? set.shift + v : nullptr, set.shift ? left : 0, false);
        const T sign = static_cast<T>(set.sign);
        double q_sum[kSpan] = {}, qq_sum[kSpan] = {}, qy_sum[kSpan] = {};
        VOXRIDGE_UNROLL
        for (int r = 0; r < Product::kThreadRows; ++r) {
            const index_t i = first_row + Product::row_of(part, r);
            if (i >= set.factor.rows) continue;
            const index_t t = set.rows ? set.rows[i] : i;
            const auto y = load<kSpan>(set.y.row(t) + v, left, y_aligned);
            const auto base = load<kSpan>(set.base.data ? set.base.row(t) + v : nullptr, set.base.data ? left : 0, base_aligned);
            const T constant = set.constant ? set.constant[i] : T(0), scale = set.scale ? static_cast<T>(set.scale[i]) : T(1);
            const double weight = set.weights ? set.weights[i] : 1.0;
            VOXRIDGE_UNROLL
            for (int c = 0; c < kSpan; ++c) {
                const T inside = base.value[c] + sign * product.at(r, round * kSpan + c) + constant * along.value[c];
                const auto q = static_cast<double>(scale * inside + shift.value[c]);
                const double weighted = weight * q;
                q_sum[c] += weighted, qq_sum[c] += weighted * q, qy_sum[c] += weighted * static_cast<double>(y.value[c]);
            }
        }
        VOXRIDGE_UNROLL
        for (int c = 0; c < kSpan; ++c) {
            const int slot = c * Product::kOwners + owner;
            shared.parts[0][part][slot] = q_sum[c], shared.parts[1][part][slot] = qq_sum[c], shared.parts[2][part][slot] = qy_sum[c];
        }
    }

    VOXRIDGE_DEVICE void sum_parts(int thread, int round, Shared& shared) const {
        for (int s = thread; s < 3 * kSlots; s += kThreads) {
            const int moment = s / kSlots, slot = s % kSlots;
            double sum = 0;
            for (int part = 0; part < Product::kParts; ++part) sum += shared.parts[moment][part][slot];
            shared.totals[moment * Product::kCols + Product::column_of(slot % Product::kOwners, round * kSpan + slot / Product::kOwners)] += sum;
        }
    }
};

// moments += the blocks' sums, in order.
struct AddBlocks {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = false;
    struct Shared {};
    const double* parts;
    index_t n_blocks;
    Matrix<double> moments;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t i = index_t{block.x()} * kThreads + block.thread(), n = 3 * moments.cols;
        if (i >= n) return;
        double sum = 0;
        for (index_t b = 0; b < n_blocks; ++b) sum += parts[b * n + i];
        moments.row(i / moments.cols)[i % moments.cols] += sum;
    }
};

template <class Product>
void run(Stream& stream, const HeldOut<typename Product::T>& set, double* scratch, Matrix<double> moments) {
    const Operands<typename Product::T> operands{set.factor, set.residual, set.inner, rows_aligned(set.factor), rows_aligned(set.residual)};
    const RowBlocks blocks = row_blocks(set.factor.rows, Product::kRows);
    launch(stream, {blocks.blocks * pieces(moments.cols, Product::kCols)},
           PartialMoments<Product>{set, operands, rows_aligned(set.y), rows_aligned(set.base), blocks, scratch});
    launch(stream, {pieces(3 * moments.cols, AddBlocks::kThreads)}, AddBlocks{scratch, blocks.blocks, moments});
}

constexpr index_t kMaxDepth = (index_t{1} << 31) - 64;  // kernels count along k in int
constexpr index_t kFewRows = 512;  // fill a device better as tiles of 64 x 64

void choose(Stream& stream, const HeldOut<float>& set, Precision precision, double* scratch, Matrix<double> moments) {
    if (precision == Precision::tf32)
        run<TensorProduct<Precision::tf32>>(stream, set, scratch, moments);
    else if (precision == Precision::bf16)
        run<TensorProduct<Precision::bf16>>(stream, set, scratch, moments);
    else if (set.factor.rows <= kFewRows)
        run<SimtProduct<float, 2, 1>>(stream, set, scratch, moments);
    else
        run<SimtProduct<float, 4, 2>>(stream, set, scratch, moments);
}

void choose(Stream& stream, const HeldOut<double>& set, Precision, double* scratch, Matrix<double> moments) {
    run<SimtProduct<double, 4, 2>>(stream, set, scratch, moments);
}

template <class T>
void check(const HeldOut<T>& set, Matrix<double> moments) {
    const auto &f = set.factor, &r = set.residual;
    require(r.cols == set.y.cols && (set.inner || r.rows >= f.cols), "heldout_moments: factor ", shape{f.rows, f.cols}, " and residual ",
            shape{r.rows, r.cols}, " do not give the columns of y ", shape{set.y.rows, set.y.cols});
    require(f.cols <= kMaxDepth, "heldout_moments: factor ", shape{f.rows, f.cols}, " has more than ", kMaxDepth, " columns");
    require(set.rows || f.rows <= set.y.rows, "heldout_moments: factor ", shape{f.rows, f.cols}, " has more rows than y ",
            shape{set.y.rows, set.y.cols});
    require(!set.base.data || (set.base.rows == set.y.rows && set.base.cols == set.y.cols), "heldout_moments: base ",
            shape{set.base.rows, set.base.cols}, ", y ", shape{set.y.rows, set.y.cols});
    require(moments.rows == 3 && moments.cols == set.y.cols, "heldout_moments: moments ", shape{moments.rows, moments.cols}, ", expected ",
            shape{3, set.y.cols});
    require(!set.constant == !set.along, "heldout_moments: constant and along come together");
}

}  // namespace

std::size_t heldout_scratch(index_t m, index_t n_targets) {
    return sizeof(double) * static_cast<std::size_t>(smaller(pieces(m, 64), kMaxRowBlocks) * 3 * n_targets);  // 64: the lowest tile
}

template <class T>
void heldout_moments(Stream& stream, const HeldOut<T>& set, Precision precision, void* scratch, Matrix<double> moments) {
    check(set, moments);
    if (set.factor.rows == 0 || set.y.cols == 0) return;
    choose(stream, set, precision, static_cast<double*>(scratch), moments);
}

template void heldout_moments<float>(Stream&, const HeldOut<float>&, Precision, void*, Matrix<double>);
template void heldout_moments<double>(Stream&, const HeldOut<double>&, Precision, void*, Matrix<double>);

}  // namespace voxridge::cuda
