#include <utility>

#include "bind/device_arrays.hpp"
#include "cuda/heldout_moments.hpp"

namespace voxridge::bind {
namespace {

void* scratch_of(const DeviceArray& a, std::size_t bytes) {
    require((a.kind == Kind::uint8 || a.kind == Kind::float64) && a.contiguous() && !a.read_only, "scratch is ", a.text(),
            ", expected contiguous uint8 or float64 to write to");
    require(std::cmp_greater_equal(a.size() * size_of(a.kind), bytes), "scratch is ", a.text(), ", expected ", bytes, " bytes: heldout_scratch");
    require(reinterpret_cast<std::uintptr_t>(a.data) % sizeof(double) == 0, "scratch must start at a multiple of ", sizeof(double), " bytes");
    return a.data;
}

// The optional arguments, by their names in Python.
struct Options {
    OptionalArray inner, base, rows, constant, along, scale, shift, weights;
    double sign;

    void check_devices(const Queue& queue) const {
        check_device(queue, inner, "inner"), check_device(queue, base, "base"), check_device(queue, rows, "rows");
        check_device(queue, constant, "constant"), check_device(queue, along, "along"), check_device(queue, scale, "scale");
        check_device(queue, shift, "shift"), check_device(queue, weights, "weights");
    }
};

template <class T>
void run(const DeviceArray& factor, const DeviceArray& residual, const DeviceArray& y, const DeviceArray& moments, const DeviceArray& scratch,
         const Options& options, cuda::Precision precision, const Queue& queue) {
    cuda::HeldOut<T> set{};
    set.factor = matrix<const T>(factor, "factor");
    set.residual = matrix<const T>(residual, "residual");
    set.y = matrix<const T>(y, "y");
    const index_t m = set.factor.rows, n_targets = set.y.cols;
    set.inner = vector<const index_t>(options.inner, set.factor.cols, "inner");
    set.base = matrix<const T>(options.base, "base");
    set.rows = vector<const index_t>(options.rows, m, "rows");
    set.constant = vector<const T>(options.constant, m, "constant");
    set.along = vector<const T>(options.along, n_targets, "along");
    set.scale = vector<const double>(options.scale, m, "scale");
    set.shift = vector<const T>(options.shift, n_targets, "shift");
    set.weights = vector<const double>(options.weights, m, "weights");
    set.sign = options.sign;
    const Matrix<double> sums = matrix<double>(moments, "moments");
    void* const parts = scratch_of(scratch, cuda::heldout_scratch(m, n_targets));
    py::gil_scoped_release nogil;  // the views point into arrays that the caller holds
    cuda::heldout_moments<T>(queue.stream(), set, precision, parts, sums);
}

}  // namespace

void register_cuda_scores(py::module_& m) {
    m.def("heldout_scratch", [](index_t rows, index_t n_targets) {
        require(rows >= 0 && n_targets >= 0, "heldout_scratch: m ", rows, " and n_targets ", n_targets, " must not be negative");
        return cuda::heldout_scratch(rows, n_targets);
    }, py::arg("m"), py::arg("n_targets"));
    m.def("heldout_moments", [](const DeviceArray& factor, const DeviceArray& residual, const DeviceArray& y, const DeviceArray& moments,
                                const DeviceArray& scratch, const OptionalArray& inner, const OptionalArray& base, const OptionalArray& rows,
                                const OptionalArray& constant, const OptionalArray& along, const OptionalArray& scale, const OptionalArray& shift,
                                const OptionalArray& weights, double sign, const std::string& precision, const Queue& queue) {
        check_device(queue, factor, "factor"), check_device(queue, residual, "residual"), check_device(queue, y, "y");
        check_device(queue, moments, "moments"), check_device(queue, scratch, "scratch");
        const Options options{inner, base, rows, constant, along, scale, shift, weights, sign};
        options.check_devices(queue);
        with_float(factor, "factor", [&](auto zero) {
            run<decltype(zero)>(factor, residual, y, moments, scratch, options, precision_of(precision), queue);
        });
    }, py::arg("factor"), py::arg("residual"), py::arg("y"), py::arg("moments"), py::arg("scratch"), py::kw_only(),
       py::arg("inner") = py::none(), py::arg("base") = py::none(), py::arg("rows") = py::none(), py::arg("constant") = py::none(),
       py::arg("along") = py::none(), py::arg("scale") = py::none(), py::arg("shift") = py::none(), py::arg("weights") = py::none(),
       py::arg("sign") = 1.0, py::arg("precision") = "float32", py::arg("queue"));
}

}  // namespace voxridge::bind
