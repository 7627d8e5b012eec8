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

// Eight numbers anywhere in memory, as float64. By reference: a vector that is returned has another ABI on every processor.
inline void load_eight(const float* p, LanesOf<double>::type& out) {
    using Eight __attribute__((vector_size(32), aligned(4), may_alias)) = float;
    out = __builtin_convertvector(*reinterpret_cast<const Eight*>(p), LanesOf<double>::type);
}
inline void load_eight(const double* p, LanesOf<double>::type& out) {
    using Eight __attribute__((vector_size(64), aligned(8), may_alias)) = double;
    out = *reinterpret_cast<const Eight*>(p);
}

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
    friend LaneArray operator*(const LaneArray& a, const LaneArray& b) {
        LaneArray product = a;
        for (index_t i = 0; i < size; ++i) product.lane[i] *= b.lane[i];
        return product;
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

template <class T>
void load_eight(const T* p, LaneArray<double>& out) {
    for (index_t i = 0; i < 8; ++i) out.lane[i] = static_cast<double>(p[i]);
}

#endif

}  // namespace voxridge
