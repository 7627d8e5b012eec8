// What the CUDA ops need of the CUDA runtime, cuBLAS and cuSOLVER, in plain C++: no CUDA header is included here, and nothing else in csrc/
// calls those libraries. Two files implement it: cuda/runtime.cu, and emulated/runtime.cpp, which runs the same ops on the processor for the
// tests of machines without a GPU.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/matrix.hpp"

namespace voxridge::cuda {

// Everything that CUDA, cuBLAS or cuSOLVER reports: what was called, the library's name for the error, and the remedy where one is known.
struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};
struct OutOfMemory : Failure {
    using Failure::Failure;
};

// The arithmetic of float32 products: float32 as it is, or inputs rounded to 10 or 7 bits (sums stay float32). float64 knows only itself.
enum class Precision : std::uint8_t { float32,
                                      tf32,
                                      bf16 };

struct DeviceFacts {
    std::string name;
    int major, minor;  // compute capability
    int multiprocessors;
    index_t total_bytes, free_bytes;
    double clock_hz, memory_clock_hz;
    int memory_bus_bits;
};

// "" where a device can be used, else what is missing: the driver, a driver new enough, a device.
std::string missing();
// free_bytes is total_bytes for a device that this process has not used: to ask, it would have to take memory of every device there is. A
// Stream is use.
std::vector<DeviceFacts> devices();
std::string runtime_version();

// Memory of a device, or page-locked memory of the host; given back when the last owner goes, which waits for what is queued.
class Memory {
public:
    static std::shared_ptr<Memory> on_device(int device, std::size_t bytes);
    static std::shared_ptr<Memory> pinned(std::size_t bytes);
    ~Memory();
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    void* data() const { return data_; }
    std::size_t bytes() const { return bytes_; }
    int device() const { return device_; }  // -1: of the host

private:
    Memory(void* data, std::size_t bytes, int device) : data_(data), bytes_(bytes), device_(device) {}
    void* data_;
    std::size_t bytes_;
    int device_;
};

// Whether the device may copy from this memory of the host while it computes.
bool is_pinned(const void* host);
// The device that memory is on; -1 for the host's.
int device_of(const void* pointer);

// A point in the work of a stream.
class Event {
public:
    struct State;
    explicit Event(std::shared_ptr<State> state) : state_(std::move(state)) {}
    void synchronize() const;
    const std::shared_ptr<State>& state() const { return state_; }

private:
    std::shared_ptr<State> state_;
};

// Work in order on one device, with the handles and workspaces of the libraries. Calls return once the work is queued; copies between the
// device and memory of the host that is not pinned may wait. Pitches and widths are in bytes.
class Stream {
public:
    struct State;
    explicit Stream(int device);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    int device() const { return device_; }
    void* native() const;  // cudaStream_t
    void synchronize();
    Event record();
    void wait(const Event& event);
    void wait_for_native(std::uintptr_t stream);  // somebody else's cudaStream_t, by its address; 0 is the default stream

    void upload(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows);
    void download(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows);
    void copy(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows);
    void zero(void* to, index_t pitch, index_t width, index_t rows);

    // BLAS and LAPACK as the libraries have them: column-major; 'N' or 'T', 'L' or 'U' (triangle), 'L' or 'R' (side).
    void gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, float alpha, const float* a, index_t lda, const float* b, index_t ldb,
              float beta, float* c, index_t ldc, Precision precision);
    void gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, double alpha, const double* a, index_t lda, const double* b,
              index_t ldb, double beta, double* c, index_t ldc);
    void syrk(char uplo, char trans, index_t n, index_t k, double alpha, const double* a, index_t lda, double beta, double* c, index_t ldc);
    void trsm(char side, char uplo, char trans, index_t m, index_t n, const double* a, index_t lda, double* b, index_t ldb);  // non-unit
    index_t potrf(char uplo, index_t n, double* a, index_t lda);      // waits; info
    index_t potri(char uplo, index_t n, double* a, index_t lda);      // waits; info. In invert_factor.cu, by the calls above
    index_t syevd(char uplo, index_t n, double* a, index_t lda, double* w);  // waits; eigenvectors in the columns of a, w on the device; info

    State& state() { return *state_; }

    // Memory for what an op leaves between its kernels; the next op that asks gets the same, and runs after. It grows, which waits.
    void* scratch(std::size_t bytes) {
        if (!scratch_ || scratch_->bytes() < bytes) {
            scratch_.reset();
            scratch_ = Memory::on_device(device_, bytes);
        }
        return scratch_->data();
    }

private:
    int device_;
    std::unique_ptr<State> state_;
    std::shared_ptr<Memory> scratch_;
};

}  // namespace voxridge::cuda
