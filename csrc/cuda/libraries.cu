// BLAS and LAPACK by cuBLAS and cuSOLVER, through the functions whose sizes have 64 bits.
#include <algorithm>

#include "cuda/block.hpp"
#include "cuda/stream_state.cuh"

namespace voxridge::cuda {
namespace {

cublasOperation_t operation(char trans) {
    require(trans == 'N' || trans == 'T', "an operation is 'N' or 'T', not '", trans, "'");
    return trans == 'N' ? CUBLAS_OP_N : CUBLAS_OP_T;
}

cublasFillMode_t triangle(char uplo) {
    require(uplo == 'L' || uplo == 'U', "a triangle is 'L' or 'U', not '", uplo, "'");
    return uplo == 'L' ? CUBLAS_FILL_MODE_LOWER : CUBLAS_FILL_MODE_UPPER;
}

cublasSideMode_t side_of(char side) {
    require(side == 'L' || side == 'R', "a side is 'L' or 'R', not '", side, "'");
    return side == 'L' ? CUBLAS_SIDE_LEFT : CUBLAS_SIDE_RIGHT;
}

// CUBLAS_COMPUTE_32F keeps the precision of float32: it may not round inputs.
cublasComputeType_t compute_type(Precision precision) {
    switch (precision) {
        case Precision::tf32:
            return CUBLAS_COMPUTE_32F_FAST_TF32;
        case Precision::bf16:
            return CUBLAS_COMPUTE_32F_FAST_16BF;
        default:
            return CUBLAS_COMPUTE_32F;
    }
}

index_t leading(index_t ld) { return std::max<index_t>(1, ld); }

}  // namespace

Stream::State::~State() {
    const DeviceScope scope(device, std::nothrow);
    if (!scope.entered()) return;  // the runtime is gone: the process ends
    if (stream != nullptr) ignore(cudaStreamSynchronize(stream));
    if (params != nullptr) ignore(cusolverDnDestroyParams(params));
    if (solver != nullptr) ignore(cusolverDnDestroy(solver));
    if (blas != nullptr) ignore(cublasDestroy(blas));
    if (stream != nullptr) ignore(cudaStreamDestroy(stream));
}

cublasHandle_t Stream::State::get_blas() {
    if (blas != nullptr) return blas;
    cublasHandle_t made = nullptr;
    check(cublasCreate(&made), "cublasCreate on device ", device);
    blas = made;
    check(cublasSetStream(blas, stream), "cublasSetStream");
    check(cublasSetMathMode(blas, CUBLAS_DEFAULT_MATH), "cublasSetMathMode");
    check(cublasSetAtomicsMode(blas, CUBLAS_ATOMICS_NOT_ALLOWED), "cublasSetAtomicsMode");
    return blas;
}

cusolverDnHandle_t Stream::State::get_solver() {
    if (params != nullptr) return solver;
    if (solver == nullptr) check(cusolverDnCreate(&solver), "cusolverDnCreate on device ", device);
    check(cusolverDnSetStream(solver, stream), "cusolverDnSetStream");
    check(cusolverDnSetDeterministicMode(solver, CUSOLVER_DETERMINISTIC_RESULTS), "cusolverDnSetDeterministicMode");
    check(cusolverDnCreateParams(&params), "cusolverDnCreateParams");
    return solver;
}

void* Stream::State::get_host_work(std::size_t bytes) {
    if (host_work.size() < bytes) host_work.resize(bytes);
    return host_work.data();
}

int* Stream::State::get_info() {
    if (info == nullptr) info = Memory::on_device(device, sizeof(int));
    return static_cast<int*>(info->data());
}

index_t Stream::State::read_info(const char* call) {
    int value = 0;
    check(cudaMemcpyAsync(&value, get_info(), sizeof(int), cudaMemcpyDeviceToHost, stream), call, ": cudaMemcpyAsync of info");
    check(cudaStreamSynchronize(stream), call);
    if (value < 0) throw Failure(std::string(call) + ": argument " + std::to_string(-value) + " is invalid");
    return value;
}

void Stream::gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, float alpha, const float* a, index_t lda, const float* b,
                  index_t ldb, float beta, float* c, index_t ldc, Precision precision) {
    if (m == 0 || n == 0) return;
    if (k == 0) a = b = c;  // nothing is read, but null pointers are refused
    const DeviceScope scope(device_);
    check(cublasGemmEx_64(state_->get_blas(), operation(trans_a), operation(trans_b), m, n, k, &alpha, a, CUDA_R_32F, leading(lda), b, CUDA_R_32F,
                          leading(ldb), &beta, c, CUDA_R_32F, leading(ldc), compute_type(precision), CUBLAS_GEMM_DEFAULT),
          "cublasGemmEx_64 with m, n, k = ", m, ", ", n, ", ", k);
}

void Stream::gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, double alpha, const double* a, index_t lda, const double* b,
                  index_t ldb, double beta, double* c, index_t ldc) {
    if (m == 0 || n == 0) return;
    if (k == 0) a = b = c;
    const DeviceScope scope(device_);
    check(cublasDgemm_64(state_->get_blas(), operation(trans_a), operation(trans_b), m, n, k, &alpha, a, leading(lda), b, leading(ldb), &beta, c,
                         leading(ldc)),
          "cublasDgemm_64 with m, n, k = ", m, ", ", n, ", ", k);
}

void Stream::syrk(char uplo, char trans, index_t n, index_t k, double alpha, const double* a, index_t lda, double beta, double* c, index_t ldc) {
    if (n == 0) return;
    if (k == 0) a = c;
    const DeviceScope scope(device_);
    check(cublasDsyrk_64(state_->get_blas(), triangle(uplo), operation(trans), n, k, &alpha, a, leading(lda), &beta, c, leading(ldc)),
          "cublasDsyrk_64 with n, k = ", n, ", ", k);
}

void Stream::trsm(char side, char uplo, char trans, index_t m, index_t n, const double* a, index_t lda, double* b, index_t ldb) {
    if (m == 0 || n == 0) return;
    const DeviceScope scope(device_);
    const double one = 1;
    check(cublasDtrsm_64(state_->get_blas(), side_of(side), triangle(uplo), operation(trans), CUBLAS_DIAG_NON_UNIT, m, n, &one, a, leading(lda),
                         b, leading(ldb)),
          "cublasDtrsm_64 with m, n = ", m, ", ", n);
}

index_t Stream::potrf(char uplo, index_t n, double* a, index_t lda) {
    if (n == 0) return 0;
    const DeviceScope scope(device_);
    const cusolverDnHandle_t solver = state_->get_solver();
    std::size_t bytes = 0, host_bytes = 0;
    check(cusolverDnXpotrf_bufferSize(solver, state_->params, triangle(uplo), n, CUDA_R_64F, a, lda, CUDA_R_64F, &bytes, &host_bytes),
          "cusolverDnXpotrf_bufferSize with n = ", n);
    void* const work = scratch(bytes);
    void* const host_work = state_->get_host_work(host_bytes);
    check(cusolverDnXpotrf(solver, state_->params, triangle(uplo), n, CUDA_R_64F, a, lda, CUDA_R_64F, work, bytes, host_work, host_bytes,
                           state_->get_info()),
          "cusolverDnXpotrf with n = ", n);
    return state_->read_info("cusolverDnXpotrf");
}

index_t Stream::syevd(char uplo, index_t n, double* a, index_t lda, double* w) {
    if (n == 0) return 0;
    const DeviceScope scope(device_);
    const cusolverDnHandle_t solver = state_->get_solver();
    const cusolverEigMode_t vectors = CUSOLVER_EIG_MODE_VECTOR;
    std::size_t bytes = 0, host_bytes = 0;
    check(cusolverDnXsyevd_bufferSize(solver, state_->params, vectors, triangle(uplo), n, CUDA_R_64F, a, lda, CUDA_R_64F, w, CUDA_R_64F, &bytes,
                                      &host_bytes),
          "cusolverDnXsyevd_bufferSize with n = ", n);
    void* const work = scratch(bytes);
    void* const host_work = state_->get_host_work(host_bytes);
    check(cusolverDnXsyevd(solver, state_->params, vectors, triangle(uplo), n, CUDA_R_64F, a, lda, CUDA_R_64F, w, CUDA_R_64F, work, bytes,
                           host_work, host_bytes, state_->get_info()),
          "cusolverDnXsyevd with n = ", n);
    return state_->read_info("cusolverDnXsyevd");
}

namespace {

template <class Property>
std::string library_version(Property property) {
    int parts[3] = {};
    constexpr libraryPropertyType kinds[] = {MAJOR_VERSION, MINOR_VERSION, PATCH_LEVEL};
    for (int i = 0; i < 3; ++i) ignore(property(kinds[i], &parts[i]));
    return std::to_string(parts[0]) + "." + std::to_string(parts[1]) + "." + std::to_string(parts[2]);
}

}  // namespace

std::string runtime_version() {
    int runtime = 0;
    ignore(cudaRuntimeGetVersion(&runtime));
    return "CUDA " + std::to_string(runtime / 1000) + "." + std::to_string(runtime % 1000 / 10) + ", cuBLAS " +
           library_version(cublasGetProperty) + ", cuSOLVER " + library_version(cusolverGetProperty);
}

}  // namespace voxridge::cuda
