#include "core/blas.hpp"

#include <limits>
#include <vector>

namespace voxridge::blas {
namespace {

template <class T>
struct Routines {
    void (*gemm)(char*, char*, int*, int*, int*, T*, T*, int*, T*, int*, T*, T*, int*) = nullptr;
    void (*syrk)(char*, char*, int*, int*, T*, T*, int*, T*, T*, int*) = nullptr;
    void (*potrf)(char*, int*, T*, int*, int*) = nullptr;
    void (*trsm)(char*, char*, char*, char*, int*, int*, T*, T*, int*, T*, int*) = nullptr;
};

template <class T>
Routines<T> routines;
void (*dsyevd)(char*, char*, int*, double*, int*, double*, double*, int*, int*, int*, int*) = nullptr;

template <class Function>
void find(const std::map<std::string, void*>& all, const std::string& name, Function& out) {
    const auto it = all.find(name);
    if (it == all.end() || it->second == nullptr) throw std::runtime_error("BLAS routine '" + name + "' was not found in scipy");
    out = reinterpret_cast<Function>(it->second);
}

template <class T>
void load_precision(const std::map<std::string, void*>& all, const std::string& prefix) {
    find(all, prefix + "gemm", routines<T>.gemm);
    find(all, prefix + "syrk", routines<T>.syrk);
    find(all, prefix + "potrf", routines<T>.potrf);
    find(all, prefix + "trsm", routines<T>.trsm);
}

int narrow(index_t n) {
    if (n > std::numeric_limits<int>::max()) throw std::overflow_error("a dimension of " + std::to_string(n) + " is beyond 32-bit BLAS");
    return static_cast<int>(n);
}

int leading(index_t stride) { return narrow(std::max<index_t>(1, stride)); }

template <class T>
T* fortran(const T* p) {
    return const_cast<T*>(p);  // Fortran has no const; these arguments are read only
}

}  // namespace

void load(const std::map<std::string, void*>& all) {
    load_precision<float>(all, "s");
    load_precision<double>(all, "d");
    find(all, "dsyevd", dsyevd);
}

template <class T>
void gemm(bool trans_a, bool trans_b, T alpha, Matrix<const T> a, Matrix<const T> b, T beta, Matrix<T> c) {
    const index_t depth = trans_a ? a.rows : a.cols;
    require((trans_a ? a.cols : a.rows) == c.rows && (trans_b ? b.cols : b.rows) == depth && (trans_b ? b.rows : b.cols) == c.cols,
            "gemm: a ", shape{a.rows, a.cols}, (trans_a ? "'" : ""), " times b ", shape{b.rows, b.cols}, (trans_b ? "'" : ""),
                " does not give c ", shape{c.rows, c.cols});
    if (c.rows == 0 || c.cols == 0) return;
    int m = narrow(c.rows), n = narrow(c.cols), k = narrow(depth);
    int lda = leading(a.stride), ldb = leading(b.stride), ldc = leading(c.stride);
    char ta = trans_a ? 'T' : 'N', tb = trans_b ? 'T' : 'N';
    routines<T>.gemm(&tb, &ta, &n, &m, &k, &alpha, fortran(b.data), &ldb, fortran(a.data), &lda, &beta, c.data, &ldc);
}

template <class T>
void syrk(bool trans, T alpha, Matrix<const T> a, T beta, Matrix<T> c) {
    require(c.rows == c.cols && c.rows == (trans ? a.cols : a.rows),
            "syrk: a ", shape{a.rows, a.cols}, " does not give c ", shape{c.rows, c.cols});
    if (c.rows == 0) return;
    int n = narrow(c.rows), k = narrow(trans ? a.rows : a.cols), lda = leading(a.stride), ldc = leading(c.stride);
    char upper = 'U', op = trans ? 'N' : 'T';
    routines<T>.syrk(&upper, &op, &n, &k, &alpha, fortran(a.data), &lda, &beta, c.data, &ldc);
}

index_t syevd_work(index_t n) { return 1 + 6 * n + 2 * n * n; }

void syevd(Matrix<double> a, double* w, double* work, index_t work_size, int* iwork) {
    require(a.rows == a.cols, "eigh: the matrix is ", shape{a.rows, a.cols}, ", not square");
    require(work_size >= syevd_work(a.rows), "eigh: the workspace is too small");
    if (a.rows == 0) return;
    if (syevd_work(a.rows) > std::numeric_limits<int>::max())
        throw std::overflow_error("eigh: a matrix of order " + std::to_string(a.rows) + " is beyond 32-bit LAPACK (32,766 at most)");
    char vectors = 'V', lower = 'L';
    int n = narrow(a.rows), lda = leading(a.stride), lwork = narrow(syevd_work(a.rows)), liwork = narrow(3 + 5 * a.rows), info = 0;
    dsyevd(&vectors, &lower, &n, a.data, &lda, w, work, &lwork, iwork, &liwork, &info);
    if (info != 0) throw std::runtime_error("eigh: LAPACK dsyevd did not converge (info " + std::to_string(info) + ")");
}

template <class T>
int potrf(Matrix<T> a) {
    require(a.rows == a.cols, "cholesky: the matrix is ", shape{a.rows, a.cols}, ", not square");
    if (a.rows == 0) return 0;
    char upper = 'U';
    int n = narrow(a.rows), lda = leading(a.stride), info = 0;
    routines<T>.potrf(&upper, &n, a.data, &lda, &info);
    return info;
}

template <class T>
void potrs(Matrix<const T> factor, Matrix<T> b) {
    require(factor.rows == factor.cols && factor.rows == b.rows,
            "cholesky_solve: factor ", shape{factor.rows, factor.cols}, " and right-hand side ", shape{b.rows, b.cols}, " do not match");
    if (b.rows == 0 || b.cols == 0) return;
    // Column-major sees B' (m, n) and the factor as U = L': B' <- B' U^-1 U'^-1, two solves from the right.
    char right = 'R', upper = 'U', plain = 'N', transposed = 'T', non_unit = 'N';
    int m = narrow(b.cols), n = narrow(b.rows), lda = leading(factor.stride), ldb = leading(b.stride);
    T one = 1;
    routines<T>.trsm(&right, &upper, &plain, &non_unit, &m, &n, &one, fortran(factor.data), &lda, b.data, &ldb);
    routines<T>.trsm(&right, &upper, &transposed, &non_unit, &m, &n, &one, fortran(factor.data), &lda, b.data, &ldb);
}

#define VOXRIDGE_INSTANTIATE(T)                                                              \
    template void gemm<T>(bool, bool, T, Matrix<const T>, Matrix<const T>, T, Matrix<T>);    \
    template void syrk<T>(bool, T, Matrix<const T>, T, Matrix<T>);                           \
    template int potrf<T>(Matrix<T>);                                                        \
    template void potrs<T>(Matrix<const T>, Matrix<T>);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::blas
