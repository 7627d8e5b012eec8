#include "bind/device_calls.hpp"
#include "cuda/delayed.hpp"

namespace voxridge::bind {
namespace {

using Offsets = std::vector<index_t>;

// f(F{}, T{}) with the types of the features and of the result.
template <class Op>
void with_types(const DeviceArray& features, const char* name, const DeviceArray& out, Op&& op) {
    with_float(features, name, [&](auto f) {
        with_float(out, "out", [&](auto t) {
            if constexpr (sizeof(f) <= sizeof(t))
                op(f, t);
            else
                require(false, "out must be float64, as ", name, " is, not float32");
        });
    });
}

void delayed_gram(const DeviceArray& features, const Offsets& runs, const Ranges& ranges, const Offsets& delays, const DeviceArray& out,
                  const Queue& queue) {
    check_devices(queue, features, "features", out, "out");
    with_types(features, "features", out, [&](auto f, auto t) {
        using F = decltype(f);
        using T = decltype(t);
        const auto vf = matrix<const F>(features, "features");
        const auto vo = matrix<T>(out, "out");
        const auto segments = segments_of(runs, ranges);
        queued(queue, [&](cuda::Stream& stream) { cuda::delayed_gram<F, T>(stream, vf, segments, delays, vo); });
    });
}

// X'y and X w differ in the name of the matrix and in the op.
template <class Op>
void product(const DeviceArray& features, const DeviceArray& with, const char* name, const Offsets& runs, const Ranges& ranges,
             const DeviceArray& out, const Queue& queue, const Op& op) {
    check_devices(queue, features, "features", with, name, out, "out");
    with_types(features, "features", out, [&](auto f, auto t) {
        using F = decltype(f);
        using T = decltype(t);
        const auto vf = matrix<const F>(features, "features");
        const auto vw = matrix<const T>(with, name);
        const auto vo = matrix<T>(out, "out");
        const auto segments = segments_of(runs, ranges);
        queued(queue, [&](cuda::Stream& stream) { op(stream, vf, vw, segments, vo); });
    });
}

void delayed_xty(const DeviceArray& features, const DeviceArray& y, const Offsets& runs, const Ranges& ranges, const Offsets& delays,
                 const DeviceArray& out, const Queue& queue) {
    product(features, y, "y", runs, ranges, out, queue, [&](cuda::Stream& stream, auto vf, auto vy, const auto& segments, auto vo) {
        cuda::delayed_xty(stream, vf, vy, segments, delays, vo);
    });
}

void delayed_xw(const DeviceArray& features, const DeviceArray& w, const Offsets& runs, const Ranges& ranges, const Offsets& delays,
                const DeviceArray& out, const Queue& queue) {
    product(features, w, "w", runs, ranges, out, queue, [&](cuda::Stream& stream, auto vf, auto vw, const auto& segments, auto vo) {
        cuda::delayed_xw(stream, vf, vw, segments, delays, vo);
    });
}

void delayed_sums(const DeviceArray& features, const Offsets& runs, const Ranges& ranges, const Offsets& delays, const DeviceArray& out,
                  const Queue& queue) {
    check_devices(queue, features, "features", out, "out");
    with_float(features, "features", [&](auto f) {
        using F = decltype(f);
        const auto vf = matrix<const F>(features, "features");
        auto* const sums = vector<double>(out, vf.cols * static_cast<index_t>(delays.size()), "out");
        const auto segments = segments_of(runs, ranges);
        queued(queue, [&](cuda::Stream& stream) { cuda::delayed_sums<F>(stream, vf, segments, delays, sums); });
    });
}

void base_kernel(const DeviceArray& features, const DeviceArray& out, bool accumulate, const Queue& queue) {
    check_devices(queue, features, "features", out, "out");
    with_types(features, "features", out, [&](auto f, auto t) {
        using F = decltype(f);
        using T = decltype(t);
        const auto vf = matrix<const F>(features, "features");
        const auto vo = matrix<T>(out, "out");
        queued(queue, [&](cuda::Stream& stream) { cuda::base_kernel<F, T>(stream, vf, vo, accumulate); });
    });
}

void base_cross_kernel(const DeviceArray& left, const DeviceArray& right, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, left, "left", right, "right", out, "out");
    with_types(left, "left", out, [&](auto f, auto t) {
        using F = decltype(f);
        using T = decltype(t);
        const auto vl = matrix<const F>(left, "left"), vr = matrix<const F>(right, "right");
        const auto vo = matrix<T>(out, "out");
        queued(queue, [&](cuda::Stream& stream) { cuda::base_cross_kernel<F, T>(stream, vl, vr, vo); });
    });
}

void shift_kernel(const DeviceArray& kernel, const Offsets& row_offsets, const Offsets& col_offsets, const Offsets& delays, bool symmetric,
                  const Queue& queue) {
    check_devices(queue, kernel, "kernel");
    with_float(kernel, "kernel", [&](auto t) {
        using T = decltype(t);
        const auto vk = matrix<T>(kernel, "kernel");
        queued(queue, [&](cuda::Stream& stream) { cuda::shift_kernel<T>(stream, vk, row_offsets, col_offsets, delays, symmetric); });
    });
}

}  // namespace

void register_cuda_delayed(py::module_& m) {
    const auto features = py::arg("features"), runs = py::arg("run_offsets"), ranges = py::arg("ranges"), delays = py::arg("delays");
    const auto out = py::arg("out"), queue = py::arg("queue");
    const py::kw_only named;
    m.def("delayed_gram", delayed_gram, features, runs, ranges, delays, out, named, queue);
    m.def("delayed_xty", delayed_xty, features, py::arg("y"), runs, ranges, delays, out, named, queue);
    m.def("delayed_xw", delayed_xw, features, py::arg("w"), runs, ranges, delays, out, named, queue);
    m.def("delayed_sums", delayed_sums, features, runs, ranges, delays, out, named, queue);
    m.def("base_kernel", base_kernel, features, out, py::arg("accumulate") = false, named, queue);
    m.def("base_cross_kernel", base_cross_kernel, py::arg("left"), py::arg("right"), out, named, queue);
    m.def("shift_kernel", shift_kernel, py::arg("kernel"), py::arg("row_offsets"), py::arg("col_offsets"), delays, py::arg("symmetric"), named,
          queue);
}

}  // namespace voxridge::bind
