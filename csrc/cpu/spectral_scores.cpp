#include "core/spectral_scores.hpp"

#include <cstring>
#include <memory>

#include "core/blas.hpp"
#include "cpu/lanes.hpp"
#include "cpu/multiversion.hpp"
#include "cpu/parallel.hpp"

namespace voxridge {
namespace {

constexpr index_t kPanelRows = 64;    // rows of N multiplied at once
constexpr index_t kColumns = 64;      // targets a thread reduces at once
constexpr index_t kAlphas = 4;        // penalties reduced at once
constexpr index_t kSummed = 64;       // columns summed at once
constexpr index_t kDepth = 32;        // eigenvectors summed in T before the sum is added in float64

// e = c z, u = 2 z lz, w = z nz for kDepth x kColumns elements; rows past `depth` and columns past `width` are left as they are.
template <class T>
struct alignas(64) Terms {
    T e[kDepth][kColumns] = {}, u[kDepth][kColumns] = {}, w[kDepth][kColumns] = {};
};

template <class T>
void load_terms(Matrix<const T> z, Matrix<const T> c, Matrix<const T> lz, Matrix<const T> nz, index_t first, index_t column, Terms<T>& terms) {
    const index_t depth = std::min(kDepth, z.rows - first), width = std::min(kColumns, z.cols - column);
    for (index_t i = 0; i < depth; ++i) {
        const T* zi = z.row(first + i) + column;
        const T* ci = c.row(first + i) + column;
        const T* li = lz.row(first + i) + column;
        const T* ni = nz.row(first + i) + column;
        for (index_t v = 0; v < width; ++v) {
            terms.e[i][v] = ci[v] * zi[v];
            terms.u[i][v] = 2 * zi[v] * li[v];
            terms.w[i][v] = zi[v] * ni[v];
        }
    }
}

// sums += values, `lanes` of them, a multiple of eight; inlined into what each instruction set makes of its caller.
template <class T>
inline void add_lanes(const T* values, index_t lanes, double* sums) {
    for (index_t i = 0; i < lanes; i += 8) {
        LanesOf<double>::type sum, more;
        load_eight(sums + i, sum);
        load_eight(values + i, more);
        sum += more;
        std::memcpy(sums + i, &sum, sizeof(sum));
    }
}

// The innermost loop: kAlphas penalties and two vectors of targets, all sums in registers. A vector is 64 bytes: one register with
// AVX-512, two with AVX2. `d`, `shifted` and `squared` hold kAlphas rows, k apart.
#define VOXRIDGE_REDUCE(T)                                                                                                        \
    VOXRIDGE_MULTIVERSION void reduce_block(const Terms<T>& terms, index_t depth, const T* d, const T* shifted, const T* squared, \
                                            index_t k, double* products, double* norms) {                                         \
        using Vector = LanesOf<T>::type;                                                                                          \
        constexpr index_t lanes = static_cast<index_t>(sizeof(Vector) / sizeof(T));                                               \
        for (index_t v = 0; v < kColumns; v += 2 * lanes) {                                                                       \
            Vector p[kAlphas][2] = {}, q[kAlphas][2] = {};                                                                        \
            for (index_t i = 0; i < depth; ++i) {                                                                                 \
                const Vector* e = reinterpret_cast<const Vector*>(&terms.e[i][v]);                                                \
                const Vector* u = reinterpret_cast<const Vector*>(&terms.u[i][v]);                                                \
                const Vector* w = reinterpret_cast<const Vector*>(&terms.w[i][v]);                                                \
                for (index_t a = 0; a < kAlphas; ++a)                                                                             \
                    for (index_t h = 0; h < 2; ++h) {                                                                             \
                        p[a][h] += d[a * k + i] * e[h];                                                                           \
                        q[a][h] += shifted[a * k + i] * u[h] + squared[a * k + i] * w[h];                                         \
                    }                                                                                                             \
            }                                                                                                                     \
            for (index_t a = 0; a < kAlphas; ++a)                                                                                 \
                for (index_t h = 0; h < 2; ++h) {                                                                                 \
                    add_lanes(reinterpret_cast<const T*>(&p[a][h]), lanes, products + a * kColumns + v + h * lanes);              \
                    add_lanes(reinterpret_cast<const T*>(&q[a][h]), lanes, norms + a * kColumns + v + h * lanes);                 \
                }                                                                                                                 \
        }                                                                                                                         \
    }
VOXRIDGE_REDUCE(float)
VOXRIDGE_REDUCE(double)
#undef VOXRIDGE_REDUCE

// Sums and sums of squares of kSummed columns, all in registers.
#define VOXRIDGE_SUM_ROWS(T)                                                                                                \
    VOXRIDGE_MULTIVERSION void sum_rows(const T* y, index_t stride, index_t rows, double* sums, double* squares) {          \
        using Vector = LanesOf<double>::type;                                                                               \
        Vector sum[kSummed / 8], square[kSummed / 8];                                                                       \
        for (index_t v = 0; v < kSummed / 8; ++v) load_eight(sums + 8 * v, sum[v]), load_eight(squares + 8 * v, square[v]); \
        for (index_t t = 0; t < rows; ++t, y += stride)                                                                     \
            for (index_t v = 0; v < kSummed / 8; ++v) {                                                                     \
                Vector value;                                                                                               \
                load_eight(y + 8 * v, value);                                                                               \
                sum[v] += value;                                                                                            \
                square[v] += value * value;                                                                                 \
            }                                                                                                               \
        std::memcpy(sums, sum, sizeof(sum));                                                                                \
        std::memcpy(squares, square, sizeof(square));                                                                       \
    }
VOXRIDGE_SUM_ROWS(float)
VOXRIDGE_SUM_ROWS(double)
#undef VOXRIDGE_SUM_ROWS

// Rows of filters as T, with rows of zeros up to a multiple of kAlphas.
template <class T>
std::vector<T> narrowed(const std::vector<double>& values, index_t size) {
    std::vector<T> result(values.begin(), values.end());
    result.resize(static_cast<std::size_t>(size));
    return result;
}

}  // namespace

template <class T>
QuadraticForm<T>::QuadraticForm(Matrix<const double> m, const double* l, double alpha_min, double tolerance)
    : k_(m.rows), far_(static_cast<std::size_t>(m.rows * m.rows)) {
    require(m.rows == m.cols, "QuadraticForm: m is ", shape{m.rows, m.cols}, ", not square");
    std::vector<Range> near(static_cast<std::size_t>(k_));
    for (index_t i = 0, end = 0; i < k_; ++i) {  // l ascending: the end of row i's band never moves back
        end = std::max(end, i + 1);
        while (end < k_ && l[end] - l[i] <= tolerance * (l[i] + alpha_min)) ++end;
        near[static_cast<std::size_t>(i)].end = end;
    }
    for (index_t i = 0, begin = 0; i < k_; ++i) {
        while (near[static_cast<std::size_t>(begin)].end <= i) ++begin;
        near[static_cast<std::size_t>(i)].begin = begin;
    }
    for (index_t i = 0; i < k_; ++i) {
        const Range band = near[static_cast<std::size_t>(i)];
        T* row = far_.data() + i * k_;
        for (index_t j = 0; j < k_; ++j) row[j] = j >= band.begin && j < band.end ? T{0} : static_cast<T>(m.row(i)[j] / (l[j] - l[i]));
    }
    for (index_t first = 0; first < k_; first += kPanelRows) {
        const index_t last = std::min(first + kPanelRows, k_) - 1;
        const Range top = near[static_cast<std::size_t>(first)], bottom = near[static_cast<std::size_t>(last)];
        panels_.push_back({first, last - first + 1, top.begin, bottom.end, near_.size(), {bottom.begin, std::max(bottom.begin, top.end)}});
        for (index_t i = first; i <= last; ++i) {
            const Range band = near[static_cast<std::size_t>(i)];
            for (index_t j = top.begin; j < bottom.end; ++j)
                near_.push_back(j >= band.begin && j < band.end ? static_cast<T>(m.row(i)[j]) : T{0});
        }
    }
}

template <class T>
void QuadraticForm<T>::apply(Matrix<const T> z, Matrix<T> lz, Matrix<T> nz, const Poll& poll) const {
    require(z.rows == k_ && lz.rows == k_ && nz.rows == k_ && lz.cols == z.cols && nz.cols == z.cols,
            "QuadraticForm: z is ", shape{z.rows, z.cols}, ", expected ", k_, " rows");
    const Matrix<const T> far{far_.data(), k_, k_, k_};
    index_t widest = 0;
    for (const Panel& panel : panels_) widest = std::max(widest, panel.all_near.size());
    if (widest < k_ / 4) {
        blas::gemm<T>(false, false, 1, far, z, 0, lz);
    } else {  // L is empty where whole panels are near; leave those columns out
        for (const Panel& p : panels_) {
            const Matrix<T> out = lz.block(p.first, 0, p.rows, z.cols);
            blas::gemm<T>(false, false, 1, far.block(p.first, 0, p.rows, p.all_near.begin), z.block(0, 0, p.all_near.begin, z.cols), 0, out);
            blas::gemm<T>(false, false, 1, far.block(p.first, p.all_near.end, p.rows, k_ - p.all_near.end),
                          z.block(p.all_near.end, 0, k_ - p.all_near.end, z.cols), 1, out);
        }
    }
    poll();
    for (const Panel& p : panels_)
        blas::gemm<T>(false, false, 1, Matrix<const T>{near_.data() + p.offset, p.rows, p.end - p.begin, p.end - p.begin},
                      z.block(p.begin, 0, p.end - p.begin, z.cols), 0, nz.block(p.first, 0, p.rows, z.cols));
    poll();
}

Filters make_filters(const double* l, index_t k, const double* alphas, index_t n_alphas, double mean_l) {
    Filters f{n_alphas, k, {}, {}, {}, {}};
    f.scale.reserve(static_cast<std::size_t>(n_alphas));
    const auto size = static_cast<std::size_t>(n_alphas * k);
    f.d.reserve(size), f.shifted.reserve(size), f.squared.reserve(size);
    for (index_t a = 0; a < n_alphas; ++a) {
        const double scale = alphas[a] + mean_l;
        f.scale.push_back(scale);
        for (index_t i = 0; i < k; ++i) {
            const double d = scale / (l[i] + alphas[a]);
            f.d.push_back(d);
            // d - s, where the scaled s is 1: (mean_l - l_i) / (l_i + alpha), without the cancellation.
            f.shifted.push_back(scale * ((mean_l - l[i]) / (l[i] + alphas[a])));
            f.squared.push_back(d * d);
        }
    }
    return f;
}

template <class T>
void reduce_scores(Matrix<const T> z, Matrix<const T> c, Matrix<const T> lz, Matrix<const T> nz, const Filters& filters,
                   Matrix<double> products, Matrix<double> norms, int n_threads) {
    require(filters.k == z.rows && c.rows == z.rows && c.cols == z.cols, "reduce_scores: z is ", shape{z.rows, z.cols}, ", c is ",
            shape{c.rows, c.cols}, ", the spectrum has ", filters.k, " values");
    const index_t n_alphas = filters.n_alphas, k = z.rows, padded = (n_alphas + kAlphas - 1) / kAlphas * kAlphas;
    const std::vector<T> d = narrowed<T>(filters.d, padded * k), shifted = narrowed<T>(filters.shifted, padded * k),
                         squared = narrowed<T>(filters.squared, padded * k);
    parallel_for((z.cols + kColumns - 1) / kColumns, n_threads, [&](index_t block) {
        const index_t column = block * kColumns, width = std::min(kColumns, z.cols - column);
        std::vector<double> p(static_cast<std::size_t>(padded * kColumns)), q(p.size());
        auto terms = std::make_unique<Terms<T>>();
        for (index_t first = 0; first < k; first += kDepth) {
            load_terms(z, c, lz, nz, first, column, *terms);
            for (index_t a = 0; a < padded; a += kAlphas)
                reduce_block(*terms, std::min(kDepth, k - first), d.data() + a * k + first, shifted.data() + a * k + first,
                             squared.data() + a * k + first, k, p.data() + a * kColumns, q.data() + a * kColumns);
        }
        for (index_t a = 0; a < n_alphas; ++a) {
            const double scale = filters.scale[static_cast<std::size_t>(a)];
            for (index_t v = 0; v < width; ++v) {
                products.row(a)[column + v] = p[static_cast<std::size_t>(a * kColumns + v)] / scale;
                norms.row(a)[column + v] = q[static_cast<std::size_t>(a * kColumns + v)] / (scale * scale);
            }
        }
    });
}

template <class T>
void apply_penalty(Matrix<T> z, const double* l, const double* alphas, int n_threads) {
    constexpr index_t rows = 16;
    parallel_for((z.rows + rows - 1) / rows, n_threads, [&](index_t block) {
        for (index_t i = block * rows; i < std::min((block + 1) * rows, z.rows); ++i)
            for (index_t v = 0; v < z.cols; ++v) z.row(i)[v] = static_cast<T>(static_cast<double>(z.row(i)[v]) / (l[i] + alphas[v]));
    });
}

template <class T>
void column_moments(Matrix<const T> y, const std::vector<Segment>& segments, double* sums, double* squares, int n_threads) {
    parallel_for((y.cols + kSummed - 1) / kSummed, n_threads, [&](index_t block) {
        const index_t begin = block * kSummed, end = std::min(begin + kSummed, y.cols);
        std::fill(sums + begin, sums + end, 0.0);
        std::fill(squares + begin, squares + end, 0.0);
        for (const Segment& s : segments) {
            if (end - begin == kSummed) {
                sum_rows(y.row(s.begin) + begin, y.stride, s.end - s.begin, sums + begin, squares + begin);
                continue;
            }
            for (index_t t = s.begin; t < s.end; ++t)
                for (index_t v = begin; v < end; ++v) {
                    const auto value = static_cast<double>(y.row(t)[v]);
                    sums[v] += value;
                    squares[v] += value * value;
                }
        }
    });
}

#define VOXRIDGE_INSTANTIATE(T)                                                                                                        \
    template class QuadraticForm<T>;                                                                                                   \
    template void reduce_scores<T>(Matrix<const T>, Matrix<const T>, Matrix<const T>, Matrix<const T>, const Filters&, Matrix<double>, \
                                   Matrix<double>, int);                                                                               \
    template void apply_penalty<T>(Matrix<T>, const double*, const double*, int);                                                      \
    template void column_moments<T>(Matrix<const T>, const std::vector<Segment>&, double*, double*, int);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge
