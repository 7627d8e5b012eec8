// Convex weights, one small quadratic programme for every target.
#pragma once

#include "core/matrix.hpp"
#include "core/poll.hpp"

namespace voxridge {

// weights[v] (m) <- argmin  w'P_v w + q_v'w   subject to  w >= 0, sum w = 1,    exactly, by an active set.
//   p (v m, m): the matrices P_v one below the other, symmetric (their lower triangles are read) and positive semidefinite, of any rank;
//   q (v, m), or empty for none; weights (v, m). Nothing may overlap.
// gaps[v] <- w'g - min_i g_i with g = 2 P w + q: never less than what the objective lies above its least value. It is 0 up to rounding;
// infinity, and weights NaN, where P_v has negative curvature (which is found where the method meets it, and for every pair of models);
// NaN, and weights NaN, where P_v or q_v is not finite.
// Ties: models that are copies of one another (P_ii + P_jj - 2 P_ij <= 1e-12 (P_ii + P_jj), and their q the same to as much) share what
// they get evenly. Other sets of optimal weights, which need linearly dependent residuals, give the same one of them on every machine
// with the same rounding: what lowers the objective fastest enters first, and the lowest index among equals.
// A target's bits do not depend on the other targets or on threads. Extra memory: about 3 m^2 doubles a thread.
void simplex_qp(Matrix<const double> p, Matrix<const double> q, Matrix<double> weights, double* gaps, int n_threads, const Poll& poll);

}  // namespace voxridge
