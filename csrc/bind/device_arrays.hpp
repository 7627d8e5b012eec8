// Arrays on a device as the views the CUDA ops take: no copies, no conversions. Python keeps the arrays alive during the call, and memory
// that is given back waits for what is queued on it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>

#include "bind/views.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::bind {

enum class Kind : std::uint8_t { float32, float64, int64, uint8 };

inline const char* name_of(Kind kind) {
    switch (kind) {
        case Kind::float32: return "float32";
        case Kind::float64: return "float64";
        case Kind::int64: return "int64";
        default: return "uint8";
    }
}

inline index_t size_of(Kind kind) { return kind == Kind::float32 ? 4 : kind == Kind::uint8 ? 1 : 8; }

template <class T>
constexpr Kind kind_of() {
    using U = std::remove_const_t<T>;
    static_assert(std::is_same_v<U, float> || std::is_same_v<U, double> || std::is_same_v<U, index_t> || std::is_same_v<U, unsigned char>);
    if constexpr (std::is_same_v<U, float>) return Kind::float32;
    else if constexpr (std::is_same_v<U, double>) return Kind::float64;
    else if constexpr (std::is_same_v<U, index_t>) return Kind::int64;
    else return Kind::uint8;
}

// A vector: ndim 1, rows = size, cols = 1, stride 1.
struct DeviceArray {
    std::shared_ptr<cuda::Memory> memory;  // ours, or
    py::object owner;                      // what keeps somebody else's memory
    void* data = nullptr;
    Kind kind = Kind::float32;
    int ndim = 2;
    index_t rows = 0, cols = 0, stride = 0;  // stride in elements
    int device = 0;
    bool read_only = false;

    index_t size() const { return rows * cols; }
    index_t pitch() const { return stride * size_of(kind); }
    bool contiguous() const { return rows <= 1 || size() == 0 || stride == cols; }
    // As messages have it: "float32 (3, 4)", "int64 (5,)".
    std::string text() const {
        std::ostringstream out;
        out << name_of(kind) << " (" << rows;
        if (ndim == 2) out << ", " << cols << ')';
        else out << ",)";
        return out.str();
    }
};

using OptionalArray = std::optional<DeviceArray>;

// A stream as Python holds it. Made and let go with the GIL held.
class Queue {
public:
    explicit Queue(int device);
    cuda::Stream& stream() const { return *stream_; }
    int device() const { return stream_->device(); }
    const std::shared_ptr<cuda::Stream>& share() const { return stream_; }

private:
    std::shared_ptr<cuda::Stream> stream_;
};

// Waits for all queues of a device, without the GIL: what an array holds is then there for anybody.
void synchronize_queues(int device);

// float32, float64, int64 or uint8 of this machine's byte order, else a ValueError.
Kind kind_of_dtype(const py::object& dtype);
py::dtype dtype_of(Kind kind);

// An array of another device is a ValueError.
inline void check_device(const Queue& queue, const DeviceArray& a, const char* name) {
    require(a.device == queue.device(), name, " is on device ", a.device, ", and the queue is one of device ", queue.device());
}

inline void check_device(const Queue& queue, const OptionalArray& a, const char* name) {
    if (a) check_device(queue, *a, name);
}

template <class T>
void check_access(const DeviceArray& a, int ndim, const char* name) {
    require(a.ndim == ndim && a.kind == kind_of<T>(), name, " is ", a.text(), ", expected ", name_of(kind_of<T>()), " with ", ndim,
            ndim == 1 ? " dimension" : " dimensions");
    require(std::is_const_v<T> || !a.read_only, name, " is read-only; copy it into an array of its own first");
}

// Requires two dimensions and the kind of T, which is const for what is only read.
template <class T>
Matrix<T> matrix(const DeviceArray& a, const char* name) {
    check_access<T>(a, 2, name);
    return {static_cast<T*>(a.data), a.rows, a.cols, a.stride};
}

// An empty matrix for None.
template <class T>
Matrix<T> matrix(const OptionalArray& a, const char* name) {
    return a ? matrix<T>(*a, name) : Matrix<T>{};
}

// Requires one dimension, the size and the kind of T.
template <class T>
T* vector(const DeviceArray& a, index_t size, const char* name) {
    check_access<T>(a, 1, name);
    require(a.rows == size, name, " is ", a.text(), ", expected ", size, " elements");
    return static_cast<T*>(a.data);
}

// nullptr for None.
template <class T>
T* vector(const OptionalArray& a, index_t size, const char* name) {
    return a ? vector<T>(*a, size, name) : nullptr;
}

// f(T{}) with the T of the array, float or double.
template <class F>
void with_float(const DeviceArray& a, const char* name, F&& f) {
    require(a.kind == Kind::float32 || a.kind == Kind::float64, name, " must be float32 or float64, not ", name_of(a.kind));
    if (a.kind == Kind::float32) f(float{});
    else f(double{});
}

inline cuda::Precision precision_of(const std::string& name) {
    require(name == "float32" || name == "tf32" || name == "bf16", "precision must be 'float32', 'tf32' or 'bf16', not '", name, "'");
    return name == "tf32" ? cuda::Precision::tf32 : name == "bf16" ? cuda::Precision::bf16 : cuda::Precision::float32;
}

void register_cuda_blas(py::module_& m);
void register_cuda_delayed(py::module_& m);
void register_cuda_design(py::module_& m);
void register_cuda_exchange(py::module_& m);  // after register_cuda_memory
void register_cuda_memory(py::module_& m);
void register_cuda_passes(py::module_& m);
void register_cuda_scores(py::module_& m);

}  // namespace voxridge::bind
