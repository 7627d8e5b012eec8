// Kernels on the device: see block.hpp.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#include <new>

#define VOXRIDGE_HD __host__ __device__
#define VOXRIDGE_DEVICE __device__

namespace voxridge::cuda {

class DeviceBlock {
public:
    __device__ unsigned x() const { return blockIdx.x; }
    __device__ unsigned y() const { return blockIdx.y; }
    __device__ unsigned z() const { return blockIdx.z; }
    __device__ int thread() const { return static_cast<int>(threadIdx.x); }
    __device__ void sync() const { __syncthreads(); }
    __device__ void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) const {
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
    __device__ void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) const {
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

__device__ inline std::uint32_t to_tf32(float value) {
    std::uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
    return bits;
}

__device__ inline std::uint32_t to_bf16x2(float low, float high) {
    std::uint32_t bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}

// How many blocks a multiprocessor is to hold at least, where the kernel says so in kBlocks: a limit to its registers. 0: none.
template <class Kernel>
constexpr int blocks_of_multiprocessor() {
    if constexpr (requires { Kernel::kBlocks; })
        return Kernel::kBlocks;
    else
        return 0;
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, blocks_of_multiprocessor<Kernel>()) run_kernel(const __grid_constant__ Kernel kernel) {
    __shared__ typename Kernel::Shared shared;
    kernel(DeviceBlock{}, shared);
}

// The device of this thread while the scope lasts, because threads come and go. The device before it is restored where it has a context:
// other libraries of the process count on it. With std::nothrow, for destructors, entered() says whether the device could be set.
class DeviceScope {
public:
    explicit DeviceScope(int device);
    DeviceScope(int device, std::nothrow_t) noexcept;
    ~DeviceScope();
    DeviceScope(const DeviceScope&) = delete;
    DeviceScope& operator=(const DeviceScope&) = delete;
    bool entered() const { return entered_; }

private:
    int previous_ = -1;  // -1: nothing to restore
    bool entered_ = false;
};

// Throws Failure where the last launch failed; `kernel` names it in the message. In devices.cu.
void check_launch(const char* kernel);

template <class Kernel>
void launch(Stream& stream, Grid grid, const Kernel& kernel, const char* name = __PRETTY_FUNCTION__) {
    static_assert(Kernel::kSyncs || !Kernel::kSyncs);  // only the emulator asks; nvcc warns of members that nobody names
    if (grid.x <= 0 || grid.y <= 0 || grid.z <= 0) return;
    require(grid.x < (index_t{1} << 31) && grid.y <= kMaxGridYZ && grid.z <= kMaxGridYZ, "launch: the grid (", grid.x, ", ", grid.y, ", ", grid.z,
            ") is too large; use smaller tiles");
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
    const DeviceScope scope(stream.device());
    run_kernel<Kernel><<<blocks, Kernel::kThreads, 0, static_cast<cudaStream_t>(stream.native())>>>(kernel);
    check_launch(name);
}

}  // namespace voxridge::cuda
