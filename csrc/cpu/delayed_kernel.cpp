#include "core/delayed_kernel.hpp"

#include <algorithm>
#include <type_traits>

#include "core/blas.hpp"
#include "cpu/mirror.hpp"
#include "cpu/multiversion.hpp"

namespace voxridge {
namespace {

template <class F, class T>
Matrix<const T> convert_columns(Matrix<const F> features, index_t first, index_t count, std::vector<T>& buffer) {
    buffer.resize(static_cast<std::size_t>(features.rows * count));
    for (index_t i = 0; i < features.rows; ++i) std::copy_n(features.row(i) + first, count, buffer.data() + i * count);
    return {buffer.data(), features.rows, count, count};
}

index_t columns_per_chunk(index_t rows, index_t cols) {
    return std::clamp<index_t>(kKernelChunk / std::max<index_t>(rows, 1), 64, std::max<index_t>(cols, 64));
}

constexpr index_t kBand = 2048;  // diagonals a thread takes at once: a few rows of them stay in the second-level cache

VOXRIDGE_MULTIVERSION void add_to(double* out, const double* in, index_t n) {
    for (index_t j = 0; j < n; ++j) out[j] += in[j];
}
VOXRIDGE_MULTIVERSION void add_to(float* out, const float* in, index_t n) {
    for (index_t j = 0; j < n; ++j) out[j] += in[j];
}

// One band of diagonals u - t in [low, high) of one block (run of rows) x (run of columns). Rows are visited from the last to the first,
// so the rows above, which positive delays read, still hold the base kernel; what negative delays read is kept in `kept`.
template <class T>
class BandShift {
public:
    BandShift(Matrix<T> kernel, const std::vector<index_t>& delays, index_t low, index_t high)
        : kernel_(kernel), delays_(delays), low_(low), high_(high) {
        const index_t lowest = delays.empty() ? 0 : *std::ranges::min_element(delays);
        n_kept_ = lowest < 0 ? -lowest + 1 : 0;
        has_zero_ = std::ranges::find(delays, 0) != delays.end();
        kept_.resize(static_cast<std::size_t>(n_kept_ * (high - low)));
    }

    void block(Range rows, Range cols) {
        for (index_t t = rows.end - 1; t >= rows.begin; --t) {
            const Range u{std::max(cols.begin, t + low_), std::min(cols.end, t + high_)};
            if (u.size() == 0) continue;
            if (n_kept_ > 0) std::copy(kernel_.row(t) + u.begin, kernel_.row(t) + u.end, kept(t, u.begin));
            if (!has_zero_) std::fill(kernel_.row(t) + u.begin, kernel_.row(t) + u.end, T{0});
            for (const index_t d : delays_) {
                if (d == 0 || t - d < rows.begin || t - d >= rows.end) continue;
                const Range v{std::max(u.begin, cols.begin + d), std::min(u.end, cols.end + d)};
                const T* from = d > 0 ? kernel_.row(t - d) + v.begin - d : kept(t - d, v.begin - d);
                if (v.size() > 0) add_to(kernel_.row(t) + v.begin, from, v.size());
            }
        }
    }

private:
    // Where the base kernel's element (t, u) is kept: by diagonal, so that (t - d, u - d) lies in the same column.
    T* kept(index_t t, index_t u) { return kept_.data() + (t % n_kept_) * (high_ - low_) + (u - t - low_); }

    Matrix<T> kernel_;
    const std::vector<index_t>& delays_;
    index_t low_, high_, n_kept_ = 0;
    bool has_zero_ = false;
    std::vector<T> kept_;
};

}  // namespace

template <class F, class T>
void base_kernel(Matrix<const F> features, Matrix<T> kernel, bool accumulate, const Poll& poll) {
    require(kernel.rows == features.rows && kernel.cols == features.rows,
            "base_kernel: out is ", shape{kernel.rows, kernel.cols}, ", expected ", shape{features.rows, features.rows});
    const index_t step = columns_per_chunk(features.rows, features.cols);
    std::vector<T> buffer;
    if (features.cols == 0 && !accumulate) fill_zero(kernel);
    for (index_t first = 0; first < features.cols; first += step) {
        const index_t count = std::min(step, features.cols - first);
        const T keep = first > 0 || accumulate ? T{1} : T{0};
        if constexpr (std::is_same_v<F, T>)
            blas::syrk<T>(false, 1, features.block(0, first, features.rows, count), keep, kernel);
        else
            blas::syrk<T>(false, 1, convert_columns<F, T>(features, first, count, buffer), keep, kernel);
        poll();
    }
}

template <class F, class T>
void base_cross_kernel(Matrix<const F> left, Matrix<const F> right, Matrix<T> cross, const Poll& poll) {
    require(left.cols == right.cols, "cross_kernel: features of ", left.cols, " and ", right.cols, " columns");
    require(cross.rows == left.rows && cross.cols == right.rows,
            "cross_kernel: out is ", shape{cross.rows, cross.cols}, ", expected ", shape{left.rows, right.rows});
    const index_t step = columns_per_chunk(left.rows + right.rows, left.cols);
    std::vector<T> a, b;
    if (left.cols == 0) fill_zero(cross);
    for (index_t first = 0; first < left.cols; first += step) {
        const index_t count = std::min(step, left.cols - first);
        if constexpr (std::is_same_v<F, T>)
            blas::gemm<T>(false, true, 1, left.block(0, first, left.rows, count), right.block(0, first, right.rows, count), first > 0 ? T{1} : T{0}, cross);
        else
            blas::gemm<T>(false, true, 1, convert_columns<F, T>(left, first, count, a), convert_columns<F, T>(right, first, count, b),
                          first > 0 ? T{1} : T{0}, cross);
        poll();
    }
}

template <class T>
void shift_kernel(Matrix<T> kernel, const std::vector<index_t>& row_offsets, const std::vector<index_t>& col_offsets,
                  const std::vector<index_t>& delays, bool symmetric, int n_threads) {
    require(row_offsets.back() == kernel.rows && col_offsets.back() == kernel.cols,
            "shift_kernel: runs of ", shape{row_offsets.back(), col_offsets.back()}, " samples, kernel ", shape{kernel.rows, kernel.cols});
    require(!symmetric || row_offsets == col_offsets, "shift_kernel: a symmetric kernel has one set of runs");
    const index_t low = 1 - kernel.rows, high = symmetric ? 1 : kernel.cols;
    const bool identity = delays.size() == 1 && delays[0] == 0;
    const index_t n_bands = identity ? 0 : (high - low + kBand - 1) / kBand;
    parallel_for(n_bands, n_threads, [&](index_t band) {
        BandShift<T> shift(kernel, delays, low + band * kBand, std::min(low + (band + 1) * kBand, high));
        for (std::size_t r = 0; r + 1 < row_offsets.size(); ++r)
            for (std::size_t c = 0; c + 1 < col_offsets.size(); ++c)
                shift.block({row_offsets[r], row_offsets[r + 1]}, {col_offsets[c], col_offsets[c + 1]});
    });
    if (symmetric) mirror_lower(kernel, n_threads);
}

#define VOXRIDGE_INSTANTIATE(F, T)                                                  \
    template void base_kernel<F, T>(Matrix<const F>, Matrix<T>, bool, const Poll&); \
    template void base_cross_kernel<F, T>(Matrix<const F>, Matrix<const F>, Matrix<T>, const Poll&);
VOXRIDGE_INSTANTIATE(float, float)
VOXRIDGE_INSTANTIATE(float, double)
VOXRIDGE_INSTANTIATE(double, double)
#undef VOXRIDGE_INSTANTIATE
template void shift_kernel<float>(Matrix<float>, const std::vector<index_t>&, const std::vector<index_t>&, const std::vector<index_t>&, bool, int);
template void shift_kernel<double>(Matrix<double>, const std::vector<index_t>&, const std::vector<index_t>&, const std::vector<index_t>&, bool, int);

}  // namespace voxridge
