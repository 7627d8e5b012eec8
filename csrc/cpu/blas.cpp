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
    void (*potri)(char*, int*, T*, int*, int*) = nullptr;
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
    find(all, prefix + "potri", routines<T>.potri);
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
    int m = narrow(c.rows), k = narrow(depth);
    int lda = leading(a.stride), ldb = leading(b.stride), ldc = leading(c.stride);
    char ta = trans_a ? 'T' : 'N', tb = trans_b ? 'T' : 'N';
    for (index_t first = 0; first < c.cols; first += kPanel) {
        int n = narrow(std::min(kPanel, c.cols - first));
        const T* right = b.data + (trans_b ? first * b.stride : first);
        routines<T>.gemm(&tb, &ta, &n, &m, &k, &alpha, fortran(right), &ldb, fortran(a.data), &lda, &beta, c.data + first, &ldc);
    }
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

// Column-major sees B' (m, n) and the factor as U = L': B' <- B' U^-1 ('N', which is L^-1 B) or B' U'^-1 ('T', which is L'^-1 B).
template <class T>
static void solve_triangle(Matrix<const T> factor, Matrix<T> b, char op) {
    char right = 'R', upper = 'U', non_unit = 'N';
    int n = narrow(b.rows), lda = leading(factor.stride), ldb = leading(b.stride);
    T one = 1;
    for (index_t first = 0; b.rows > 0 && first < b.cols; first += kPanel) {
        int m = narrow(std::min(kPanel, b.cols - first));
        routines<T>.trsm(&right, &upper, &op, &non_unit, &m, &n, &one, fortran(factor.data), &lda, b.data + first, &ldb);
    }
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
    solve_lower<T>(factor, b);
    solve_triangle<T>(factor, b, 'T');
}

template <class T>
void solve_lower(Matrix<const T> factor, Matrix<T> b) {
    require(factor.rows == factor.cols && factor.rows == b.rows,
            "solve_lower: factor ", shape{factor.rows, factor.cols}, " and right-hand side ", shape{b.rows, b.cols}, " do not match");
    solve_triangle<T>(factor, b, 'N');
}

template <class T>
void potri(Matrix<T> a) {
    require(a.rows == a.cols, "cholesky_inverse: the matrix is ", shape{a.rows, a.cols}, ", not square");
    if (a.rows == 0) return;
    char upper = 'U';
    int n = narrow(a.rows), lda = leading(a.stride), info = 0;
    routines<T>.potri(&upper, &n, a.data, &lda, &info);
    if (info != 0) throw std::runtime_error("cholesky_inverse: diagonal element " + std::to_string(info) + " of the factor is zero");
}

#define VOXRIDGE_INSTANTIATE(T)                                                              \
    template void gemm<T>(bool, bool, T, Matrix<const T>, Matrix<const T>, T, Matrix<T>);    \
    template void syrk<T>(bool, T, Matrix<const T>, T, Matrix<T>);                           \
    template int potrf<T>(Matrix<T>);                                                        \
    template void potrs<T>(Matrix<const T>, Matrix<T>);                                      \
    template void potri<T>(Matrix<T>);                                                       \
    template void solve_lower<T>(Matrix<const T>, Matrix<T>);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::blas
