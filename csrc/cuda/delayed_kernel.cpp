#include <type_traits>

#include "cuda/blas.hpp"
#include "cuda/delayed_rows.hpp"
#include "cuda/passes.hpp"

namespace voxridge::cuda {
namespace {

// Columns [first, first + count) in T: where they lie, or converted into `buffer`.
template <class F, class T>
Matrix<const T> columns_in(Stream& stream, Matrix<const F> features, index_t first, index_t count, T* buffer) {
    const Matrix<const F> columns = features.block(0, first, features.rows, count);
    if constexpr (std::is_same_v<F, T>) {
        return columns;
    } else {
        const Matrix<T> converted{buffer, features.rows, count, count};
        accumulate<F, T>(stream, 1, columns, 0, converted);
        return converted;
    }
}

// Columns to take at once: all where nothing is converted, else what a buffer of kChunkBytes holds.
template <class F, class T>
index_t columns_at_once(index_t rows, index_t cols) {
    return std::is_same_v<F, T> ? cols : chunk_rows<T>(cols, rows);
}

template <class F, class T>
T* conversion_buffer(Stream& stream, index_t size) {
    if constexpr (std::is_same_v<F, T>) return nullptr;
    return static_cast<T*>(stream.scratch(sizeof(T) * static_cast<std::size_t>(size)));
}

}  // namespace

template <class F, class T>
void base_kernel(Stream& stream, Matrix<const F> features, Matrix<T> kernel, bool accumulate) {
    require(kernel.rows == features.rows && kernel.cols == features.rows, "base_kernel: out is ", shape{kernel.rows, kernel.cols}, ", expected ",
            shape{features.rows, features.rows});
    if (features.cols == 0 && !accumulate) return fill_zero(stream, kernel);
    if (features.cols == 0 || features.rows == 0) return;
    const index_t step = columns_at_once<F, T>(features.rows, features.cols);
    T* buffer = conversion_buffer<F, T>(stream, features.rows * step);
    for (index_t first = 0; first < features.cols; first += step) {
        const index_t count = std::min(step, features.cols - first);
        lower_product(stream, false, columns_in<F, T>(stream, features, first, count, buffer), first > 0 || accumulate ? 1 : 0, kernel);
    }
}

template <class F, class T>
void base_cross_kernel(Stream& stream, Matrix<const F> left, Matrix<const F> right, Matrix<T> cross) {
    require(left.cols == right.cols, "base_cross_kernel: left is ", shape{left.rows, left.cols}, ", right ", shape{right.rows, right.cols},
            ": they need the same columns");
    require(cross.rows == left.rows && cross.cols == right.rows, "base_cross_kernel: out is ", shape{cross.rows, cross.cols}, ", expected ",
            shape{left.rows, right.rows});
    if (left.cols == 0 || left.rows == 0 || right.rows == 0) return fill_zero(stream, cross);
    const index_t step = columns_at_once<F, T>(left.rows + right.rows, left.cols);
    T* buffer = conversion_buffer<F, T>(stream, (left.rows + right.rows) * step);
    for (index_t first = 0; first < left.cols; first += step) {
        const index_t count = std::min(step, left.cols - first);
        const auto a = columns_in<F, T>(stream, left, first, count, buffer);
        const auto b = columns_in<F, T>(stream, right, first, count, buffer == nullptr ? buffer : buffer + left.rows * count);
        gemm(stream, false, true, 1, a, b, first > 0 ? 1 : 0, cross);
    }
}

#define VOXRIDGE_INSTANTIATE(F, T)                                              \
    template void base_kernel<F, T>(Stream&, Matrix<const F>, Matrix<T>, bool); \
    template void base_cross_kernel<F, T>(Stream&, Matrix<const F>, Matrix<const F>, Matrix<T>);
VOXRIDGE_INSTANTIATE(float, float)
VOXRIDGE_INSTANTIATE(float, double)
VOXRIDGE_INSTANTIATE(double, double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::cuda
