// What there is: devices, versions and errors in words; memory.
#include <cuda.h>  // types only: the driver's functions come through the runtime, so that nothing links libcuda

#include <algorithm>
#include <cstdlib>

#include "cuda/block.hpp"
#include "cuda/check.cuh"

namespace voxridge::cuda {
namespace {

constexpr int kBuiltFor[] = {__CUDA_ARCH_LIST__};  // 800, 900, ...

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

std::string built_for() {
    std::string all;
    for (const int architecture : kBuiltFor)
        all += (all.empty() ? "" : ", ") + std::to_string(architecture / 100) + "." + std::to_string(architecture % 100 / 10);
    return all;
}

std::string gibibytes(double bytes) {
    std::ostringstream text;
    text.precision(2);
    text << std::fixed << bytes / (index_t{1} << 30) << " GiB";
    return text.str();
}

int attribute(cudaDeviceAttr which, int device) {
    int value = 0;
    check(cudaDeviceGetAttribute(&value, which, device), "cudaDeviceGetAttribute(", static_cast<int>(which), ", device ", device, ")");
    return value;
}

int compute_capability(int device) {
    return 100 * attribute(cudaDevAttrComputeCapabilityMajor, device) + 10 * attribute(cudaDevAttrComputeCapabilityMinor, device);
}

std::string remedy(cudaError_t error) {
    switch (error) {
        case cudaErrorInsufficientDriver:
            return "Update the NVIDIA driver";
        case cudaErrorNoKernelImageForDevice:
        case cudaErrorInvalidDeviceFunction:
        case cudaErrorUnsupportedPtxVersion:
            return "This build has code for compute capability " + built_for() +
                   "; for another device build voxridge with -DVOXRIDGE_CUDA_ARCHITECTURES=...";
        case cudaErrorInitializationError:
            return "A process forked from one that has used CUDA cannot use it: start processes by 'spawn' or 'forkserver'";
        case cudaErrorDevicesUnavailable:
            return "Another process holds the device alone, or its compute mode forbids this one: see nvidia-smi";
        case cudaErrorSystemNotReady:
            return "A service of the driver does not run; with NVSwitch that is nvidia-fabricmanager";
        case cudaErrorSystemDriverMismatch:
            return "The driver's library and its kernel module are of different versions: load the module again, or restart the machine";
        case cudaErrorIllegalAddress:
        case cudaErrorMisalignedAddress:
        case cudaErrorIllegalInstruction:
        case cudaErrorLaunchFailure:
        case cudaErrorAssert:
            return "An earlier kernel may be the cause: CUDA_LAUNCH_BLOCKING=1 names it. This process cannot use the device any more";
        case cudaErrorMemoryAllocation:
            return "Use smaller tiles, or give back memory that other work holds on the device";
        default:
            return "";
    }
}

std::string sentence(const char* name, const char* description, const std::string& remedy) {
    return std::string(name) + (*description ? std::string(" (") + description + ")" : "") + (remedy.empty() ? "" : ". " + remedy);
}

const char* name_of(cusolverStatus_t status) {  // cuSOLVER has no function for it
    switch (status) {
#define VOXRIDGE_NAME(name) \
    case name:              \
        return #name;
        VOXRIDGE_NAME(CUSOLVER_STATUS_NOT_INITIALIZED)
        VOXRIDGE_NAME(CUSOLVER_STATUS_ALLOC_FAILED)
        VOXRIDGE_NAME(CUSOLVER_STATUS_INVALID_VALUE)
        VOXRIDGE_NAME(CUSOLVER_STATUS_ARCH_MISMATCH)
        VOXRIDGE_NAME(CUSOLVER_STATUS_EXECUTION_FAILED)
        VOXRIDGE_NAME(CUSOLVER_STATUS_INTERNAL_ERROR)
        VOXRIDGE_NAME(CUSOLVER_STATUS_NOT_SUPPORTED)
        VOXRIDGE_NAME(CUSOLVER_STATUS_INVALID_WORKSPACE)
#undef VOXRIDGE_NAME
        default:
            return "another error of cuSOLVER";
    }
}

// cudaSetDevice would make a context, which takes hundreds of MiB of a device that is perhaps never used.
bool has_context(int device) noexcept {
    using GetState = CUresult (*)(CUdevice, unsigned*, int*);
    static const auto get_state = [] {
        void* found = nullptr;
        return ignore(cudaGetDriverEntryPointByVersion("cuDevicePrimaryCtxGetState", &found, 7000, cudaEnableDefault, nullptr))
                   ? reinterpret_cast<GetState>(found)
                   : nullptr;
    }();
    unsigned flags = 0;
    int active = 0;
    return get_state != nullptr && get_state(device, &flags, &active) == CUDA_SUCCESS && active != 0;
}

std::string why_no_device(cudaError_t error) {
    int driver = 0, runtime = 0;
    ignore(cudaDriverGetVersion(&driver));
    ignore(cudaRuntimeGetVersion(&runtime));
    if (driver == 0) return "there is no NVIDIA driver (libcuda.so.1 was not found). CUDA wants an NVIDIA GPU with its driver installed";
    if (error == cudaErrorInsufficientDriver)
        return "the NVIDIA driver is too old: it knows CUDA " + version(driver) + ", and this build runs on CUDA " + version(runtime) +
               ". Update the driver";
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if ((error == cudaErrorNoDevice || error == cudaSuccess) && visible != nullptr)
        return "CUDA_VISIBLE_DEVICES is '" + std::string(visible) + "', which hides every CUDA device, or there is none";
    if (error == cudaErrorNoDevice || error == cudaSuccess) return "the NVIDIA driver finds no CUDA device: see nvidia-smi";
    return "cudaGetDeviceCount: " + describe(error);
}

}  // namespace

std::string describe(cudaError_t error) { return sentence(cudaGetErrorName(error), cudaGetErrorString(error), remedy(error)); }

std::string describe(cublasStatus_t status) {
    switch (status) {
        case CUBLAS_STATUS_NOT_INITIALIZED:
        case CUBLAS_STATUS_ALLOC_FAILED:
            return sentence(cublasGetStatusName(status), "", "cuBLAS found no memory on the device for its own use: use smaller tiles");
        case CUBLAS_STATUS_ARCH_MISMATCH:
            return sentence(cublasGetStatusName(status), "", "This cuBLAS has no code for the device: install another nvidia-cublas");
        default:
            return sentence(cublasGetStatusName(status), cublasGetStatusString(status), "");
    }
}

std::string describe(cusolverStatus_t status) {
    const bool memory = status == CUSOLVER_STATUS_NOT_INITIALIZED || out_of_memory(status);
    const std::string number = "status " + std::to_string(static_cast<int>(status));
    return sentence(name_of(status), number.c_str(), memory ? "cuSOLVER found no memory on the device for its own use: use smaller tiles" : "");
}

std::string missing() try {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (!ignore(error) || count == 0) return why_no_device(error);
    int newest = 0;
    for (int device = 0; device < count; ++device) newest = std::max(newest, compute_capability(device));
    if (newest < *std::min_element(std::begin(kBuiltFor), std::end(kBuiltFor)))
        return "every CUDA device is too old: the newest has compute capability " + version(10 * newest) + ", and this build has code for " +
               built_for();
    return "";
} catch (const std::exception& error) {
    return error.what();
}

void require_usable() {
    const std::string reason = missing();
    if (!reason.empty()) throw Failure("CUDA cannot be used: " + reason);
}

std::vector<DeviceFacts> devices() {
    int count = 0;
    if (!ignore(cudaGetDeviceCount(&count))) return {};
    std::vector<DeviceFacts> all;
    for (int device = 0; device < count; ++device) {
        cudaDeviceProp properties{};
        check(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties(device ", device, ")");
        std::size_t total = properties.totalGlobalMem, free = total;
        if (has_context(device)) {
            const DeviceScope scope(device, std::nothrow);
            if (scope.entered()) ignore(cudaMemGetInfo(&free, &total));
        }
        all.push_back({properties.name, properties.major, properties.minor, properties.multiProcessorCount, static_cast<index_t>(total),
                       static_cast<index_t>(free), 1e3 * attribute(cudaDevAttrClockRate, device),
                       1e3 * attribute(cudaDevAttrMemoryClockRate, device), attribute(cudaDevAttrGlobalMemoryBusWidth, device)});
    }
    return all;
}

DeviceScope::DeviceScope(int device) : DeviceScope(device, std::nothrow) {
    if (entered_) return;
    require_usable();
    check(cudaSetDevice(device), "cudaSetDevice(", device, ")");
    entered_ = true;
}

DeviceScope::DeviceScope(int device, std::nothrow_t) noexcept {
    int current = -1;
    if (!ignore(cudaGetDevice(&current))) return;
    entered_ = current == device || ignore(cudaSetDevice(device));
    if (entered_ && current != device && has_context(current)) previous_ = current;
}

DeviceScope::~DeviceScope() {
    if (previous_ >= 0) ignore(cudaSetDevice(previous_));
}

void check_launch(const char* kernel) { check(cudaGetLastError(), "the launch of ", kernel); }

std::shared_ptr<Memory> Memory::on_device(int device, std::size_t bytes) {
    require_usable();
    const DeviceScope scope(device);
    void* data = nullptr;
    const cudaError_t error = bytes == 0 ? cudaSuccess : cudaMalloc(&data, bytes);
    if (out_of_memory(error)) {
        ignore(error);
        std::size_t free = 0, total = 0;
        ignore(cudaMemGetInfo(&free, &total));
        check(error, "cudaMalloc of ", bytes, " bytes (", gibibytes(static_cast<double>(bytes)), ") on device ", device, ", which has ", free,
              " (", gibibytes(static_cast<double>(free)), ") free of ", total, " (", gibibytes(static_cast<double>(total)), ")");
    }
    check(error, "cudaMalloc of ", bytes, " bytes on device ", device);
    return std::shared_ptr<Memory>(new Memory(data, bytes, device));
}

std::shared_ptr<Memory> Memory::pinned(std::size_t bytes) {
    require_usable();
    void* data = nullptr;
    // Portable: every device may copy from it.
    if (bytes > 0)
        check(cudaHostAlloc(&data, bytes, cudaHostAllocPortable), "cudaHostAlloc of ", bytes, " bytes (", gibibytes(static_cast<double>(bytes)),
              ") of page-locked memory of the host");
    return std::shared_ptr<Memory>(new Memory(data, bytes, -1));
}

// cudaFree "may" wait for queued work, and cudaFreeHost says nothing of it: so both are told to. When the process ends, the runtime may be
// gone before the last Memory; then there is nothing left to free.
Memory::~Memory() {
    if (data_ == nullptr) return;
    int count = 0;
    if (!ignore(cudaGetDeviceCount(&count))) return;
    for (int device = 0; device < count; ++device) {
        if (device_ == -1 ? !has_context(device) : device != device_) continue;
        const DeviceScope scope(device, std::nothrow);
        if (!scope.entered()) continue;
        ignore(cudaDeviceSynchronize());
        if (device_ == device) ignore(cudaFree(data_));
    }
    if (device_ == -1) ignore(cudaFreeHost(data_));
}

bool is_pinned(const void* host) {
    cudaPointerAttributes attributes{};
    return ignore(cudaPointerGetAttributes(&attributes, host)) && attributes.type == cudaMemoryTypeHost;
}

int device_of(const void* pointer) {
    cudaPointerAttributes attributes{};
    if (!ignore(cudaPointerGetAttributes(&attributes, pointer))) return -1;
    return attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged ? attributes.device : -1;
}

}  // namespace voxridge::cuda
