// Ridge fitted without a set of samples, from one factorisation of all of them: the passes over memory that BLAS does not have.
#pragma once

#include "core/matrix.hpp"

namespace voxridge {

// Strict lower triangle <- strict upper triangle. Cholesky and the inverse live in the lower one; the matrix they came from survives in
// the upper one, so that one n x n matrix serves every penalty.
void restore_lower(Matrix<double> a, int n_threads);

// out (rows, n) in T <- rows [begin, begin + rows) of  scale A + diagonal I,  A symmetric and given by its lower triangle `a` (n, n).
// Formed in double and rounded once: with scale = -alpha and diagonal = 1 nothing is lost where the two cancel.
template <class T>
void symmetric_rows(Matrix<const double> a, index_t begin, double scale, double diagonal, Matrix<T> out, int n_threads);

// moments (3, v) += sums over the rows t of  w_t q,  w_t q^2  and  w_t q y,  for y and q (rows, v).
//   weights: rows elements w, or nullptr for ones. Sums in float64.
template <class T>
void product_moments(Matrix<const T> y, Matrix<const T> q, const double* weights, Matrix<double> moments, int n_threads);

// out (m, size) <- coefficients (m, r) * shared (r, size), for few and long rows; every element is summed in the order of r.
template <class T>
void mix_rows(Matrix<const T> coefficients, Matrix<const T> shared, Matrix<T> out, int n_threads);

}  // namespace voxridge
