// Row-major BLAS and LAPACK on the device: the contracts of core/blas.hpp, with all memory on the device of the stream.
//
// Row-major C is column-major C', so operands and triangles change places. Factors and inverses wait for the device; the rest is queued.
#pragma once

#include "core/matrix.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

// C = alpha op(A) op(B) + beta C.  `precision` is for float32.
void gemm(Stream& stream, bool trans_a, bool trans_b, double alpha, Matrix<const float> a, Matrix<const float> b, double beta, Matrix<float> c,
          Precision precision = Precision::float32);
void gemm(Stream& stream, bool trans_a, bool trans_b, double alpha, Matrix<const double> a, Matrix<const double> b, double beta, Matrix<double> c,
          Precision precision = Precision::float32);

// Lower triangle of C = alpha A'A + beta C (trans) or alpha AA' + beta C.
void syrk(Stream& stream, bool trans, double alpha, Matrix<const double> a, double beta, Matrix<double> c);

// Lower Cholesky factor in the lower triangle of `a`. Returns 0, or i > 0 where the leading minor of order i is not positive.
index_t potrf(Stream& stream, Matrix<double> a);
// B <- (L L')^-1 B,  B (n, m).
void potrs(Stream& stream, Matrix<const double> factor, Matrix<double> b);
// Lower triangle of `a`: L -> (L L')^-1. Throws Failure where L is singular.
void potri(Stream& stream, Matrix<double> a);
// B <- L^-1 B.
void solve_lower(Stream& stream, Matrix<const double> factor, Matrix<double> b);

// a (n, n) symmetric, both triangles set -> row i of `a` is eigenvector i; w (n), on the device, ascending. Throws Failure where it does not
// converge.
void syevd(Stream& stream, Matrix<double> a, double* w);

}  // namespace voxridge::cuda
