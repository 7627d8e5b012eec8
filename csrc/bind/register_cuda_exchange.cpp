// Arrays of other libraries as ours, and ours as theirs, without a copy: __cuda_array_interface__ and DLPack.
#include <array>
#include <functional>

#include "bind/device_arrays.hpp"
#include "bind/dlpack.hpp"

namespace voxridge::bind {
namespace {

// --- ours for others: all queues of the device have ended by then, so no stream is named

const char* typestr(Kind kind) {
    switch (kind) {
        case Kind::float32: return "<f4";
        case Kind::float64: return "<f8";
        case Kind::int64: return "<i8";
        default: return "|u1";
    }
}

py::dict interface_of(const DeviceArray& a) {
    synchronize_queues(a.device);
    const index_t item = size_of(a.kind);
    py::dict out;
    out["version"] = 3;
    out["typestr"] = typestr(a.kind);
    out["data"] = py::make_tuple(a.size() == 0 ? 0 : reinterpret_cast<std::uintptr_t>(a.data), a.read_only);
    out["stream"] = py::none();
    if (a.ndim == 1) out["shape"] = py::make_tuple(a.rows);
    else out["shape"] = py::make_tuple(a.rows, a.cols);
    if (a.contiguous()) out["strides"] = py::none();
    else out["strides"] = py::make_tuple(a.pitch(), item);
    return out;
}

dlpack::Type type_of(Kind kind) {
    switch (kind) {
        case Kind::float32: return {dlpack::kFloat, 32, 1};
        case Kind::float64: return {dlpack::kFloat, 64, 1};
        case Kind::int64: return {dlpack::kInt, 64, 1};
        default: return {dlpack::kUint, 8, 1};
    }
}

// What a capsule points to: the structure, and what it keeps alive until its deleter runs, in whatever thread that is.
template <class M>
struct Export {
    M managed{};
    std::array<std::int64_t, 2> shape{}, strides{};
    DeviceArray array;

    explicit Export(const DeviceArray& a) : shape{a.rows, a.cols}, strides{a.ndim == 1 ? 1 : a.stride, 1}, array(a) {
        managed.tensor = {a.data, {dlpack::kCuda, a.device}, a.ndim, type_of(a.kind), shape.data(), strides.data(), 0};
        managed.context = this;
        managed.deleter = [](M* self) {
            if (Py_IsInitialized() == 0) return;  // the interpreter is gone: nothing of it can be given back
            py::gil_scoped_acquire gil;
            delete static_cast<Export*>(self->context);
        };
    }
};

template <class M>
py::capsule capsule_of(Export<M>* made, const char* name) {
    PyObject* capsule = PyCapsule_New(&made->managed, name, [](PyObject* self) {
        const char* wanted = std::is_same_v<M, dlpack::Managed> ? dlpack::kName : dlpack::kVersionedName;
        if (PyCapsule_IsValid(self, wanted) == 0) return;  // a consumer has taken it
        auto* managed = static_cast<M*>(PyCapsule_GetPointer(self, wanted));
        managed->deleter(managed);
    });
    if (capsule == nullptr) {
        delete made;
        throw py::error_already_set();
    }
    return py::reinterpret_steal<py::capsule>(capsule);
}

py::capsule to_dlpack(const DeviceArray& a, const py::object& stream, const py::object& max_version, const py::object& dl_device,
                      const py::object& copy) {
    if (!dl_device.is_none() && !dl_device.equal(py::make_tuple(dlpack::kCuda, a.device)))
        throw py::buffer_error("__dlpack__: the array is on CUDA device " + std::to_string(a.device) + " and is not moved; download it instead");
    if (!copy.is_none() && py::cast<bool>(copy)) throw py::buffer_error("__dlpack__: no copy is made; copy the array first");
    const auto consumer = stream.is_none() ? index_t{1} : py::cast<index_t>(stream);
    require(consumer == -1 || consumer > 0, "__dlpack__: a stream of CUDA is None, -1 or positive, not ", consumer);
    if (consumer != -1) synchronize_queues(a.device);
    const bool versioned = !max_version.is_none() && py::cast<py::tuple>(max_version)[0].cast<index_t>() >= 1;
    if (versioned) {
        auto* made = new Export<dlpack::ManagedVersioned>(a);
        made->managed.version = {1, 0};
        made->managed.flags = a.read_only ? dlpack::kReadOnly : 0;
        return capsule_of(made, dlpack::kVersionedName);
    }
    if (a.read_only) throw py::buffer_error("__dlpack__: a read-only array wants a consumer of DLPack 1.0; pass max_version");
    return capsule_of(new Export<dlpack::Managed>(a), dlpack::kName);
}

// --- others' for us

// Holds the array of another library for as long as our queue may read it.
struct Borrowed {
    std::shared_ptr<cuda::Stream> stream;
    std::function<void()> release;
    Borrowed(std::shared_ptr<cuda::Stream> reader, std::function<void()> then) : stream(std::move(reader)), release(std::move(then)) {}
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    ~Borrowed() {
        try {
            py::gil_scoped_release nogil;
            stream->synchronize();
        } catch (...) {  // NOLINT(bugprone-empty-catch): told to whoever waits next
        }
        release();
    }
};

py::object borrow(const Queue& queue, std::function<void()> release) {
    auto* held = new Borrowed(queue.share(), std::move(release));
    return py::capsule(held, [](void* p) { delete static_cast<Borrowed*>(p); });
}

struct Described {
    std::uintptr_t data;
    Kind kind;
    std::vector<index_t> shape, strides;  // in elements; no strides: row-major
    bool read_only;
};

DeviceArray view_of(const Described& from, const Queue& queue) {
    const std::size_t ndim = from.shape.size();
    require(ndim == 1 || ndim == 2, "an array has 1 or 2 dimensions, not ", ndim, "; reshape it first");
    DeviceArray a;
    a.data = reinterpret_cast<void*>(from.data);  // NOLINT(performance-no-int-to-ptr): as an integer it comes
    a.kind = from.kind;
    a.ndim = static_cast<int>(ndim);
    a.rows = from.shape[0];
    a.cols = ndim == 2 ? from.shape[1] : 1;
    a.stride = std::max<index_t>(a.cols, 1);
    a.read_only = from.read_only;
    a.device = queue.device();
    if (!from.strides.empty() && a.size() > 0) {
        const index_t last = ndim == 2 ? a.cols : a.rows;
        const bool dense = last <= 1 || from.strides[ndim - 1] == 1;
        const bool in_order = ndim == 1 || a.rows <= 1 || from.strides[0] >= a.cols;
        require(dense && in_order, "the elements of a row must be neighbours and the rows in order; make it row-major first (torch: contiguous())");
        if (ndim == 2 && a.rows > 1) a.stride = from.strides[0];
    }
    if (a.size() > 0) {
        const int device = cuda::device_of(a.data);
        require(device >= 0, "the array is in memory of the host, not of a device; move it there first, or give it to upload");
        require(device == queue.device(), "the array is on device ", device, " and the queue is one of device ", queue.device(),
                "; move it to that device first");
    }
    return a;
}

constexpr const char* kConvert = "; convert it to float32, float64, int64 or uint8 first";

Kind kind_of_typestr(const std::string& name) {
    for (const Kind kind : {Kind::float32, Kind::float64, Kind::int64, Kind::uint8})
        if (name == typestr(kind) || (kind == Kind::uint8 && (name == "<u1" || name == "=u1"))) return kind;
    throw std::invalid_argument("arrays of type " + name + " are not taken" + kConvert);
}

DeviceArray from_interface(const py::object& a, const Queue& queue) {
    if (!py::hasattr(a, "__cuda_array_interface__")) throw py::type_error("the object has no __cuda_array_interface__: it is no array of a device");
    const py::dict facts = a.attr("__cuda_array_interface__");
    const auto get = [&](const char* key) { return facts.contains(key) ? py::object(facts[key]) : py::object(py::none()); };
    require(get("mask").is_none(), "the array has a mask; fill it first");
    const py::tuple data = facts["data"];
    Described from{data[0].is_none() ? 0 : data[0].cast<std::uintptr_t>(), kind_of_typestr(py::cast<std::string>(facts["typestr"])),
                   py::cast<std::vector<index_t>>(facts["shape"]), {}, data[1].cast<bool>()};
    if (const py::object strides = get("strides"); !strides.is_none())
        for (const index_t bytes : py::cast<std::vector<index_t>>(strides)) {
            require(bytes % size_of(from.kind) == 0, "strides of ", bytes, " bytes are no whole elements; copy the array first");
            from.strides.push_back(bytes / size_of(from.kind));
        }
    require(from.strides.empty() || from.strides.size() == from.shape.size(), "the array has ", from.shape.size(), " dimensions and ",
            from.strides.size(), " strides");
    DeviceArray view = view_of(from, queue);
    if (const py::object stream = get("stream"); !stream.is_none()) {
        const auto native = py::cast<std::uintptr_t>(stream);
        require(native != 0, "__cuda_array_interface__ forbids a stream of 0");
        queue.stream().wait_for_native(native);
    }
    view.owner = borrow(queue, [keep = py::object(a)]() mutable { keep = py::object(); });
    return view;
}

Kind kind_of_type(dlpack::Type type) {
    for (const Kind kind : {Kind::float32, Kind::float64, Kind::int64, Kind::uint8}) {
        const dlpack::Type known = type_of(kind);
        if (type.code == known.code && type.bits == known.bits && type.lanes == 1) return kind;
    }
    throw std::invalid_argument("arrays of DLPack type " + std::to_string(type.code) + " with " + std::to_string(type.bits) + " bits are not taken" +
                                kConvert);
}

DeviceArray view_of(const dlpack::Tensor& tensor, bool read_only, const Queue& queue) {
    require(tensor.device.type == dlpack::kCuda, "the array is on DLPack device type ", tensor.device.type, ", not on a CUDA device (",
            dlpack::kCuda, "); move it there first");
    Described from{reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset, kind_of_type(tensor.dtype), {}, {}, read_only};
    from.shape.assign(tensor.shape, tensor.shape + tensor.ndim);
    if (tensor.strides != nullptr) from.strides.assign(tensor.strides, tensor.strides + tensor.ndim);
    return view_of(from, queue);
}

// From here the structure is ours, to be deleted by its deleter, whatever goes wrong.
template <class M>
DeviceArray take(const py::capsule& capsule, const char* name, const char* used, const Queue& queue) {
    auto* managed = static_cast<M*>(PyCapsule_GetPointer(capsule.ptr(), name));
    if (managed == nullptr || PyCapsule_SetName(capsule.ptr(), used) != 0) throw py::error_already_set();
    const py::object owner = borrow(queue, [managed] {
        if (managed->deleter != nullptr) managed->deleter(managed);
    });
    bool read_only = false;
    if constexpr (std::is_same_v<M, dlpack::ManagedVersioned>) {
        require(managed->version.major == 1, "the array is of DLPack ", managed->version.major, ", and 1 is known here");
        read_only = (managed->flags & dlpack::kReadOnly) != 0;
    }
    DeviceArray view = view_of(managed->tensor, read_only, queue);
    view.owner = owner;
    return view;
}

py::object capsule_from(const py::object& a, const Queue& queue) {
    const py::object method = a.attr("__dlpack__");
    const auto stream = reinterpret_cast<std::uintptr_t>(queue.stream().native());
    try {
        return method(py::arg("stream") = stream, py::arg("max_version") = py::make_tuple(1, 0));
    } catch (py::error_already_set& error) {
        if (!error.matches(PyExc_TypeError)) throw;  // a producer of before DLPack 1.0 knows no max_version
    }
    return method(py::arg("stream") = stream);
}

DeviceArray from_dlpack(const py::object& a, const Queue& queue) {
    if (!py::hasattr(a, "__dlpack__") || !py::hasattr(a, "__dlpack_device__")) throw py::type_error("the object has no __dlpack__: it is no array");
    const auto [type, id] = py::cast<std::pair<index_t, index_t>>(a.attr("__dlpack_device__")());
    require(type == dlpack::kCuda, "the array is on DLPack device type ", type, ", not on a CUDA device (", dlpack::kCuda, "); move it there first");
    require(id == queue.device(), "the array is on device ", id, " and the queue is one of device ", queue.device(), "; move it to that device first");
    const py::object made = capsule_from(a, queue);
    require(PyCapsule_CheckExact(made.ptr()) != 0, "__dlpack__ gave no capsule");
    const auto capsule = py::reinterpret_borrow<py::capsule>(made);
    if (PyCapsule_IsValid(capsule.ptr(), dlpack::kVersionedName) != 0)
        return take<dlpack::ManagedVersioned>(capsule, dlpack::kVersionedName, dlpack::kUsedVersionedName, queue);
    require(PyCapsule_IsValid(capsule.ptr(), dlpack::kName) != 0, "the capsule of __dlpack__ has been used already");
    return take<dlpack::Managed>(capsule, dlpack::kName, dlpack::kUsedName, queue);
}

}  // namespace

void register_cuda_exchange(py::module_& m) {
    auto array = py::reinterpret_borrow<py::class_<DeviceArray>>(m.attr("Array"));
    array.def_property_readonly("__cuda_array_interface__", &interface_of);
    array.def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(), py::arg("max_version") = py::none(),
              py::arg("dl_device") = py::none(), py::arg("copy") = py::none());
    array.def("__dlpack_device__", [](const DeviceArray& a) { return py::make_tuple(dlpack::kCuda, a.device); });
    m.def("from_interface", &from_interface, py::arg("a"), py::arg("queue"));
    m.def("from_dlpack", &from_dlpack, py::arg("a"), py::arg("queue"));
}

}  // namespace voxridge::bind
