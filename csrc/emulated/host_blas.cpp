#include <limits>
#include <vector>

#include "emulated/world.hpp"

namespace voxridge::cuda::emulated {
namespace {

struct Routines {
    void (*sgemm)(char*, char*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*) = nullptr;
    void (*dgemm)(char*, char*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*) = nullptr;
    void (*dsyrk)(char*, char*, int*, int*, double*, double*, int*, double*, double*, int*) = nullptr;
    void (*dtrsm)(char*, char*, char*, char*, int*, int*, double*, double*, int*, double*, int*) = nullptr;
    void (*dpotrf)(char*, int*, double*, int*, int*) = nullptr;
    void (*dsyevd)(char*, char*, int*, double*, int*, double*, double*, int*, int*, int*, int*) = nullptr;
} routines;

template <class Function>
void find(const std::map<std::string, void*>& all, const char* name, Function& out) {
    const auto it = all.find(name);
    if (it == all.end() || it->second == nullptr) throw Failure(std::string("BLAS routine '") + name + "' was not found in scipy");
    out = reinterpret_cast<Function>(it->second);
}

int narrow(index_t n) {
    if (n > std::numeric_limits<int>::max()) throw Failure("the emulator: a size of " + std::to_string(n) + " is beyond 32-bit BLAS");
    return static_cast<int>(n);
}

template <class T>
T* fortran(const T* p) {
    return const_cast<T*>(p);  // Fortran has no const; these arguments are read only
}

}  // namespace

void load_blas(const std::map<std::string, void*>& all) {
    find(all, "sgemm", routines.sgemm);
    find(all, "dgemm", routines.dgemm);
    find(all, "dsyrk", routines.dsyrk);
    find(all, "dtrsm", routines.dtrsm);
    find(all, "dpotrf", routines.dpotrf);
    find(all, "dsyevd", routines.dsyevd);
}

template <class T>
void gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, T alpha, const T* a, index_t lda, const T* b, index_t ldb, T beta, T* c,
          index_t ldc) {
    int rows = narrow(m), cols = narrow(n), depth = narrow(k), la = narrow(lda), lb = narrow(ldb), lc = narrow(ldc);
    if constexpr (sizeof(T) == sizeof(float))
        routines.sgemm(&trans_a, &trans_b, &rows, &cols, &depth, &alpha, fortran(a), &la, fortran(b), &lb, &beta, c, &lc);
    else
        routines.dgemm(&trans_a, &trans_b, &rows, &cols, &depth, &alpha, fortran(a), &la, fortran(b), &lb, &beta, c, &lc);
}

template void gemm<float>(char, char, index_t, index_t, index_t, float, const float*, index_t, const float*, index_t, float, float*, index_t);
template void gemm<double>(char, char, index_t, index_t, index_t, double, const double*, index_t, const double*, index_t, double, double*, index_t);

void syrk(char uplo, char trans, index_t n, index_t k, double alpha, const double* a, index_t lda, double beta, double* c, index_t ldc) {
    int order = narrow(n), depth = narrow(k), la = narrow(lda), lc = narrow(ldc);
    routines.dsyrk(&uplo, &trans, &order, &depth, &alpha, fortran(a), &la, &beta, c, &lc);
}

void trsm(char side, char uplo, char trans, index_t m, index_t n, const double* a, index_t lda, double* b, index_t ldb) {
    char non_unit = 'N';
    int rows = narrow(m), cols = narrow(n), la = narrow(lda), lb = narrow(ldb);
    double one = 1;
    routines.dtrsm(&side, &uplo, &trans, &non_unit, &rows, &cols, &one, fortran(a), &la, b, &lb);
}

index_t potrf(char uplo, index_t n, double* a, index_t lda) {
    int order = narrow(n), la = narrow(lda), info = 0;
    routines.dpotrf(&uplo, &order, a, &la, &info);
    return info;
}

index_t syevd(char uplo, index_t n, double* a, index_t lda, double* w) {
    char vectors = 'V';
    int order = narrow(n), la = narrow(lda), info = 0, lwork = narrow(1 + 6 * n + 2 * n * n), liwork = narrow(3 + 5 * n);
    std::vector<double> work(static_cast<std::size_t>(lwork));
    std::vector<int> iwork(static_cast<std::size_t>(liwork));
    routines.dsyevd(&vectors, &uplo, &order, a, &la, w, work.data(), &lwork, iwork.data(), &liwork, &info);
    return info;
}

}  // namespace voxridge::cuda::emulated
