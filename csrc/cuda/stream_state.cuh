// What a Stream holds.
#pragma once

#include <cstddef>

#include "cuda/check.cuh"

namespace voxridge::cuda {

struct Event::State {
    int device = 0;
    cudaEvent_t event = nullptr;
    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State();
};

// The handles of the libraries are made when first asked for: each takes memory of the device. Not for two threads at once.
struct Stream::State {
    int device = 0;
    cudaStream_t stream = nullptr;
    cublasHandle_t blas = nullptr;
    cusolverDnHandle_t solver = nullptr;
    cusolverDnParams_t params = nullptr;
    std::shared_ptr<Memory> info;
    std::vector<std::byte> host_work;

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State();

    cublasHandle_t get_blas();
    cusolverDnHandle_t get_solver();
    void* get_host_work(std::size_t bytes);  // grows and stays
    int* get_info();
    // The value of `info` once the work before it is done; throws where it names an argument.
    index_t read_info(const char* call);
};

}  // namespace voxridge::cuda
