#include "core/leave_out.hpp"

#include <cstring>
#include <memory>

#include "cpu/lanes.hpp"
#include "cpu/multiversion.hpp"
#include "cpu/parallel.hpp"

namespace voxridge {
namespace {

constexpr index_t kTile = 32;      // rows and columns of a transposed block: both sides stay in the first-level cache
constexpr index_t kSummed = 32;    // columns summed at once

// Weighted sums of q, q^2 and q y of kSummed columns, all in registers. `weights` may be null.
#define VOXRIDGE_SUM_PRODUCTS(T)                                                                                               \
    VOXRIDGE_MULTIVERSION void sum_products(const T* y, index_t y_stride, const T* q, index_t q_stride, const double* weights, \
                                            index_t rows, double* q1, double* q2, double* qy) {                                \
        using Vector = LanesOf<double>::type;                                                                                  \
        constexpr index_t n = kSummed / 8;                                                                                     \
        Vector sums[n], squares[n], products[n];                                                                               \
        for (index_t v = 0; v < n; ++v)                                                                                        \
            load_eight(q1 + 8 * v, sums[v]), load_eight(q2 + 8 * v, squares[v]), load_eight(qy + 8 * v, products[v]);          \
        for (index_t t = 0; t < rows; ++t, y += y_stride, q += q_stride)                                                       \
            for (index_t v = 0; v < n; ++v) {                                                                                  \
                Vector value, target;                                                                                          \
                load_eight(q + 8 * v, value);                                                                                  \
                load_eight(y + 8 * v, target);                                                                                 \
                const Vector weighted = (weights ? weights[t] : 1.0) * value;                                                  \
                sums[v] += weighted;                                                                                           \
                squares[v] += weighted * value;                                                                                \
                products[v] += weighted * target;                                                                              \
            }                                                                                                                  \
        std::memcpy(q1, sums, sizeof(sums));                                                                                   \
        std::memcpy(q2, squares, sizeof(squares));                                                                             \
        std::memcpy(qy, products, sizeof(products));                                                                           \
    }
VOXRIDGE_SUM_PRODUCTS(float)
VOXRIDGE_SUM_PRODUCTS(double)
#undef VOXRIDGE_SUM_PRODUCTS

constexpr index_t kMixed = 4;     // rows of the mixture formed at once
constexpr index_t kMixWidth = 128;  // columns a thread mixes at once

template <class T>
struct alignas(64) MixRow {
    T value[kMixWidth] = {};
};

// kMixed rows of the mixture, all sums in registers; `coefficients` (kMixed, r), one row after the other.
#define VOXRIDGE_MIX(T)                                                                                                 \
    VOXRIDGE_MULTIVERSION void mix_block(const MixRow<T>* shared, index_t r, const T* coefficients, MixRow<T>* mixed) { \
        using Vector = LanesOf<T>::type;                                                                                \
        constexpr index_t lanes = static_cast<index_t>(sizeof(Vector) / sizeof(T));                                     \
        for (index_t v = 0; v < kMixWidth; v += 2 * lanes) {                                                            \
            Vector sum[kMixed][2] = {};                                                                                 \
            for (index_t s = 0; s < r; ++s) {                                                                           \
                const Vector* row = reinterpret_cast<const Vector*>(&shared[s].value[v]);                               \
                for (index_t a = 0; a < kMixed; ++a)                                                                    \
                    for (index_t h = 0; h < 2; ++h) sum[a][h] += coefficients[a * r + s] * row[h];                      \
            }                                                                                                           \
            for (index_t a = 0; a < kMixed; ++a)                                                                        \
                for (index_t h = 0; h < 2; ++h) *reinterpret_cast<Vector*>(&mixed[a].value[v + h * lanes]) = sum[a][h]; \
        }                                                                                                               \
    }
VOXRIDGE_MIX(float)
VOXRIDGE_MIX(double)
#undef VOXRIDGE_MIX

}  // namespace

void restore_lower(Matrix<double> a, int n_threads) {
    require(a.rows == a.cols, "restore_lower: the matrix is ", shape{a.rows, a.cols}, ", not square");
    parallel_for((a.rows + kTile - 1) / kTile, n_threads, [&](index_t block) {
        const index_t i0 = block * kTile, i1 = std::min(i0 + kTile, a.rows);
        for (index_t j0 = 0; j0 < i1; j0 += kTile)
            for (index_t i = i0; i < i1; ++i)
                for (index_t j = j0; j < std::min(j0 + kTile, i); ++j) a.row(i)[j] = a.row(j)[i];
    });
}

template <class T>
void symmetric_rows(Matrix<const double> a, index_t begin, double scale, double diagonal, Matrix<T> out, int n_threads) {
    require(a.rows == a.cols && out.cols == a.cols && begin >= 0 && begin + out.rows <= a.rows, "symmetric_rows: rows [", begin, ", ",
            begin + out.rows, ") of a ", shape{a.rows, a.cols}, " matrix, out ", shape{out.rows, out.cols});
    parallel_for((a.cols + kTile - 1) / kTile, n_threads, [&](index_t block) {
        const index_t j0 = block * kTile, j1 = std::min(j0 + kTile, a.cols);
        for (index_t r0 = 0; r0 < out.rows; r0 += kTile) {
            const index_t r1 = std::min(r0 + kTile, out.rows);
            for (index_t r = r0; r < r1; ++r)  // left of the diagonal: rows as they are
                for (index_t j = j0; j < std::min(j1, begin + r + 1); ++j) out.row(r)[j] = static_cast<T>(scale * a.row(begin + r)[j]);
            for (index_t j = std::max(j0, begin + r0 + 1); j < j1; ++j)  // right of it: columns
                for (index_t r = r0; r < std::min(r1, j - begin); ++r) out.row(r)[j] = static_cast<T>(scale * a.row(j)[begin + r]);
            for (index_t r = std::max(r0, j0 - begin); r < std::min(r1, j1 - begin); ++r)
                out.row(r)[begin + r] = static_cast<T>(scale * a.row(begin + r)[begin + r] + diagonal);
        }
    });
}

template <class T>
void product_moments(Matrix<const T> y, Matrix<const T> q, const double* weights, Matrix<double> moments, int n_threads) {
    require(y.rows == q.rows && y.cols == q.cols && moments.rows == 3 && moments.cols == y.cols, "product_moments: y ",
            shape{y.rows, y.cols}, ", q ", shape{q.rows, q.cols}, ", moments ", shape{moments.rows, moments.cols});
    parallel_for((y.cols + kSummed - 1) / kSummed, n_threads, [&](index_t block) {
        const index_t first = block * kSummed;
        double* sums[] = {moments.row(0) + first, moments.row(1) + first, moments.row(2) + first};
        if (first + kSummed <= y.cols) {
            sum_products(y.data + first, y.stride, q.data + first, q.stride, weights, y.rows, sums[0], sums[1], sums[2]);
            return;
        }
        for (index_t t = 0; t < y.rows; ++t)
            for (index_t v = 0; v < y.cols - first; ++v) {
                const auto value = static_cast<double>(q.row(t)[first + v]);
                const double weighted = (weights ? weights[t] : 1.0) * value;
                sums[0][v] += weighted, sums[1][v] += weighted * value;
                sums[2][v] += weighted * static_cast<double>(y.row(t)[first + v]);
            }
    });
}

template <class T>
void mix_rows(Matrix<const T> coefficients, Matrix<const T> shared, Matrix<T> out, int n_threads) {
    require(coefficients.rows == out.rows && coefficients.cols == shared.rows && shared.cols == out.cols, "mix_rows: coefficients ",
            shape{coefficients.rows, coefficients.cols}, " and shared ", shape{shared.rows, shared.cols}, " do not give out ",
            shape{out.rows, out.cols});
    const index_t r = shared.rows, padded = (out.rows + kMixed - 1) / kMixed * kMixed;
    std::vector<T> dense(static_cast<std::size_t>(padded * r));
    for (index_t a = 0; a < out.rows; ++a) std::copy_n(coefficients.row(a), r, dense.data() + a * r);
    parallel_for((out.cols + kMixWidth - 1) / kMixWidth, n_threads, [&](index_t block) {
        const index_t first = block * kMixWidth, width = std::min(kMixWidth, out.cols - first);
        const auto rows = std::make_unique<MixRow<T>[]>(static_cast<std::size_t>(r));
        for (index_t s = 0; s < r; ++s) std::copy_n(shared.row(s) + first, width, rows[static_cast<std::size_t>(s)].value);
        MixRow<T> mixed[kMixed];
        for (index_t a = 0; a < padded; a += kMixed) {
            mix_block(rows.get(), r, dense.data() + a * r, mixed);
            for (index_t i = a; i < std::min(a + kMixed, out.rows); ++i) std::copy_n(mixed[i - a].value, width, out.row(i) + first);
        }
    });
}

#define VOXRIDGE_INSTANTIATE(T)                                                                             \
    template void symmetric_rows<T>(Matrix<const double>, index_t, double, double, Matrix<T>, int);         \
    template void product_moments<T>(Matrix<const T>, Matrix<const T>, const double*, Matrix<double>, int); \
    template void mix_rows<T>(Matrix<const T>, Matrix<const T>, Matrix<T>, int);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge
