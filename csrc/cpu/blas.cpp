#include "core/blas.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace voxridge::blas {
namespace {

template <class T>
struct Routines {
    void (*gemm)(char*, char*, int*, int*, int*, T*, T*, int*, T*, int*, T*, T*, int*) = nullptr;
    void (*syrk)(char*, char*, int*, int*, T*, T*, int*, T*, T*, int*) = nullptr;
    void (*potrf)(char*, int*, T*, int*, int*) = nullptr;
    void (*trtri)(char*, char*, int*, T*, int*, int*) = nullptr;
    void (*lauum)(char*, int*, T*, int*, int*) = nullptr;
    void (*trmm)(char*, char*, char*, char*, int*, int*, T*, T*, int*, T*, int*) = nullptr;
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
    find(all, prefix + "trtri", routines<T>.trtri);
    find(all, prefix + "lauum", routines<T>.lauum);
    find(all, prefix + "trmm", routines<T>.trmm);
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
void syrk(bool trans, T alpha, Matrix<const T> a, T beta, Matrix<T> c, index_t block) {
    require(c.rows == c.cols && c.rows == (trans ? a.cols : a.rows),
            "syrk: a ", shape{a.rows, a.cols}, " does not give c ", shape{c.rows, c.cols});
    const index_t depth = trans ? a.rows : a.cols;
    const auto part = [&](index_t begin, index_t size) {
        return trans ? a.block(0, begin, depth, size) : a.block(begin, 0, size, depth);
    };
    for (index_t i = 0; i < c.rows; i += block) {
        const index_t size = std::min(block, c.rows - i);
        const Matrix<const T> left = part(i, size);
        gemm<T>(trans, !trans, alpha, left, part(0, i), beta, c.block(i, 0, size, i));
        int n = narrow(size), k = narrow(depth), lda = leading(a.stride), ldc = leading(c.stride);
        char upper = 'U', op = trans ? 'N' : 'T';
        routines<T>.syrk(&upper, &op, &n, &k, &alpha, fortran(left.data), &lda, &beta, c.block(i, i, size, size).data, &ldc);
    }
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

// Column-major sees a row-major block of L as U = L', and B as B': the sides and the transposition change places.
template <class T>
static void multiply_triangle(char side, char op, Matrix<const T> factor, Matrix<T> b) {
    char upper = 'U', non_unit = 'N';
    int m = narrow(b.cols), n = narrow(b.rows), lda = leading(factor.stride), ldb = leading(b.stride);
    T one = 1;
    if (m > 0 && n > 0) routines<T>.trmm(&side, &upper, &op, &non_unit, &m, &n, &one, fortran(factor.data), &lda, b.data, &ldb);
}

// B <- B L'^-1.
template <class T>
static void divide_by_transposed(Matrix<const T> factor, Matrix<T> b) {
    char left = 'L', upper = 'U', op = 'T', non_unit = 'N';
    int m = narrow(b.cols), n = narrow(b.rows), lda = leading(factor.stride), ldb = leading(b.stride);
    T one = 1;
    if (m > 0 && n > 0) routines<T>.trsm(&left, &upper, &op, &non_unit, &m, &n, &one, fortran(factor.data), &lda, b.data, &ldb);
}

template <class T>
index_t potrf(Matrix<T> a, const Poll& poll, index_t block) {
    require(a.rows == a.cols, "cholesky: the matrix is ", shape{a.rows, a.cols}, ", not square");
    for (index_t j = 0; j < a.rows; j += block) {
        const index_t size = std::min(block, a.rows - j), below = a.rows - j - size;
        const Matrix<T> diagonal = a.block(j, j, size, size), rest = a.block(j + size, j, below, size);
        syrk<T>(false, -1, a.block(j, 0, size, j), 1, diagonal, block);
        char upper = 'U';
        int n = narrow(size), lda = leading(a.stride), info = 0;
        routines<T>.potrf(&upper, &n, diagonal.data, &lda, &info);
        if (info != 0) return j + info;
        gemm<T>(false, true, -1, a.block(j + size, 0, below, j), a.block(j, 0, size, j), 1, rest);
        divide_by_transposed<T>(diagonal, rest);
        poll();
    }
    return 0;
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

// L -> L^-1, a row of blocks at a time:  X_j,: = -L_jj^-1 L_j,: X  with the X of the rows above.
template <class T>
static void invert_lower(Matrix<T> a, const Poll& poll, index_t block) {
    for (index_t j = 0; j < a.rows; j += block) {
        const index_t size = std::min(block, a.rows - j);
        for (index_t k = 0; k < j; k += block) {  // ascending: what is to the right is still L
            const index_t width = std::min(block, j - k), right = k + width;
            const Matrix<T> out = a.block(j, k, size, width);
            multiply_triangle<T>('L', 'N', a.block(k, k, width, width), out);
            gemm<T>(false, false, 1, a.block(j, right, size, j - right), a.block(right, k, j - right, width), 1, out);
        }
        const Matrix<T> diagonal = a.block(j, j, size, size), left = a.block(j, 0, size, j);
        solve_triangle<T>(diagonal, left, 'N');
        for (index_t i = 0; i < left.rows; ++i)
            for (index_t c = 0; c < left.cols; ++c) left.row(i)[c] = -left.row(i)[c];
        char upper = 'U', non_unit = 'N';
        int n = narrow(size), lda = leading(a.stride), info = 0;
        routines<T>.trtri(&upper, &non_unit, &n, diagonal.data, &lda, &info);
        if (info != 0) throw std::runtime_error("cholesky_inverse: diagonal element " + std::to_string(j + info) + " of the factor is zero");
        poll();
    }
}

// X -> X'X, a row of blocks at a time; the rows below are still X.
template <class T>
static void square_lower(Matrix<T> a, const Poll& poll, index_t block) {
    for (index_t i = 0; i < a.rows; i += block) {
        const index_t size = std::min(block, a.rows - i), below = a.rows - i - size;
        const Matrix<T> diagonal = a.block(i, i, size, size), left = a.block(i, 0, size, i), under = a.block(i + size, i, below, size);
        multiply_triangle<T>('R', 'T', diagonal, left);
        gemm<T>(true, false, 1, under, a.block(i + size, 0, below, i), 1, left);
        char upper = 'U';
        int n = narrow(size), lda = leading(a.stride), info = 0;
        routines<T>.lauum(&upper, &n, diagonal.data, &lda, &info);
        syrk<T>(true, 1, under, 1, diagonal, block);
        poll();
    }
}

template <class T>
void potri(Matrix<T> a, const Poll& poll, index_t block) {
    require(a.rows == a.cols, "cholesky_inverse: the matrix is ", shape{a.rows, a.cols}, ", not square");
    invert_lower(a, poll, block);
    square_lower(a, poll, block);
}

#define VOXRIDGE_INSTANTIATE(T)                                                           \
    template void gemm<T>(bool, bool, T, Matrix<const T>, Matrix<const T>, T, Matrix<T>); \
    template void syrk<T>(bool, T, Matrix<const T>, T, Matrix<T>, index_t);               \
    template index_t potrf<T>(Matrix<T>, const Poll&, index_t);                           \
    template void potrs<T>(Matrix<const T>, Matrix<T>);                                   \
    template void potri<T>(Matrix<T>, const Poll&, index_t);                              \
    template void solve_lower<T>(Matrix<const T>, Matrix<T>);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::blas
