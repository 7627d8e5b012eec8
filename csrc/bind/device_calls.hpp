// What every call of an op on a device does.
#pragma once

#include <utility>

#include "bind/device_arrays.hpp"

namespace voxridge::bind {

inline void check_devices(const Queue&) {}

// Arrays and their names by turns.
template <class Array, class... Rest>
void check_devices(const Queue& queue, const Array& a, const char* name, const Rest&... rest) {
    check_device(queue, a, name);
    check_devices(queue, rest...);
}

// f(stream) without the GIL: the views point into memory that the caller holds.
template <class F>
auto queued(const Queue& queue, F&& f) {
    py::gil_scoped_release nogil;
    return std::forward<F>(f)(queue.stream());
}

}  // namespace voxridge::bind
