#include <optional>

#include "bind/views.hpp"
#include "core/leave_out.hpp"
#include "cpu/parallel.hpp"

namespace voxridge::bind {
namespace {

template <class T>
void register_precision(py::module_& m) {
    m.def("symmetric_rows", [](const Array<double>& a, index_t begin, double scale, double diagonal, Array<T>& rows, int n_threads) {
        const auto va = in(a, "a");
        const auto vo = out(rows, "out");
        py::gil_scoped_release nogil;  // the views point into arrays that the caller holds
        symmetric_rows<T>(va, begin, scale, diagonal, vo, n_threads);
    }, py::arg("a").noconvert(), py::arg("begin"), py::arg("scale"), py::arg("diagonal"), py::arg("out").noconvert(), py::arg("n_threads"));
    m.def("product_moments", [](const Array<T>& y, const Array<T>& q, const std::optional<Array<double>>& weights,
                                   Array<double>& moments, int n_threads) {
        const auto vy = in(y, "y"), vq = in(q, "q");
        const double* w = weights ? vector_in(*weights, vy.rows, "weights") : nullptr;
        const auto vm = out(moments, "moments");
        py::gil_scoped_release nogil;  // as above
        product_moments<T>(vy, vq, w, vm, n_threads);
    }, py::arg("y").noconvert(), py::arg("q").noconvert(), py::arg("weights"), py::arg("moments").noconvert(), py::arg("n_threads"));
    m.def("mix_rows", [](const Array<T>& coefficients, const Array<T>& shared, Array<T>& mixed, int n_threads) {
        const auto vc = in(coefficients, "coefficients"), vs = in(shared, "shared");
        const auto vo = out(mixed, "out");
        py::gil_scoped_release nogil;  // as above
        mix_rows<T>(vc, vs, vo, n_threads);
    }, py::arg("coefficients").noconvert(), py::arg("shared").noconvert(), py::arg("out").noconvert(), py::arg("n_threads"));
}

}  // namespace

void register_leave_out(py::module_& m) {
    m.def("trim_memory", [] {
        py::gil_scoped_release nogil;
        trim_memory();
    });
    m.def("restore_lower", [](Array<double>& a, int n_threads) {
        const auto va = out(a, "a");
        py::gil_scoped_release nogil;  // as above
        restore_lower(va, n_threads);
    }, py::arg("a").noconvert(), py::arg("n_threads"));
    register_precision<float>(m);
    register_precision<double>(m);
}

}  // namespace voxridge::bind
