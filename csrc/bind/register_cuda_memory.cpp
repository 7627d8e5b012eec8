#include <algorithm>
#include <utility>

#include "bind/device_arrays.hpp"

#ifndef VOXRIDGE_CUDA_COMPILER
#define VOXRIDGE_CUDA_COMPILER "unknown"
#endif
#ifndef VOXRIDGE_CUDA_ARCHITECTURES
#define VOXRIDGE_CUDA_ARCHITECTURES ""
#endif

namespace voxridge::bind {
namespace {

using Shape = std::vector<index_t>;

std::vector<std::weak_ptr<cuda::Stream>>& all_streams() {
    static auto* all = new std::vector<std::weak_ptr<cuda::Stream>>;  // touched with the GIL only
    return *all;
}

index_t elements(const Shape& shape, Kind kind) {
    auto bytes = static_cast<double>(size_of(kind));
    index_t n = 1;
    for (const index_t extent : shape) {
        require(extent >= 0, "a shape must not be negative, and ", extent, " is");
        bytes *= static_cast<double>(std::max<index_t>(extent, 1));
        require(bytes < 9e18, "an array of ", bytes, " bytes is more than any memory");
        n *= extent;
    }
    return n;
}

DeviceArray empty(const Shape& shape, const py::object& dtype, int device) {
    require(shape.size() == 1 || shape.size() == 2, "an array has 1 or 2 dimensions, not ", shape.size());
    DeviceArray a;
    a.kind = kind_of_dtype(dtype);
    a.ndim = static_cast<int>(shape.size());
    const index_t bytes = elements(shape, a.kind) * size_of(a.kind);
    a.rows = shape[0];
    a.cols = a.ndim == 2 ? shape[1] : 1;
    a.stride = std::max<index_t>(a.cols, 1);
    a.device = device;
    {
        py::gil_scoped_release nogil;
        a.memory = cuda::Memory::on_device(device, static_cast<std::size_t>(bytes));
    }
    a.data = a.memory->data();
    return a;
}

py::array pinned(const Shape& shape, const py::object& dtype) {
    const Kind kind = kind_of_dtype(dtype);
    const index_t bytes = elements(shape, kind) * size_of(kind);
    auto held = std::make_unique<std::shared_ptr<cuda::Memory>>(cuda::Memory::pinned(static_cast<std::size_t>(bytes)));
    const void* data = (*held)->data();
    const py::capsule base(held.release(), [](void* memory) { delete static_cast<std::shared_ptr<cuda::Memory>*>(memory); });
    return {dtype_of(kind), std::vector<py::ssize_t>(shape.begin(), shape.end()), data, base};
}

// Begin and size of a slice of `extent` elements.
Range part(const py::handle& index, index_t extent) {
    if (!py::isinstance<py::slice>(index)) throw py::type_error("an array of a device is indexed by slices");
    py::ssize_t begin = 0, end = 0, step = 0, size = 0;
    if (!py::reinterpret_borrow<py::slice>(index).compute(extent, &begin, &end, &step, &size)) throw py::error_already_set();
    require(step == 1, "a slice of an array of a device has a step of 1, not ", step);
    return {begin, begin + size};
}

// Row i of a matrix, as a vector.
DeviceArray row(const DeviceArray& a, index_t i) {
    if (a.ndim != 2 || i < -a.rows || i >= a.rows) throw py::index_error(a.text() + " has no row " + std::to_string(i));
    DeviceArray view = a;
    view.ndim = 1;
    view.data = static_cast<char*>(a.data) + (i < 0 ? i + a.rows : i) * a.pitch();
    view.rows = a.cols;
    view.cols = view.stride = 1;
    return view;
}

DeviceArray slice(const DeviceArray& a, const py::object& index) {
    if (py::isinstance<py::int_>(index)) return row(a, py::cast<index_t>(index));
    const bool pair = py::isinstance<py::tuple>(index);
    const py::tuple parts = pair ? py::reinterpret_borrow<py::tuple>(index) : py::make_tuple(index);
    if (parts.empty() || std::cmp_greater(parts.size(), a.ndim))
        throw py::index_error("an array of " + std::to_string(a.ndim) + " dimensions has no " + std::to_string(parts.size()) + " slices");
    const Range rows = part(parts[0], a.rows);
    const Range cols = parts.size() == 2 ? part(parts[1], a.cols) : Range{0, a.cols};
    DeviceArray view = a;
    view.rows = rows.size();
    view.cols = cols.size();
    view.data = static_cast<char*>(a.data) + (view.size() == 0 ? 0 : (rows.begin * a.stride + cols.begin) * size_of(a.kind));
    return view;
}

DeviceArray reshape(const DeviceArray& a, index_t rows, index_t cols) {
    require(a.contiguous(), "reshape: the rows of ", a.text(), " are ", a.stride, " elements apart; copy it first");
    require(rows >= 0 && cols >= 0 && elements({rows, cols}, a.kind) <= a.size(), "reshape: ", a.text(), " has no ", shape{rows, cols}, " elements");
    DeviceArray view = a;
    view.ndim = 2;
    view.rows = rows;
    view.cols = cols;
    view.stride = std::max<index_t>(cols, 1);
    return view;
}

py::tuple shape_of(const DeviceArray& a) {
    if (a.ndim == 1) return py::make_tuple(a.rows);
    return py::make_tuple(a.rows, a.cols);
}

// Rows of memory on either side of a copy; contiguous arrays are one long row.
struct Rows {
    char* data;
    index_t pitch, width, rows;
};

Rows rows_of(const DeviceArray& a) {
    const index_t item = size_of(a.kind);
    if (a.ndim == 1) return {static_cast<char*>(a.data), a.rows * item, a.rows * item, 1};
    return {static_cast<char*>(a.data), a.pitch(), a.cols * item, a.rows};
}

Rows rows_of(const py::array& a, const char* name) {
    const py::ssize_t item = a.itemsize();
    const bool flat = a.ndim() == 1;
    const index_t rows = flat ? 1 : a.shape(0), width = (flat ? a.shape(0) : a.shape(1)) * item;
    const bool dense = width <= item || a.strides(flat ? 0 : 1) == item;
    const bool in_order = rows <= 1 || a.strides(0) >= width;
    require(a.size() == 0 || (dense && in_order), name, " must be C-ordered (rows may be strided); np.ascontiguousarray makes it so");
    return {static_cast<char*>(const_cast<void*>(a.data())), rows <= 1 ? width : a.strides(0), width, rows};
}

void merge(Rows& to, Rows& from) {
    if (to.pitch != to.width || from.pitch != from.width) return;
    for (Rows* side : {&to, &from}) *side = {side->data, side->width * side->rows, side->width * side->rows, 1};
}

std::string text_of(const py::array& a) {
    return py::cast<std::string>(py::str(a.dtype())) + " " + py::cast<std::string>(py::str(py::tuple(a.attr("shape"))));
}

void check_same(const py::array& host, const char* host_name, const DeviceArray& device, const char* device_name) {
    bool same = host.dtype().equal(dtype_of(device.kind)) && host.ndim() == device.ndim && host.shape(0) == device.rows;
    if (same && device.ndim == 2) same = host.shape(1) == device.cols;
    require(same, host_name, " is ", text_of(host), " and ", device_name, " is ", device.text(), ": dtypes and shapes must be the same");
}

void check_writable(const DeviceArray& a, const char* name) { require(!a.read_only, name, " is read-only; copy it into an array of its own first"); }

// Memory that is not pinned belongs to the caller again when a copy returns. CUDA says of such copies only that they "might" wait, so this does.
void upload(const py::array& a, const DeviceArray& out, const Queue& queue) {
    check_same(a, "a", out, "out");
    check_writable(out, "out");
    check_device(queue, out, "out");
    Rows to = rows_of(out), from = rows_of(a, "a");
    merge(to, from);
    py::gil_scoped_release nogil;  // memory that goes waits for the queues
    queue.stream().upload(to.data, to.pitch, from.data, from.pitch, to.width, to.rows);
    if (!cuda::is_pinned(from.data)) queue.stream().synchronize();
}

void download(const DeviceArray& a, const py::array& out, const Queue& queue) {
    check_same(out, "out", a, "a");
    require(out.writeable(), "out is read-only");
    check_device(queue, a, "a");
    Rows to = rows_of(out, "out"), from = rows_of(a);
    merge(to, from);
    py::gil_scoped_release nogil;  // as above
    queue.stream().download(to.data, to.pitch, from.data, from.pitch, to.width, to.rows);
    if (!cuda::is_pinned(to.data)) queue.stream().synchronize();
}

// `a` may be on another device.
void copy(const DeviceArray& a, const DeviceArray& out, const Queue& queue) {
    require(a.kind == out.kind && a.ndim == out.ndim && a.rows == out.rows && a.cols == out.cols, "a is ", a.text(), " and out is ", out.text(),
            ": dtypes and shapes must be the same");
    check_writable(out, "out");
    check_device(queue, out, "out");
    Rows to = rows_of(out), from = rows_of(a);
    merge(to, from);
    py::gil_scoped_release nogil;  // as above
    queue.stream().copy(to.data, to.pitch, from.data, from.pitch, to.width, to.rows);
}

void zero(const DeviceArray& out, const Queue& queue) {
    check_writable(out, "out");
    check_device(queue, out, "out");
    Rows to = rows_of(out), same = to;
    merge(to, same);
    py::gil_scoped_release nogil;  // as above
    queue.stream().zero(to.data, to.pitch, to.width, to.rows);
}

void synchronize(const Queue& queue) {
    py::gil_scoped_release nogil;
    queue.stream().synchronize();
}

py::list device_facts() {
    py::list all;
    for (const cuda::DeviceFacts& facts : cuda::devices()) {
        py::dict one;
        one["name"] = facts.name;
        one["major"] = facts.major;
        one["minor"] = facts.minor;
        one["multiprocessors"] = facts.multiprocessors;
        one["total_bytes"] = facts.total_bytes;
        one["free_bytes"] = facts.free_bytes;
        one["clock_hz"] = facts.clock_hz;
        one["memory_clock_hz"] = facts.memory_clock_hz;
        one["memory_bus_bits"] = facts.memory_bus_bits;
        all.append(one);
    }
    return all;
}

void register_errors(py::module_& m) {
    py::register_local_exception<cuda::Failure>(m, "Failure", PyExc_RuntimeError);
    // Looked at first, as the last one registered.
    py::register_local_exception_translator([](std::exception_ptr error) {  // NOLINT(performance-unnecessary-value-param): pybind11's type
        try {
            if (error) std::rethrow_exception(error);
        } catch (const cuda::OutOfMemory& e) {
            PyErr_SetString(PyExc_MemoryError, e.what());
        }
    });
}

void register_facts(py::module_& m) {
    m.def("build_info", [] {
#ifdef VOXRIDGE_EMULATED
        const char* emulated = "yes";
#else
        const char* emulated = "no";
#endif
        return std::map<std::string, std::string>{{"compiler", VOXRIDGE_CUDA_COMPILER}, {"architectures", VOXRIDGE_CUDA_ARCHITECTURES},
                                                  {"runtime", cuda::runtime_version()}, {"emulated", emulated}};
    });
    m.def("missing", &cuda::missing, py::call_guard<py::gil_scoped_release>());
    m.def("devices", &device_facts);
}

void register_array(py::module_& m) {
    py::class_<DeviceArray>(m, "Array", py::module_local())
        .def_property_readonly("shape", &shape_of)
        .def_property_readonly("dtype", [](const DeviceArray& a) { return dtype_of(a.kind); })
        .def_property_readonly("nbytes", [](const DeviceArray& a) { return a.size() * size_of(a.kind); })
        .def_property_readonly("device", [](const DeviceArray& a) { return a.device; })
        .def("reshape", &reshape, py::arg("rows"), py::arg("cols"))
        .def("__getitem__", &slice, py::arg("index"))
        .def("__repr__", [](const DeviceArray& a) { return "Array(" + a.text() + " on device " + std::to_string(a.device) + ")"; });
}

void register_queue(py::module_& m) {
    py::class_<cuda::Event>(m, "Event", py::module_local())
        .def("synchronize", &cuda::Event::synchronize, py::call_guard<py::gil_scoped_release>());
    py::class_<Queue>(m, "Queue", py::module_local())
        .def(py::init<int>(), py::arg("device") = 0)
        .def_property_readonly("device", &Queue::device)
        .def_property_readonly("stream", [](const Queue& queue) { return reinterpret_cast<std::uintptr_t>(queue.stream().native()); })
        .def("synchronize", &synchronize)
        .def("record", [](const Queue& queue) { return queue.stream().record(); })
        .def("wait", [](const Queue& queue, const cuda::Event& event) { queue.stream().wait(event); }, py::arg("event"))
        .def("__enter__", [](py::object self) { return self; })
        .def("__exit__", [](const Queue& queue, const py::args&) { synchronize(queue); });
}

}  // namespace

Queue::Queue(int device) : stream_(std::make_shared<cuda::Stream>(device)) {
    auto& all = all_streams();
    std::erase_if(all, [](const auto& stream) { return stream.expired(); });
    all.push_back(stream_);
}

void synchronize_queues(int device) {
    std::vector<std::shared_ptr<cuda::Stream>> streams;
    for (const auto& weak : all_streams())
        if (auto stream = weak.lock(); stream && stream->device() == device) streams.push_back(std::move(stream));
    py::gil_scoped_release nogil;
    for (const auto& stream : streams) stream->synchronize();
}

Kind kind_of_dtype(const py::object& dtype) {
    const py::dtype wanted = py::dtype::from_args(dtype);
    for (const Kind kind : {Kind::float32, Kind::float64, Kind::int64, Kind::uint8})
        if (wanted.equal(dtype_of(kind))) return kind;
    throw std::invalid_argument("dtype must be float32, float64, int64 or uint8, not " + py::cast<std::string>(py::str(wanted)));
}

py::dtype dtype_of(Kind kind) { return py::dtype(std::string(name_of(kind))); }

void register_cuda_memory(py::module_& m) {
    register_errors(m);
    register_facts(m);
    register_array(m);
    register_queue(m);
    m.def("empty", &empty, py::arg("shape"), py::arg("dtype"), py::arg("device") = 0);
    m.def("pinned", &pinned, py::arg("shape"), py::arg("dtype"));
    m.def("is_pinned", [](const py::array& a) { return cuda::is_pinned(a.data()); }, py::arg("a").noconvert());
    m.def("upload", &upload, py::arg("a").noconvert(), py::arg("out"), py::arg("queue"));
    m.def("download", &download, py::arg("a"), py::arg("out").noconvert(), py::arg("queue"));
    m.def("copy", &copy, py::arg("a"), py::arg("out"), py::arg("queue"));
    m.def("zero", &zero, py::arg("out"), py::arg("queue"));
}

}  // namespace voxridge::bind
