// BLAS and LAPACK with row-major arguments. The routines are the ones scipy carries (see csrc/README.md for why); their integers have
// 32 bits, so every size is checked before a call. Row-major C is column-major C', which is why "lower" here is "upper" there.
#pragma once

#include <map>
#include <string>

#include "core/matrix.hpp"
#include "core/poll.hpp"

namespace voxridge::blas {

// Once, before anything else: the addresses by Fortran name ("sgemm", "dsyevd", ...). Throws if one is missing.
void load(const std::map<std::string, void*>& routines);

// Products run in panels of this many columns of C. BLAS rounds an element differently in matrices of different widths; with the targets
// in the columns and tiles that start at multiples of a panel, a target's bits do not depend on the tile it is in. Costs 3 % of a product.
inline constexpr index_t kPanel = 512;

// Symmetric results and factorisations beyond this order go block by block, by this file's own products: OpenBLAS's threaded dsyrk, and
// what its LAPACK does with it, writes past its buffers at order 33,000 on two threads. It also leaves places to stop at on the way.
inline constexpr index_t kBlock = 4096;

// C = alpha op(A) op(B) + beta C with op(A) (m, k), op(B) (k, n), C (m, n).
template <class T>
void gemm(bool trans_a, bool trans_b, T alpha, Matrix<const T> a, Matrix<const T> b, T beta, Matrix<T> c);

// Lower triangle of C = alpha A'A + beta C (trans) or alpha AA' + beta C. The strict upper triangle is left alone.
template <class T>
void syrk(bool trans, T alpha, Matrix<const T> a, T beta, Matrix<T> c, index_t block = kBlock);

// a (n, n) symmetric, both triangles set -> row i of `a` is eigenvector i, w ascending.
// work holds syevd_work(n) elements, iwork 3 + 5 n. Throws std::overflow_error where n is beyond 32-bit LAPACK, std::runtime_error
// where the algorithm does not converge.
index_t syevd_work(index_t n);
void syevd(Matrix<double> a, double* w, double* work, index_t work_size, int* iwork);

// Lower Cholesky factor in the lower triangle of `a`. Returns 0, or i > 0 where the leading minor of order i is not positive.
template <class T>
index_t potrf(Matrix<T> a, const Poll& poll, index_t block = kBlock);

// B <- (L L')^-1 B for a factor from potrf, B (n, m).
template <class T>
void potrs(Matrix<const T> factor, Matrix<T> b);

// Lower triangle of `a`: L from potrf -> (L L')^-1. The strict upper triangle is left alone. Throws std::runtime_error where L is singular.
template <class T>
void potri(Matrix<T> a, const Poll& poll, index_t block = kBlock);

// B <- L^-1 B for a factor from potrf, B (n, m).
template <class T>
void solve_lower(Matrix<const T> factor, Matrix<T> b);

}  // namespace voxridge::blas
