// Passes over matrices on the device. All pointers are to memory of the device; vectors are contiguous; nullptr where one is optional.
// Sums are float64 and always in the same order, so that a column's bits depend neither on the tile it is in nor on the run. Indices are on the
// device, so nothing checks them; none may repeat where rows or columns are written by them.
#pragma once

#include "core/matrix.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

// --- triangles and symmetric matrices: contracts of core/leave_out.hpp
void restore_lower(Stream& stream, Matrix<double> a);
// Strict upper triangle <- strict lower triangle.
template <class T>
void mirror_lower(Stream& stream, Matrix<T> a);
// to <- from', which may not overlap.
template <class T>
void transpose(Stream& stream, Matrix<const T> from, Matrix<T> to);
template <class T>
void symmetric_rows(Stream& stream, Matrix<const double> a, index_t begin, double scale, double diagonal, Matrix<T> out);
// a_ii <- diagonal_i + alpha.
void set_diagonal(Stream& stream, Matrix<double> a, const double* diagonal, double alpha);
// diagonal_i <- a_ii.
void get_diagonal(Stream& stream, Matrix<const double> a, double* diagonal);
// a_ij <- root_i root_j (a_ij - mean_i - mean_j + grand), both triangles from the lower one; root nullptr: ones. n means.
void centre_kernel(Stream& stream, Matrix<double> a, const double* mean, double grand, const double* root);
// out (n_rows, n_rows) <- the rows and columns `rows` of  scale A + diagonal I + share r r',  A symmetric, given by its lower triangle, both
// triangles written; r (a.rows) or nullptr.
void symmetric_block(Stream& stream, Matrix<const double> a, const index_t* rows, double scale, double diagonal, double share, const double* r,
                     Matrix<double> out);

// --- targets
// out_tv <- T(raw_tv - T(mean_v)) where valid_v, else 0; mean nullptr: nothing is taken off.
template <class R, class T>
void centre(Stream& stream, Matrix<const R> raw, const double* mean, const unsigned char* valid, Matrix<T> out);
// The sums over rows that follow leave partial sums in the stream's scratch: at most 64 rows, as wide as the tile, of 2 or 3 float64 sums;
// single_moments also what it needs of a sample, 56 bytes each.

// sums_v, squares_v (v) <- over the rows [begin, end) of y.
template <class T>
void column_moments(Stream& stream, Matrix<const T> y, index_t begin, index_t end, double* sums, double* squares);
// moments (3, v) += sums over rows[i] (nullptr: all) of w_i (q, q^2, q y); y and q (n, v) are both indexed by rows[i]; weights (n_rows) or nullptr.
template <class T>
void product_moments(Stream& stream, Matrix<const T> y, Matrix<const T> q, const index_t* rows, index_t n_rows, const double* weights,
                     Matrix<double> moments);
// Leave-one-out, every sample t a set of its own, moments (3, v) += sums of w_t (q, q^2, q y):
//   m = intercept ? (sums_v - w_t y_tv) / (total - w_t) : 0,   q = (smoothed_tv - h_t (root_t (y_tv - m))) / rest_t / root_t + m
// (1 / root_t is 0 where root_t is); root = sqrt(w), weights nullptr: ones. sums nullptr: no intercept.
template <class T>
void single_moments(Stream& stream, Matrix<const T> y, Matrix<const T> smoothed, const double* h, const double* rest, const double* weights,
                    const double* sums, double total, Matrix<double> moments);
// For the rows t = rows[i] (nullptr: all) of every matrix, `out` too, whose other rows are left alone:
//   out_tv <- root_t (y_tv - mean_v) - smoothed_tv;  root, mean or smoothed nullptr: 1, 0, 0.
template <class T>
void moved_rows(Stream& stream, Matrix<const T> y, const T* mean, const double* root, Matrix<const T> smoothed, const index_t* rows,
                index_t n_rows, Matrix<T> out);

// --- general
// out <- alpha x + beta out, element by element, in O; out is not read where beta is 0.
template <class I, class O>
void accumulate(Stream& stream, double alpha, Matrix<const I> x, double beta, Matrix<O> out);
// a_tv <- row_t a_tv column_v; either may be nullptr. This and the next two are formed in double and rounded once.
template <class T>
void scale(Stream& stream, Matrix<T> a, const double* row, const double* column);
// a_tv <- a_tv / (l_t + alphas_v)  (core/spectral_scores.hpp: apply_penalty)
template <class T>
void apply_penalty(Stream& stream, Matrix<T> z, const double* l, const double* alphas);
// a_tv <- a_tv + alpha row_t column_v.
template <class T>
void rank_one(Stream& stream, Matrix<T> a, double alpha, const double* row, const double* column);
// out[:, j] <- a[:, columns[j]],  out[:, columns[j]] <- a[:, j],  out[i] <- a[rows[i]].
template <class T>
void take_columns(Stream& stream, Matrix<const T> a, const index_t* columns, Matrix<T> out);
template <class T>
void put_columns(Stream& stream, Matrix<const T> a, const index_t* columns, Matrix<T> out);
template <class T>
void take_rows(Stream& stream, Matrix<const T> a, const index_t* rows, Matrix<T> out);

}  // namespace voxridge::cuda
