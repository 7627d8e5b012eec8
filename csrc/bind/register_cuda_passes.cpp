#include "bind/device_calls.hpp"
#include "cuda/passes.hpp"

namespace voxridge::bind {
namespace {

using cuda::Stream;

// The size of an index, or `otherwise` where there is none.
index_t size_or(const OptionalArray& index, index_t otherwise) { return index ? index->rows : otherwise; }

// --- triangles and symmetric matrices

void restore_lower(const DeviceArray& a, const Queue& queue) {
    check_devices(queue, a, "a");
    const auto va = matrix<double>(a, "a");
    queued(queue, [&](Stream& stream) { cuda::restore_lower(stream, va); });
}

void symmetric_rows(const DeviceArray& a, index_t begin, double scale, double diagonal, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, a, "a", out, "out");
    const auto va = matrix<const double>(a, "a");
    with_float(out, "out", [&](auto zero) {
        const auto vo = matrix<decltype(zero)>(out, "out");
        queued(queue, [&](Stream& stream) { cuda::symmetric_rows(stream, va, begin, scale, diagonal, vo); });
    });
}

void set_diagonal(const DeviceArray& a, const DeviceArray& diagonal, double alpha, const Queue& queue) {
    check_devices(queue, a, "a", diagonal, "diagonal");
    const auto va = matrix<double>(a, "a");
    const auto* vd = vector<const double>(diagonal, va.rows, "diagonal");
    queued(queue, [&](Stream& stream) { cuda::set_diagonal(stream, va, vd, alpha); });
}

void get_diagonal(const DeviceArray& a, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, a, "a", out, "out");
    const auto va = matrix<const double>(a, "a");
    auto* vo = vector<double>(out, va.rows, "out");
    queued(queue, [&](Stream& stream) { cuda::get_diagonal(stream, va, vo); });
}

void centre_kernel(const DeviceArray& a, const DeviceArray& mean, double grand, const OptionalArray& root, const Queue& queue) {
    check_devices(queue, a, "a", mean, "mean", root, "root");
    const auto va = matrix<double>(a, "a");
    const auto *vm = vector<const double>(mean, va.rows, "mean"), *vr = vector<const double>(root, va.rows, "root");
    queued(queue, [&](Stream& stream) { cuda::centre_kernel(stream, va, vm, grand, vr); });
}

void symmetric_block(const DeviceArray& a, const DeviceArray& rows, double scale, double diagonal, double share, const OptionalArray& r,
                     const DeviceArray& out, const Queue& queue) {
    check_devices(queue, a, "a", rows, "rows", r, "r", out, "out");
    const auto va = matrix<const double>(a, "a");
    const auto vo = matrix<double>(out, "out");
    const auto* at = vector<const index_t>(rows, vo.rows, "rows");
    const auto* vr = vector<const double>(r, va.rows, "r");
    queued(queue, [&](Stream& stream) { cuda::symmetric_block(stream, va, at, scale, diagonal, share, vr, vo); });
}

void register_triangles(py::module_& m) {
    m.def("restore_lower", &restore_lower, py::arg("a"), py::kw_only(), py::arg("queue"));
    m.def("symmetric_rows", &symmetric_rows, py::arg("a"), py::arg("begin"), py::arg("scale"), py::arg("diagonal"), py::arg("out"), py::kw_only(),
          py::arg("queue"));
    m.def("set_diagonal", &set_diagonal, py::arg("a"), py::arg("diagonal"), py::arg("alpha"), py::kw_only(), py::arg("queue"));
    m.def("get_diagonal", &get_diagonal, py::arg("a"), py::arg("out"), py::kw_only(), py::arg("queue"));
    m.def("centre_kernel", &centre_kernel, py::arg("a"), py::arg("mean"), py::arg("grand"), py::arg("root"), py::kw_only(), py::arg("queue"));
    m.def("symmetric_block", &symmetric_block, py::arg("a"), py::arg("rows"), py::arg("scale"), py::arg("diagonal"), py::arg("share"), py::arg("r"),
          py::arg("out"), py::kw_only(), py::arg("queue"));
}

// --- targets

void centre(const DeviceArray& raw, const OptionalArray& mean, const DeviceArray& valid, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, raw, "raw", mean, "mean", valid, "valid", out, "out");
    with_float(raw, "raw", [&](auto from) {
        with_float(out, "out", [&](auto to) {
            const auto vr = matrix<const decltype(from)>(raw, "raw");
            const auto vo = matrix<decltype(to)>(out, "out");
            const auto* vm = vector<const double>(mean, vo.cols, "mean");
            const auto* vv = vector<const unsigned char>(valid, vo.cols, "valid");
            queued(queue, [&](Stream& stream) { cuda::centre(stream, vr, vm, vv, vo); });
        });
    });
}

void column_moments(const DeviceArray& y, index_t begin, index_t end, const DeviceArray& sums, const DeviceArray& squares, const Queue& queue) {
    check_devices(queue, y, "y", sums, "sums", squares, "squares");
    with_float(y, "y", [&](auto zero) {
        const auto vy = matrix<const decltype(zero)>(y, "y");
        auto *vs = vector<double>(sums, vy.cols, "sums"), *vq = vector<double>(squares, vy.cols, "squares");
        queued(queue, [&](Stream& stream) { cuda::column_moments(stream, vy, begin, end, vs, vq); });
    });
}

void product_moments(const DeviceArray& y, const DeviceArray& q, const OptionalArray& rows, const OptionalArray& weights,
                     const DeviceArray& moments, const Queue& queue) {
    check_devices(queue, y, "y", q, "q", rows, "rows", weights, "weights", moments, "moments");
    with_float(y, "y", [&](auto zero) {
        using T = const decltype(zero);
        const auto vy = matrix<T>(y, "y"), vq = matrix<T>(q, "q");
        const index_t n = size_or(rows, vy.rows);
        const auto* at = vector<const index_t>(rows, n, "rows");
        const auto* w = vector<const double>(weights, n, "weights");
        const auto vm = matrix<double>(moments, "moments");
        queued(queue, [&](Stream& stream) { cuda::product_moments(stream, vy, vq, at, n, w, vm); });
    });
}

void single_moments(const DeviceArray& y, const DeviceArray& smoothed, const DeviceArray& h, const DeviceArray& rest, const OptionalArray& weights,
                    const OptionalArray& sums, double total, const DeviceArray& moments, const Queue& queue) {
    check_devices(queue, y, "y", smoothed, "smoothed", h, "h", rest, "rest", weights, "weights", sums, "sums", moments, "moments");
    with_float(y, "y", [&](auto zero) {
        using T = const decltype(zero);
        const auto vy = matrix<T>(y, "y"), vs = matrix<T>(smoothed, "smoothed");
        const auto *vh = vector<const double>(h, vy.rows, "h"), *left = vector<const double>(rest, vy.rows, "rest");
        const auto* w = vector<const double>(weights, vy.rows, "weights");
        const auto* all = vector<const double>(sums, vy.cols, "sums");
        const auto vm = matrix<double>(moments, "moments");
        queued(queue, [&](Stream& stream) { cuda::single_moments(stream, vy, vs, vh, left, w, all, total, vm); });
    });
}

void moved_rows(const DeviceArray& y, const OptionalArray& mean, const OptionalArray& root, const OptionalArray& smoothed, const OptionalArray& rows,
                const DeviceArray& out, const Queue& queue) {
    check_devices(queue, y, "y", mean, "mean", root, "root", smoothed, "smoothed", rows, "rows", out, "out");
    with_float(y, "y", [&](auto zero) {
        using T = decltype(zero);
        const auto vy = matrix<const T>(y, "y"), vs = matrix<const T>(smoothed, "smoothed");
        const auto* vm = vector<const T>(mean, vy.cols, "mean");
        const auto* vr = vector<const double>(root, vy.rows, "root");
        const index_t n = size_or(rows, vy.rows);
        const auto* at = vector<const index_t>(rows, n, "rows");
        const auto vo = matrix<T>(out, "out");
        queued(queue, [&](Stream& stream) { cuda::moved_rows(stream, vy, vm, vr, vs, at, n, vo); });
    });
}

void register_targets(py::module_& m) {
    m.def("centre", &centre, py::arg("raw"), py::arg("mean"), py::arg("valid"), py::arg("out"), py::kw_only(), py::arg("queue"));
    m.def("column_moments", &column_moments, py::arg("y"), py::arg("begin"), py::arg("end"), py::arg("sums"), py::arg("squares"), py::kw_only(),
          py::arg("queue"));
    m.def("product_moments", &product_moments, py::arg("y"), py::arg("q"), py::arg("rows"), py::arg("weights"), py::arg("moments"), py::kw_only(),
          py::arg("queue"));
    m.def("single_moments", &single_moments, py::arg("y"), py::arg("smoothed"), py::arg("h"), py::arg("rest"), py::arg("weights"), py::arg("sums"),
          py::arg("total"), py::arg("moments"), py::kw_only(), py::arg("queue"));
    m.def("moved_rows", &moved_rows, py::arg("y"), py::arg("mean"), py::arg("root"), py::arg("smoothed"), py::arg("rows"), py::arg("out"),
          py::kw_only(), py::arg("queue"));
}

// --- general

void accumulate(double alpha, const DeviceArray& x, double beta, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, x, "x", out, "out");
    with_float(x, "x", [&](auto from) {
        with_float(out, "out", [&](auto to) {
            const auto vx = matrix<const decltype(from)>(x, "x");
            const auto vo = matrix<decltype(to)>(out, "out");
            queued(queue, [&](Stream& stream) { cuda::accumulate(stream, alpha, vx, beta, vo); });
        });
    });
}

void scale(const DeviceArray& a, const OptionalArray& row, const OptionalArray& column, const Queue& queue) {
    check_devices(queue, a, "a", row, "row", column, "column");
    with_float(a, "a", [&](auto zero) {
        const auto va = matrix<decltype(zero)>(a, "a");
        const auto *by_row = vector<const double>(row, va.rows, "row"), *by_column = vector<const double>(column, va.cols, "column");
        queued(queue, [&](Stream& stream) { cuda::scale(stream, va, by_row, by_column); });
    });
}

void apply_penalty(const DeviceArray& z, const DeviceArray& l, const DeviceArray& alphas, const Queue& queue) {
    check_devices(queue, z, "z", l, "l", alphas, "alphas");
    with_float(z, "z", [&](auto zero) {
        const auto vz = matrix<decltype(zero)>(z, "z");
        const auto *vl = vector<const double>(l, vz.rows, "l"), *va = vector<const double>(alphas, vz.cols, "alphas");
        queued(queue, [&](Stream& stream) { cuda::apply_penalty(stream, vz, vl, va); });
    });
}

void rank_one(const DeviceArray& a, double alpha, const DeviceArray& row, const DeviceArray& column, const Queue& queue) {
    check_devices(queue, a, "a", row, "row", column, "column");
    with_float(a, "a", [&](auto zero) {
        const auto va = matrix<decltype(zero)>(a, "a");
        const auto *vr = vector<const double>(row, va.rows, "row"), *vc = vector<const double>(column, va.cols, "column");
        queued(queue, [&](Stream& stream) { cuda::rank_one(stream, va, alpha, vr, vc); });
    });
}

void take_columns(const DeviceArray& a, const DeviceArray& columns, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, a, "a", columns, "columns", out, "out");
    with_float(a, "a", [&](auto zero) {
        using T = decltype(zero);
        const auto va = matrix<const T>(a, "a");
        const auto vo = matrix<T>(out, "out");
        const auto* at = vector<const index_t>(columns, vo.cols, "columns");
        queued(queue, [&](Stream& stream) { cuda::take_columns(stream, va, at, vo); });
    });
}

void put_columns(const DeviceArray& a, const DeviceArray& columns, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, a, "a", columns, "columns", out, "out");
    with_float(a, "a", [&](auto zero) {
        using T = decltype(zero);
        const auto va = matrix<const T>(a, "a");
        const auto vo = matrix<T>(out, "out");
        const auto* at = vector<const index_t>(columns, va.cols, "columns");
        queued(queue, [&](Stream& stream) { cuda::put_columns(stream, va, at, vo); });
    });
}

void take_rows(const DeviceArray& a, const DeviceArray& rows, const DeviceArray& out, const Queue& queue) {
    check_devices(queue, a, "a", rows, "rows", out, "out");
    with_float(a, "a", [&](auto zero) {
        using T = decltype(zero);
        const auto va = matrix<const T>(a, "a");
        const auto vo = matrix<T>(out, "out");
        const auto* at = vector<const index_t>(rows, vo.rows, "rows");
        queued(queue, [&](Stream& stream) { cuda::take_rows(stream, va, at, vo); });
    });
}

void register_matrices(py::module_& m) {
    m.def("accumulate", &accumulate, py::arg("alpha"), py::arg("x"), py::arg("beta"), py::arg("out"), py::kw_only(), py::arg("queue"));
    m.def("scale", &scale, py::arg("a"), py::arg("row"), py::arg("column"), py::kw_only(), py::arg("queue"));
    m.def("apply_penalty", &apply_penalty, py::arg("z"), py::arg("l"), py::arg("alphas"), py::kw_only(), py::arg("queue"));
    m.def("rank_one", &rank_one, py::arg("a"), py::arg("alpha"), py::arg("row"), py::arg("column"), py::kw_only(), py::arg("queue"));
    m.def("take_columns", &take_columns, py::arg("a"), py::arg("columns"), py::arg("out"), py::kw_only(), py::arg("queue"));
    m.def("put_columns", &put_columns, py::arg("a"), py::arg("columns"), py::arg("out"), py::kw_only(), py::arg("queue"));
    m.def("take_rows", &take_rows, py::arg("a"), py::arg("rows"), py::arg("out"), py::kw_only(), py::arg("queue"));
}

}  // namespace

void register_cuda_passes(py::module_& m) {
    register_triangles(m);
    register_targets(m);
    register_matrices(m);
}

}  // namespace voxridge::bind
