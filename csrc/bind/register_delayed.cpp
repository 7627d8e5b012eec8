#include "bind/views.hpp"
#include "core/delayed_gram.hpp"
#include "core/delayed_kernel.hpp"
#include "core/delayed_products.hpp"

namespace voxridge::bind {
namespace {

using Offsets = std::vector<index_t>;

template <class F, class T>
void register_pair(py::module_& m) {
    m.def("delayed_gram", [](const Array<F>& features, const Offsets& runs, const Ranges& ranges, const Offsets& delays, Array<T>& gram, int n_threads) {
        const auto vf = in(features, "features");
        const auto vg = out(gram, "out");
        const auto segments = segments_of(runs, ranges);
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // the views point into arrays that the caller holds
        delayed_gram<F, T>(vf, segments, delays, vg, n_threads, poll);
    }, py::arg("features").noconvert(), py::arg("run_offsets"), py::arg("ranges"), py::arg("delays"), py::arg("out").noconvert(),
       py::arg("n_threads") = 1);
    m.def("delayed_xty", [](const Array<F>& features, const Array<T>& y, const Offsets& runs, const Ranges& ranges, const Offsets& delays, Array<T>& result) {
        const auto vf = in(features, "features");
        const auto vy = in(y, "y");
        const auto vo = out(result, "out");
        const auto segments = segments_of(runs, ranges);
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        delayed_xty<F, T>(vf, vy, segments, delays, vo, poll);
    }, py::arg("features").noconvert(), py::arg("y").noconvert(), py::arg("run_offsets"), py::arg("ranges"), py::arg("delays"), py::arg("out").noconvert());
    m.def("delayed_xw", [](const Array<F>& features, const Array<T>& w, const Offsets& runs, const Ranges& ranges, const Offsets& delays, Array<T>& result) {
        const auto vf = in(features, "features");
        const auto vw = in(w, "w");
        const auto vo = out(result, "out");
        const auto segments = segments_of(runs, ranges);
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        delayed_xw<F, T>(vf, vw, segments, delays, vo, poll);
    }, py::arg("features").noconvert(), py::arg("w").noconvert(), py::arg("run_offsets"), py::arg("ranges"), py::arg("delays"), py::arg("out").noconvert());
    m.def("base_kernel", [](const Array<F>& features, Array<T>& kernel, bool accumulate) {
        const auto vf = in(features, "features");
        const auto vk = out(kernel, "out");
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        base_kernel<F, T>(vf, vk, accumulate, poll);
    }, py::arg("features").noconvert(), py::arg("out").noconvert(), py::arg("accumulate") = false);
    m.def("base_cross_kernel", [](const Array<F>& left, const Array<F>& right, Array<T>& cross) {
        const auto vl = in(left, "left"), vr = in(right, "right");
        const auto vc = out(cross, "out");
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        base_cross_kernel<F, T>(vl, vr, vc, poll);
    }, py::arg("left").noconvert(), py::arg("right").noconvert(), py::arg("out").noconvert());
}

template <class T>
void register_shift(py::module_& m) {
    m.def("shift_kernel", [](Array<T>& kernel, const Offsets& row_runs, const Offsets& col_runs, const Offsets& delays, bool symmetric, int n_threads) {
        const auto vk = out(kernel, "kernel");
        require(!row_runs.empty() && !col_runs.empty(), "shift_kernel: no runs");
        py::gil_scoped_release nogil;  // as above
        shift_kernel<T>(vk, row_runs, col_runs, delays, symmetric, n_threads);
    }, py::arg("kernel").noconvert(), py::arg("row_offsets"), py::arg("col_offsets"), py::arg("delays"), py::arg("symmetric"), py::arg("n_threads"));
    m.def("delayed_sums", [](const Array<T>& features, const Offsets& runs, const Ranges& ranges, const Offsets& delays, Array<double>& sums) {
        const auto vf = in(features, "features");
        double* vs = vector_out(sums, vf.cols * static_cast<index_t>(delays.size()), "out");
        const auto segments = segments_of(runs, ranges);
        py::gil_scoped_release nogil;  // as above
        delayed_sums<T>(vf, segments, delays, vs);
    }, py::arg("features").noconvert(), py::arg("run_offsets"), py::arg("ranges"), py::arg("delays"), py::arg("out").noconvert());
}

}  // namespace

void register_delayed(py::module_& m) {
    register_pair<float, float>(m);
    register_pair<float, double>(m);
    register_pair<double, double>(m);
    register_shift<float>(m);
    register_shift<double>(m);
}

}  // namespace voxridge::bind
