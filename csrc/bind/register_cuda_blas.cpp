#include "bind/device_calls.hpp"
#include "cuda/blas.hpp"
#include "cuda/passes.hpp"

namespace voxridge::bind {
namespace {

void gemm(const DeviceArray& a, const DeviceArray& b, const DeviceArray& out, bool trans_a, bool trans_b, double alpha, double beta,
          const std::string& precision, const Queue& queue) {
    check_devices(queue, a, "a", b, "b", out, "out");
    const cuda::Precision chosen = precision_of(precision);
    with_float(out, "out", [&](auto zero) {
        using T = decltype(zero);
        const auto va = matrix<const T>(a, "a"), vb = matrix<const T>(b, "b");
        const auto vo = matrix<T>(out, "out");
        queued(queue, [&](cuda::Stream& stream) { cuda::gemm(stream, trans_a, trans_b, alpha, va, vb, beta, vo, chosen); });
    });
}

// Both triangles, as _cpu has it.
void syrk(const DeviceArray& a, const DeviceArray& out, bool trans, double alpha, double beta, const Queue& queue) {
    check_devices(queue, a, "a", out, "out");
    const auto va = matrix<const double>(a, "a");
    const auto vo = matrix<double>(out, "out");
    queued(queue, [&](cuda::Stream& stream) {
        cuda::syrk(stream, trans, alpha, va, beta, vo);
        cuda::mirror_lower(stream, vo);
    });
}

index_t cholesky(const DeviceArray& a, const Queue& queue) {
    check_devices(queue, a, "a");
    const auto va = matrix<double>(a, "a");
    return queued(queue, [&](cuda::Stream& stream) { return cuda::potrf(stream, va); });
}

void cholesky_inverse(const DeviceArray& factor, const Queue& queue) {
    check_devices(queue, factor, "factor");
    const auto vf = matrix<double>(factor, "factor");
    queued(queue, [&](cuda::Stream& stream) { cuda::potri(stream, vf); });
}

template <void (*solve)(cuda::Stream&, Matrix<const double>, Matrix<double>)>
void solve_by(const DeviceArray& factor, const DeviceArray& b, const Queue& queue) {
    check_devices(queue, factor, "factor", b, "b");
    const auto vf = matrix<const double>(factor, "factor");
    const auto vb = matrix<double>(b, "b");
    queued(queue, [&](cuda::Stream& stream) { solve(stream, vf, vb); });
}

void eigh(const DeviceArray& a, const DeviceArray& w, const Queue& queue) {
    check_devices(queue, a, "a", w, "w");
    const auto va = matrix<double>(a, "a");
    auto* const vw = vector<double>(w, va.rows, "w");
    queued(queue, [&](cuda::Stream& stream) { cuda::syevd(stream, va, vw); });
}

}  // namespace

void register_cuda_blas(py::module_& m) {
    m.def("gemm", &gemm, py::arg("a"), py::arg("b"), py::arg("out"), py::arg("trans_a") = false, py::arg("trans_b") = false, py::arg("alpha") = 1.0,
          py::arg("beta") = 0.0, py::arg("precision") = "float32", py::kw_only(), py::arg("queue"));
    m.def("syrk", &syrk, py::arg("a"), py::arg("out"), py::arg("trans") = true, py::arg("alpha") = 1.0, py::arg("beta") = 0.0, py::kw_only(),
          py::arg("queue"));
    m.def("cholesky", &cholesky, py::arg("a"), py::kw_only(), py::arg("queue"));
    m.def("cholesky_solve", &solve_by<cuda::potrs>, py::arg("factor"), py::arg("b"), py::kw_only(), py::arg("queue"));
    m.def("cholesky_inverse", &cholesky_inverse, py::arg("factor"), py::kw_only(), py::arg("queue"));
    m.def("solve_lower", &solve_by<cuda::solve_lower>, py::arg("factor"), py::arg("b"), py::kw_only(), py::arg("queue"));
    m.def("eigh", &eigh, py::arg("a"), py::arg("w"), py::kw_only(), py::arg("queue"));
}

}  // namespace voxridge::bind
