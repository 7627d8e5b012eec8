#include "cuda/blas.hpp"

#include <algorithm>

namespace voxridge::cuda {
namespace {

constexpr char op(bool transposed) { return transposed ? 'T' : 'N'; }

template <class T>
index_t leading(Matrix<T> a) {
    return std::max({index_t{1}, a.cols, a.stride});
}

template <class T>
index_t checked_depth(bool trans_a, bool trans_b, Matrix<const T> a, Matrix<const T> b, Matrix<T> c) {
    const index_t depth = trans_a ? a.rows : a.cols;
    require((trans_a ? a.cols : a.rows) == c.rows && (trans_b ? b.cols : b.rows) == depth && (trans_b ? b.rows : b.cols) == c.cols,
            "gemm: a ", shape{a.rows, a.cols}, (trans_a ? "'" : ""), " times b ", shape{b.rows, b.cols}, (trans_b ? "'" : ""),
            " does not give c ", shape{c.rows, c.cols});
    return depth;
}

void require_square(Matrix<const double> a, const char* name) {
    require(a.rows == a.cols, name, ": the matrix is ", shape{a.rows, a.cols}, ", not square");
}

void require_solvable(Matrix<const double> factor, Matrix<double> b, const char* name) {
    require(factor.rows == factor.cols && factor.rows == b.rows, name, ": factor ", shape{factor.rows, factor.cols}, " and right-hand side ",
            shape{b.rows, b.cols}, " do not match");
}

// Column-major sees B' (m, n) and the factor as U = L': B' <- B' U^-1 ('N', which is L^-1 B) or B' U'^-1 ('T', which is L'^-1 B).
void solve_triangle(Stream& stream, Matrix<const double> factor, Matrix<double> b, char trans) {
    if (b.rows == 0 || b.cols == 0) return;
    stream.trsm('R', 'U', trans, b.cols, b.rows, factor.data, leading(factor), b.data, leading(b));
}

// A library's complaint about its arguments would be ours to explain.
void require_accepted(index_t info, const char* name) {
    if (info < 0) throw Failure(std::string(name) + ": argument " + std::to_string(-info) + " of the solver is wrong; please report this");
}

}  // namespace

void gemm(Stream& stream, bool trans_a, bool trans_b, double alpha, Matrix<const float> a, Matrix<const float> b, double beta, Matrix<float> c,
          Precision precision) {
    const index_t depth = checked_depth(trans_a, trans_b, a, b, c);
    if (c.rows == 0 || c.cols == 0) return;
    stream.gemm(op(trans_b), op(trans_a), c.cols, c.rows, depth, static_cast<float>(alpha), b.data, leading(b), a.data, leading(a),
                static_cast<float>(beta), c.data, leading(c), precision);
}

void gemm(Stream& stream, bool trans_a, bool trans_b, double alpha, Matrix<const double> a, Matrix<const double> b, double beta,
          Matrix<double> c, Precision) {
    const index_t depth = checked_depth(trans_a, trans_b, a, b, c);
    if (c.rows == 0 || c.cols == 0) return;
    stream.gemm(op(trans_b), op(trans_a), c.cols, c.rows, depth, alpha, b.data, leading(b), a.data, leading(a), beta, c.data, leading(c));
}

void syrk(Stream& stream, bool trans, double alpha, Matrix<const double> a, double beta, Matrix<double> c) {
    require(c.rows == c.cols && c.rows == (trans ? a.cols : a.rows), "syrk: a ", shape{a.rows, a.cols}, " does not give c ",
            shape{c.rows, c.cols});
    if (c.rows == 0) return;
    stream.syrk('U', op(!trans), c.rows, trans ? a.rows : a.cols, alpha, a.data, leading(a), beta, c.data, leading(c));
}

index_t potrf(Stream& stream, Matrix<double> a) {
    require_square(a, "cholesky");
    if (a.rows == 0) return 0;
    const index_t info = stream.potrf('U', a.rows, a.data, leading(a));
    require_accepted(info, "cholesky");
    return info;
}

void potrs(Stream& stream, Matrix<const double> factor, Matrix<double> b) {
    require_solvable(factor, b, "cholesky_solve");
    solve_triangle(stream, factor, b, 'N');
    solve_triangle(stream, factor, b, 'T');
}

void potri(Stream& stream, Matrix<double> a) {
    require_square(a, "cholesky_inverse");
    if (a.rows == 0) return;
    const index_t info = stream.potri('U', a.rows, a.data, leading(a));
    require_accepted(info, "cholesky_inverse");
    if (info > 0) throw Failure("cholesky_inverse: diagonal element " + std::to_string(info) + " of the factor is zero");
}

void solve_lower(Stream& stream, Matrix<const double> factor, Matrix<double> b) {
    require_solvable(factor, b, "solve_lower");
    solve_triangle(stream, factor, b, 'N');
}

void syevd(Stream& stream, Matrix<double> a, double* w) {
    require_square(a, "eigh");
    if (a.rows == 0) return;
    const index_t info = stream.syevd('L', a.rows, a.data, leading(a), w);
    require_accepted(info, "eigh");
    if (info > 0) throw Failure("eigh: the eigendecomposition did not converge (info " + std::to_string(info) + ")");
}

}  // namespace voxridge::cuda
