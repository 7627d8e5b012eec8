#include "bind/scipy_routines.hpp"
#include "core/blas.hpp"
#include "cpu/mirror.hpp"

namespace voxridge::bind {
namespace {

template <class T>
void register_precision(py::module_& m) {
    m.def("gemm", [](const Array<T>& a, const Array<T>& b, Array<T>& c, bool trans_a, bool trans_b, T alpha, T beta) {
        const auto va = in(a, "a"), vb = in(b, "b");
        const auto vc = out(c, "out");
        py::gil_scoped_release nogil;  // the views point into arrays that the caller holds
        blas::gemm<T>(trans_a, trans_b, alpha, va, vb, beta, vc);
    }, py::arg("a").noconvert(), py::arg("b").noconvert(), py::arg("out").noconvert(), py::arg("trans_a") = false,
       py::arg("trans_b") = false, py::arg("alpha") = T{1}, py::arg("beta") = T{0});
    m.def("syrk", [](const Array<T>& a, Array<T>& c, bool trans, T alpha, T beta, index_t block) {
        const auto va = in(a, "a");
        const auto vc = out(c, "out");
        py::gil_scoped_release nogil;  // as above
        blas::syrk<T>(trans, alpha, va, beta, vc, block);
        mirror_lower(vc);
    }, py::arg("a").noconvert(), py::arg("out").noconvert(), py::arg("trans") = true, py::arg("alpha") = T{1}, py::arg("beta") = T{0},
       py::arg("block") = blas::kBlock);
    m.def("cholesky", [](Array<T>& a, index_t block) {
        const auto va = out(a, "a");
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        return blas::potrf<T>(va, poll, block);
    }, py::arg("a").noconvert(), py::arg("block") = blas::kBlock);
    m.def("cholesky_solve", [](const Array<T>& factor, Array<T>& b) {
        const auto vf = in(factor, "factor");
        const auto vb = out(b, "b");
        py::gil_scoped_release nogil;  // as above
        blas::potrs<T>(vf, vb);
    }, py::arg("factor").noconvert(), py::arg("b").noconvert());
    m.def("cholesky_inverse", [](Array<T>& factor, index_t block) {
        const auto vf = out(factor, "factor");
        const Poll poll = check_signals();
        py::gil_scoped_release nogil;  // as above
        blas::potri<T>(vf, poll, block);
    }, py::arg("factor").noconvert(), py::arg("block") = blas::kBlock);
    m.def("solve_lower", [](const Array<T>& factor, Array<T>& b) {
        const auto vf = in(factor, "factor");
        const auto vb = out(b, "b");
        py::gil_scoped_release nogil;  // as above
        blas::solve_lower<T>(vf, vb);
    }, py::arg("factor").noconvert(), py::arg("b").noconvert());
}

}  // namespace

void register_blas(py::module_& m) {
    blas::load(scipy_routines());
    register_precision<float>(m);
    register_precision<double>(m);
    m.def("eigh_work", &blas::syevd_work, py::arg("n"));
    m.def("eigh", [](Array<double>& a, Array<double>& w, Array<double>& work) {
        const auto va = out(a, "a");
        double* vw = vector_out(w, va.rows, "w");
        double* buffer = vector_out(work, work.size(), "work");
        const index_t size = work.size();
        std::vector<int> iwork(static_cast<std::size_t>(3 + 5 * va.rows));
        py::gil_scoped_release nogil;  // as above
        blas::syevd(va, vw, buffer, size, iwork.data());
    }, py::arg("a").noconvert(), py::arg("w").noconvert(), py::arg("work").noconvert());
}

}  // namespace voxridge::bind
