// Held-out sums for every penalty of a grid from one product (the spectral route; solvers/spectral.py gives the derivation).
#pragma once

#include <vector>

#include "core/poll.hpp"
#include "core/rows.hpp"

namespace voxridge {

// For a fold with training spectrum l (k, ascending), held-out design in the eigenbasis A and M = A'A, and d_i(alpha) = 1 / (l_i + alpha):
//   pred . y    = sum_i d_i c_i z_i                                      z = Q'C_train (k, v), c = A'Y (k, v)
//   |pred|^2    = sum_i (d_i - s) u_i + sum_i d_i^2 w_i                  u = 2 z * (L z), w = z * (N z)
//   L_ij = M_ij / (l_j - l_i), N_ij = 0   where i and j are far apart;   L_ij = 0, N_ij = M_ij   where they are near.
// L is antisymmetric, so the sum of u is 0 and s is free; s = 1 / (alpha + mean l) removes the cancellation.
// near(i, j): |l_i - l_j| <= tolerance * min(l_i + alpha_min, l_j + alpha_min); l ascending makes it a band.
// Near pairs cost tolerance^2 / 2 of their terms (d_i d_j stands as (d_i^2 + d_j^2) / 2), far pairs eps / tolerance: about the cube root
// of eps is best.
template <class T>
inline constexpr double kNearTolerance = sizeof(T) == sizeof(float) ? 1e-3 : 1e-5;

template <class T>
class QuadraticForm {
public:
    // m (k, k) symmetric, l (k) ascending, both float64; alpha_min the least penalty of the grid.
    QuadraticForm(Matrix<const double> m, const double* l, double alpha_min, double tolerance = kNearTolerance<T>);

    // lz (k, v) <- L z and nz (k, v) <- N z.
    void apply(Matrix<const T> z, Matrix<T> lz, Matrix<T> nz, const Poll& poll) const;

private:
    struct Panel {  // some rows of N: columns [begin, end), stored from `offset`, row-major
        index_t first, rows, begin, end;
        std::size_t offset;
        Range all_near;  // columns that are near every row of the panel: zero in L
    };
    index_t k_;
    std::vector<T> far_, near_;
    std::vector<Panel> panels_;
};

// Filters of a grid, (n_alphas, k) each: d, d - s and d^2, every row scaled by (alpha + mean l) so that no power overflows float32.
struct Filters {
    index_t n_alphas, k;
    std::vector<double> scale;  // (n_alphas): what the rows of d were multiplied by
    std::vector<double> d, shifted, squared;
};
Filters make_filters(const double* l, index_t k, const double* alphas, index_t n_alphas, double mean_l);

// products (n_alphas, v) <- pred . y and norms (n_alphas, v) <- |pred|^2, float64; sums over k in blocks, the blocks in float64.
template <class T>
void reduce_scores(Matrix<const T> z, Matrix<const T> c, Matrix<const T> lz, Matrix<const T> nz, const Filters& filters,
                   Matrix<double> products, Matrix<double> norms, int n_threads);

// z (k, v) <- z_iv / (l_i + alpha_v): every target gets its own penalty and is touched once.
template <class T>
void apply_penalty(Matrix<T> z, const double* l, const double* alphas, int n_threads);

// Sums and sums of squares of the columns of y over the rows of `segments`, float64, (v) each.
template <class T>
void column_moments(Matrix<const T> y, const std::vector<Segment>& segments, double* sums, double* squares, int n_threads);

}  // namespace voxridge
