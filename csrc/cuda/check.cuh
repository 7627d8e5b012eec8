// The gates for errors of CUDA, cuBLAS and cuSOLVER. check(result, "call") throws Failure with the call, the library's name for the error and
// the remedy where one is known; check(result, ...parts) puts the parts together only when the call has failed. ignore() is its twin for
// destructors: it never throws, and says whether the call went well.
#pragma once

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>

#include <sstream>
#include <string>

#include "cuda/runtime.hpp"

namespace voxridge::cuda {

// Throws Failure with what missing() says, where it says something.
void require_usable();

// "name (description). Remedy"
std::string describe(cudaError_t error);
std::string describe(cublasStatus_t status);
std::string describe(cusolverStatus_t status);

inline bool succeeded(cudaError_t error) { return error == cudaSuccess; }
inline bool succeeded(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }
inline bool succeeded(cusolverStatus_t status) { return status == CUSOLVER_STATUS_SUCCESS; }

inline bool out_of_memory(cudaError_t error) { return error == cudaErrorMemoryAllocation; }
inline bool out_of_memory(cublasStatus_t status) { return status == CUBLAS_STATUS_ALLOC_FAILED; }
inline bool out_of_memory(cusolverStatus_t status) { return status == CUSOLVER_STATUS_ALLOC_FAILED; }

template <class Result, class... Parts>
void check(Result result, const Parts&... parts) {
    if (succeeded(result)) return;
    static_cast<void>(cudaGetLastError());  // or the next launch would report this error again
    std::ostringstream message;
    (message << ... << parts);
    message << ": " << describe(result);
    if (out_of_memory(result)) throw OutOfMemory(message.str());
    throw Failure(message.str());
}

template <class Result>
bool ignore(Result result) noexcept {
    if (!succeeded(result)) static_cast<void>(cudaGetLastError());
    return succeeded(result);
}

}  // namespace voxridge::cuda
