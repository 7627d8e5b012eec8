#include "core/leave_out.hpp"

#include <memory>

#include "cpu/lanes.hpp"
#include "cpu/multiversion.hpp"
#include "cpu/parallel.hpp"

namespace voxridge {
namespace {

constexpr index_t kTile = 32;      // rows and columns of a transposed block: both sides stay in the first-level cache
constexpr index_t kColumns = 256;  // targets whose sums a thread keeps at once

template <class T>
inline void add_row_as(const T* y, const T* q, double w, index_t n, double* q1, double* q2, double* qy) {
    for (index_t v = 0; v < n; ++v) {
        const double value = static_cast<double>(q[v]), weighted = w * value;
        q1[v] += weighted, q2[v] += weighted * value, qy[v] += weighted * static_cast<double>(y[v]);
    }
}
VOXRIDGE_MULTIVERSION void add_row(const float* y, const float* q, double w, index_t n, double* q1, double* q2, double* qy) {
    add_row_as(y, q, w, n, q1, q2, qy);
}
VOXRIDGE_MULTIVERSION void add_row(const double* y, const double* q, double w, index_t n, double* q1, double* q2, double* qy) {
    add_row_as(y, q, w, n, q1, q2, qy);
}

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
    parallel_for((y.cols + kColumns - 1) / kColumns, n_threads, [&](index_t block) {
        const index_t first = block * kColumns, width = std::min(kColumns, y.cols - first);
        for (index_t t = 0; t < y.rows; ++t)
            add_row(y.row(t) + first, q.row(t) + first, weights ? weights[t] : 1.0, width, moments.row(0) + first,
                    moments.row(1) + first, moments.row(2) + first);
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
