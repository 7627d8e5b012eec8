#include <optional>

#include "bind/views.hpp"
#include "core/residual_products.hpp"
#include "core/simplex_qp.hpp"

namespace voxridge::bind {
namespace {

template <class T>
void register_precision(py::module_& m) {
    m.def("residual_products", [](const std::vector<Array<T>>& parts, const std::optional<Array<T>>& truth, Array<double>& sums,
                                  int n_threads) {
        std::vector<Matrix<const T>> views;
        views.reserve(parts.size());
        for (const Array<T>& part : parts) views.push_back(in(part, "parts"));
        const Matrix<const T> whole = truth ? in(*truth, "truth") : Matrix<const T>{};
        const auto vs = out(sums, "sums");
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // the views point into arrays that the caller holds
        residual_products<T>(views, whole, vs, n_threads, poll);
    }, py::arg("parts").noconvert(), py::arg("truth").noconvert(), py::arg("sums").noconvert(), py::arg("n_threads"));
}

}  // namespace

void register_stacking(py::module_& m) {
    register_precision<float>(m);
    register_precision<double>(m);
    m.def("simplex_qp", [](const Array<double>& p, const std::optional<Array<double>>& q, Array<double>& weights, Array<double>& gaps,
                           int n_threads) {
        const auto vp = in(p, "p");
        const Matrix<const double> vq = q ? in(*q, "q") : Matrix<const double>{};
        const auto vw = out(weights, "weights");
        double* vg = vector_out(gaps, vw.rows, "gaps");
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        simplex_qp(vp, vq, vw, vg, n_threads, poll);
    }, py::arg("p").noconvert(), py::arg("q").noconvert(), py::arg("weights").noconvert(), py::arg("gaps").noconvert(), py::arg("n_threads"));
}

}  // namespace voxridge::bind
