// What the parts of the emulator share: one lock, the registry of memory, and the queues.
#pragma once

#include <map>
#include <mutex>
#include <string>

#include "cuda/runtime.hpp"

namespace voxridge::cuda::emulated {

// Held while memory comes or goes and while queues run; work that is queued never takes the GIL.
std::recursive_mutex& world();

// --- memory.cpp
// Throws Failure unless all of [pointer, pointer + bytes) is one piece of memory of `device`. what: "gemm: a".
void check_on_device(const std::string& what, const void* pointer, index_t bytes, int device);
// The same for any device.
void check_on_some_device(const std::string& what, const void* pointer, index_t bytes);
// Throws Failure where any memory of a device is given for memory of the host.
void check_on_host(const std::string& what, const void* pointer);
bool pinned_range(const void* pointer, index_t bytes);
void check_device_number(int device);
// The most bytes in use on a device (-1: page-locked ones of the host) since the last call.
index_t take_peak(int device);
// Switches of the tests, looked up at every use.
index_t setting(const char* name, index_t otherwise);

// --- runtime.cpp
// Runs everything that is queued; what goes wrong is kept for the next wait.
void drain_all() noexcept;

// --- host_blas.cpp: column-major, on memory of the host. Sizes beyond 32 bits are a Failure.
void load_blas(const std::map<std::string, void*>& routines);
template <class T>
void gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, T alpha, const T* a, index_t lda, const T* b, index_t ldb, T beta, T* c,
          index_t ldc);
void syrk(char uplo, char trans, index_t n, index_t k, double alpha, const double* a, index_t lda, double beta, double* c, index_t ldc);
void trsm(char side, char uplo, char trans, index_t m, index_t n, const double* a, index_t lda, double* b, index_t ldb);
index_t potrf(char uplo, index_t n, double* a, index_t lda);
index_t syevd(char uplo, index_t n, double* a, index_t lda, double* w);

}  // namespace voxridge::cuda::emulated
