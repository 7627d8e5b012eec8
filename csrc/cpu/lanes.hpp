// 64 bytes of T with arithmetic by element: GCC's and clang's vector type, else an array that the compiler may vectorise.
#pragma once

#include "core/matrix.hpp"

namespace voxridge {

#if defined(__GNUC__) && !defined(VOXRIDGE_PORTABLE)

template <class T>
struct LanesOf;
template <>
struct LanesOf<float> {
    using type __attribute__((vector_size(64))) = float;
};
template <>
struct LanesOf<double> {
    using type __attribute__((vector_size(64))) = double;
};

#else

template <class T>
struct alignas(64) LaneArray {
    static constexpr index_t size = 64 / static_cast<index_t>(sizeof(T));
    T lane[size];

    T operator[](index_t i) const { return lane[i]; }
    LaneArray& operator+=(const LaneArray& other) {
        for (index_t i = 0; i < size; ++i) lane[i] += other.lane[i];
        return *this;
    }
    // By reference: not every compiler passes a parameter at this alignment.
    friend LaneArray operator+(const LaneArray& a, const LaneArray& b) {
        LaneArray sum = a;
        return sum += b;
    }
    friend LaneArray operator*(T factor, const LaneArray& a) {
        LaneArray product = a;
        for (index_t i = 0; i < size; ++i) product.lane[i] *= factor;
        return product;
    }
};
template <class T>
struct LanesOf {
    using type = LaneArray<T>;
};

#endif

}  // namespace voxridge
