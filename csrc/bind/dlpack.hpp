// The structures of DLPack 1.x (https://dmlc.github.io/dlpack), as much of them as a dense array on a device needs. They are an ABI: nothing
// here may be changed.
#pragma once

#include <cstdint>

namespace voxridge::bind::dlpack {

inline constexpr std::int32_t kCpu = 1, kCuda = 2, kCudaHost = 3, kCudaManaged = 13;
inline constexpr std::uint8_t kInt = 0, kUint = 1, kFloat = 2;
inline constexpr std::uint64_t kReadOnly = 1;

struct Device {
    std::int32_t type, id;
};

struct Type {
    std::uint8_t code, bits;
    std::uint16_t lanes;
};

struct Tensor {
    void* data;
    Device device;
    std::int32_t ndim;
    Type dtype;
    std::int64_t* shape;
    std::int64_t* strides;  // in elements; nullptr before version 1.2: row-major
    std::uint64_t byte_offset;
};

struct Managed {  // capsule "dltensor"
    Tensor tensor;
    void* context;
    void (*deleter)(Managed*);
};

struct Version {
    std::uint32_t major, minor;
};

struct ManagedVersioned {  // capsule "dltensor_versioned"
    Version version;
    void* context;
    void (*deleter)(ManagedVersioned*);
    std::uint64_t flags;
    Tensor tensor;
};

inline constexpr const char* kName = "dltensor";
inline constexpr const char* kUsedName = "used_dltensor";
inline constexpr const char* kVersionedName = "dltensor_versioned";
inline constexpr const char* kUsedVersionedName = "used_dltensor_versioned";

}  // namespace voxridge::bind::dlpack
