// numpy arrays as the views the ops take: no copies, no conversions. Python keeps the arrays alive during the call.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/poll.hpp"
#include "core/rows.hpp"

namespace voxridge::bind {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, 0>;

template <class T>
void check_layout(const Array<T>& a, const char* name) {
    require(a.ndim() == 2, name, " has ", a.ndim(), " dimensions, expected 2");
    const bool rows_in_order = a.shape(0) <= 1 || a.strides(0) >= static_cast<py::ssize_t>(sizeof(T)) * a.shape(1);
    const bool dense_rows = a.shape(1) <= 1 || a.strides(1) == static_cast<py::ssize_t>(sizeof(T));
    require(a.size() == 0 || (rows_in_order && dense_rows), name, " must be C-ordered (rows may be strided)");
}

template <class T>
index_t row_stride(const Array<T>& a) {
    return a.shape(0) <= 1 || a.size() == 0 ? std::max<index_t>(a.shape(1), 1) : a.strides(0) / static_cast<index_t>(sizeof(T));
}

template <class T>
Matrix<const T> in(const Array<T>& a, const char* name) {
    check_layout(a, name);
    return {a.data(), a.shape(0), a.shape(1), row_stride(a)};
}

template <class T>
Matrix<T> out(Array<T>& a, const char* name) {
    check_layout(a, name);
    return {a.mutable_data(), a.shape(0), a.shape(1), row_stride(a)};  // mutable_data refuses a read-only array
}

template <class T>
const T* vector_in(const Array<T>& a, index_t size, const char* name) {
    require(a.ndim() == 1 && a.shape(0) == size && (size <= 1 || a.strides(0) == static_cast<py::ssize_t>(sizeof(T))),
            name, " must be a contiguous vector of ", size, " elements");
    return a.data();
}

template <class T>
T* vector_out(Array<T>& a, index_t size, const char* name) {
    vector_in<T>(a, size, name);
    return a.mutable_data();
}

// Between the pieces of an op: take the GIL for a moment and let Python handle its signals (Ctrl-C raises KeyboardInterrupt).
inline Poll check_signals() {
    return [] {
        py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    };
}

using Ranges = std::vector<std::pair<index_t, index_t>>;

inline std::vector<Segment> segments_of(const std::vector<index_t>& run_offsets, const Ranges& ranges) {
    require(run_offsets.size() >= 2 && run_offsets.front() == 0 && std::ranges::is_sorted(run_offsets),
            "run_offsets must start at 0, increase, and end at n_samples");
    std::vector<Range> parts;
    parts.reserve(ranges.size());
    for (const auto& [begin, end] : ranges) parts.push_back({begin, end});
    return cut_at_runs(run_offsets, parts);
}

void register_blas(py::module_& m);
void register_build(py::module_& m);
void register_delayed(py::module_& m);
void register_leave_out(py::module_& m);
void register_spectral(py::module_& m);
void register_stacking(py::module_& m);

}  // namespace voxridge::bind
