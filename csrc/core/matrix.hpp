// Row-major views. They own nothing; whoever hands one out keeps the memory alive.
#pragma once

#include <cstdint>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <type_traits>

namespace voxridge {

using index_t = std::int64_t;  // 64 bits everywhere: n * n and p * n_targets pass 2^31

template <class T>
struct Matrix {
    T* data = nullptr;
    index_t rows = 0;
    index_t cols = 0;
    index_t stride = 0;  // elements from one row to the next, >= cols

    // constexpr: kernels of a device may then call them
    constexpr T* row(index_t i) const { return data + i * stride; }
    constexpr Matrix block(index_t i, index_t j, index_t n_rows, index_t n_cols) const {
        return {data + i * stride + j, n_rows, n_cols, stride};
    }
    template <class U>
        requires(std::is_same_v<U, const T> && !std::is_const_v<T>)
    constexpr operator Matrix<U>() const { return {data, rows, cols, stride}; }
};

struct shape {  // prints as "(rows, cols)"
    index_t rows, cols;
    friend std::ostream& operator<<(std::ostream& out, shape s) { return out << '(' << s.rows << ", " << s.cols << ')'; }
};

// The one gate for errors of shape. The parts make the message, which names the argument and both shapes; they are put together only
// when the condition fails.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
    if (condition) return;
    std::ostringstream message;
    (message << ... << parts);
    throw std::invalid_argument(message.str());
}

}  // namespace voxridge
