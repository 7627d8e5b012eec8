#include <memory>

#include "bind/views.hpp"
#include "core/spectral_scores.hpp"

namespace voxridge::bind {
namespace {

template <class T>
void register_precision(py::module_& m, const char* form_name) {
    py::class_<QuadraticForm<T>>(m, form_name)
        .def(py::init([](const Array<double>& gram, const Array<double>& l, double alpha_min, double tolerance) {
            const auto vm = in(gram, "m");
            const double* vl = vector_in(l, vm.rows, "l");
            py::gil_scoped_release nogil;  // the views point into arrays that the caller holds
            return std::make_unique<QuadraticForm<T>>(vm, vl, alpha_min, tolerance);
        }), py::arg("m").noconvert(), py::arg("l").noconvert(), py::arg("alpha_min"), py::arg("tolerance") = kNearTolerance<T>)
        .def("apply", [](const QuadraticForm<T>& form, const Array<T>& z, Array<T>& lz, Array<T>& nz) {
            const auto vz = in(z, "z");
            const auto vl = out(lz, "lz"), vn = out(nz, "nz");
            const Poll poll = check_signals();
            py::gil_scoped_release nogil;  // as above
            form.apply(vz, vl, vn, poll);
        }, py::arg("z").noconvert(), py::arg("lz").noconvert(), py::arg("nz").noconvert());
    m.def("reduce_scores", [](const Array<T>& z, const Array<T>& c, const Array<T>& lz, const Array<T>& nz, const Array<double>& l,
                              const Array<double>& alphas, double mean_l, Array<double>& products, Array<double>& norms, int n_threads) {
        const auto vz = in(z, "z"), vc = in(c, "c"), vl = in(lz, "lz"), vn = in(nz, "nz");
        const auto vp = out(products, "products"), vq = out(norms, "norms");
        const Filters filters = make_filters(vector_in(l, vz.rows, "l"), vz.rows, vector_in(alphas, vp.rows, "alphas"), vp.rows, mean_l);
        require(vp.cols == vz.cols && vq.cols == vz.cols && vq.rows == vp.rows, "reduce_scores: products and norms must be (n_alphas, n_targets)");
        py::gil_scoped_release nogil;  // as above
        reduce_scores<T>(vz, vc, vl, vn, filters, vp, vq, n_threads);
    }, py::arg("z").noconvert(), py::arg("c").noconvert(), py::arg("lz").noconvert(), py::arg("nz").noconvert(), py::arg("l").noconvert(),
       py::arg("alphas").noconvert(), py::arg("mean_l"), py::arg("products").noconvert(), py::arg("norms").noconvert(), py::arg("n_threads"));
    m.def("apply_penalty", [](Array<T>& z, const Array<double>& l, const Array<double>& alphas, int n_threads) {
        const auto vz = out(z, "z");
        const double* vl = vector_in(l, vz.rows, "l");
        const double* va = vector_in(alphas, vz.cols, "alphas");
        py::gil_scoped_release nogil;  // as above
        apply_penalty<T>(vz, vl, va, n_threads);
    }, py::arg("z").noconvert(), py::arg("l").noconvert(), py::arg("alphas").noconvert(), py::arg("n_threads"));
    m.def("column_moments", [](const Array<T>& y, const Ranges& ranges, Array<double>& sums, Array<double>& squares, int n_threads) {
        const auto vy = in(y, "y");
        double* s = vector_out(sums, vy.cols, "sums");
        double* q = vector_out(squares, vy.cols, "squares");
        const auto segments = segments_of({0, vy.rows}, ranges);
        py::gil_scoped_release nogil;  // as above
        column_moments<T>(vy, segments, s, q, n_threads);
    }, py::arg("y").noconvert(), py::arg("ranges"), py::arg("sums").noconvert(), py::arg("squares").noconvert(), py::arg("n_threads"));
}

}  // namespace

void register_spectral(py::module_& m) {
    register_precision<float>(m, "QuadraticForm32");
    register_precision<double>(m, "QuadraticForm64");
}

}  // namespace voxridge::bind
