// Held-out sums of one set under one penalty: a product whose result is summed up where it is made. Predictions never reach the device's
// memory.
#pragma once

#include "core/matrix.hpp"
#include "cuda/runtime.hpp"

namespace voxridge::cuda {

// For i < m and every target v of the tile, with t = rows[i]:
//
//     q_iv = scale_i (base_tv + sign * sum over j < k of factor_ij residual[inner[j], v] + constant_i along_v) + shift_v
//     moments (3, v) += sum over i of w_i (q_iv, q_iv^2, q_iv y_tv)
//
// All pointers are to memory of the device; y, residual and base have the columns of the tile.
// Optional (nullptr, or an empty matrix): inner (identity), rows (identity), base (0), constant and along (0), scale (1), shift (0), weights (1).
template <class T>
struct HeldOut {
    Matrix<const T> factor;      // (m, k)
    Matrix<const T> residual;    // (>= k, v)
    const index_t* inner;        // (k)
    Matrix<const T> base;        // (n, v)
    Matrix<const T> y;           // (n, v)
    const index_t* rows;         // (m)
    const T* constant;           // (m)
    const T* along;              // (v)
    const double* scale;         // (m)
    const T* shift;              // (v)
    const double* weights;       // (m)
    double sign;
};

// Bytes of `scratch` that heldout_moments wants: partial sums of blocks of rows.
std::size_t heldout_scratch(index_t m, index_t n_targets);

// float32 products by `precision`: float32 on the ordinary cores, tf32 and bf16 on the tensor cores with float32 sums; float64 on the ordinary ones.
// Sums over rows are float64, in an order that depends on m alone: deterministic, and the same for any tile that starts at a multiple of 128.
template <class T>
void heldout_moments(Stream& stream, const HeldOut<T>& set, Precision precision, void* scratch, Matrix<double> moments);

}  // namespace voxridge::cuda
