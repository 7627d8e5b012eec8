#include "bind/device_arrays.hpp"
#include "cuda/design_columns.hpp"

namespace voxridge::bind {

void register_cuda_design(py::module_& m) {
    using Optional = std::optional<DeviceArray>;
    m.def(
        "design_columns",
        [](const DeviceArray& features, const DeviceArray& rows, const DeviceArray& run_begin, const DeviceArray& run_end, const DeviceArray& delays,
           const Optional& mean, const Optional& root, const DeviceArray& out, Queue& queue) {
            const auto vo = matrix<double>(out, "out");
            with_float(features, "features", [&](auto zero) {
                using F = decltype(zero);
                const auto vf = matrix<const F>(features, "features");
                const auto* at = vector<const index_t>(rows, vo.cols, "rows");
                const auto* begins = vector<const index_t>(run_begin, vf.rows, "run_begin");
                const auto* ends = vector<const index_t>(run_end, vf.rows, "run_end");
                const auto* lags = vector<const index_t>(delays, delays.rows, "delays");
                const auto* means = vector<const double>(mean, vo.rows, "mean");
                const auto* roots = vector<const double>(root, vf.rows, "root");
                py::gil_scoped_release nogil;  // the views point into memory that the caller holds
                cuda::design_columns<F>(queue.stream(), vf, at, begins, ends, lags, delays.rows, means, roots, vo);
            });
        },
        py::arg("features"), py::arg("rows"), py::arg("run_begin"), py::arg("run_end"), py::arg("delays"), py::arg("mean"), py::arg("root"),
        py::arg("out"), py::kw_only(), py::arg("queue"));
}

}  // namespace voxridge::bind
