#include "cuda/elements.hpp"
#include "cuda/passes.hpp"

namespace voxridge::cuda {
namespace {

template <class I, class O>
struct Accumulated : InPlace {
    Matrix<O> out;
    Matrix<const I> x;
    O alpha, beta;
    VOXRIDGE_DEVICE O value(index_t i, index_t j) const {
        const O added = alpha * static_cast<O>(x.row(i)[j]);
        return beta == O{0} ? added : added + beta * out.row(i)[j];
    }
};

template <class T>
struct Scaled : InPlace {
    Matrix<T> out;
    const double *by_row, *by_column;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const {
        auto value = static_cast<double>(out.row(i)[j]);
        if (by_row) value *= by_row[i];
        if (by_column) value *= by_column[j];
        return static_cast<T>(value);
    }
};

template <class T>
struct Penalised : InPlace {
    Matrix<T> out;
    const double *l, *alphas;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const { return out.row(i)[j]; }
    VOXRIDGE_DEVICE T finish(T value, index_t i, index_t j) const { return static_cast<T>(static_cast<double>(value) / (l[i] + alphas[j])); }
};

template <class T>
struct RankOne : InPlace {
    Matrix<T> out;
    double alpha;
    const double *along_rows, *along_columns;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const {
        return static_cast<T>(static_cast<double>(out.row(i)[j]) + alpha * along_rows[i] * along_columns[j]);
    }
};

template <class T>
struct ColumnsTaken : InPlace {
    Matrix<T> out;
    Matrix<const T> a;
    const index_t* columns;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const { return a.row(i)[columns[j]]; }
};

template <class T>
struct ColumnsPut {
    Matrix<T> out;
    Matrix<const T> a;
    const index_t* columns;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const { return a.row(i)[j]; }
    VOXRIDGE_DEVICE index_t row(index_t i) const { return i; }
    VOXRIDGE_DEVICE index_t column(index_t j) const { return columns[j]; }
};

template <class T>
struct RowsTaken : InPlace {
    Matrix<T> out;
    Matrix<const T> a;
    const index_t* rows;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const { return a.row(rows[i])[j]; }
};

}  // namespace

template <class I, class O>
void accumulate(Stream& stream, double alpha, Matrix<const I> x, double beta, Matrix<O> out) {
    require(x.rows == out.rows && x.cols == out.cols, "accumulate: x ", shape{x.rows, x.cols}, " and out ", shape{out.rows, out.cols}, " differ");
    const Accumulated<I, O> op{{}, out, x, static_cast<O>(alpha), static_cast<O>(beta)};
    for_each_element<O>(stream, op, out.rows, out.cols);
}

template <class T>
void scale(Stream& stream, Matrix<T> a, const double* row, const double* column) {
    for_each_element<T>(stream, Scaled<T>{{}, a, row, column}, a.rows, a.cols);
}

template <class T>
void apply_penalty(Stream& stream, Matrix<T> z, const double* l, const double* alphas) {
    for_each_element<T>(stream, Penalised<T>{{}, z, l, alphas}, z.rows, z.cols);
}

template <class T>
void rank_one(Stream& stream, Matrix<T> a, double alpha, const double* row, const double* column) {
    for_each_element<T>(stream, RankOne<T>{{}, a, alpha, row, column}, a.rows, a.cols);
}

template <class T>
void take_columns(Stream& stream, Matrix<const T> a, const index_t* columns, Matrix<T> out) {
    require(a.rows == out.rows, "take_columns: a ", shape{a.rows, a.cols}, " and out ", shape{out.rows, out.cols}, " differ in their rows");
    for_each_element<T>(stream, ColumnsTaken<T>{{}, out, a, columns}, out.rows, out.cols);
}

template <class T>
void put_columns(Stream& stream, Matrix<const T> a, const index_t* columns, Matrix<T> out) {
    require(a.rows == out.rows, "put_columns: a ", shape{a.rows, a.cols}, " and out ", shape{out.rows, out.cols}, " differ in their rows");
    for_each_element<T>(stream, ColumnsPut<T>{out, a, columns}, a.rows, a.cols);
}

template <class T>
void take_rows(Stream& stream, Matrix<const T> a, const index_t* rows, Matrix<T> out) {
    require(a.cols == out.cols, "take_rows: a ", shape{a.rows, a.cols}, " and out ", shape{out.rows, out.cols}, " differ in their columns");
    for_each_element<T>(stream, RowsTaken<T>{{}, out, a, rows}, out.rows, out.cols);
}

template void accumulate<float, float>(Stream&, double, Matrix<const float>, double, Matrix<float>);
template void accumulate<float, double>(Stream&, double, Matrix<const float>, double, Matrix<double>);
template void accumulate<double, float>(Stream&, double, Matrix<const double>, double, Matrix<float>);
template void accumulate<double, double>(Stream&, double, Matrix<const double>, double, Matrix<double>);

#define VOXRIDGE_INSTANTIATE(T)                                                          \
    template void scale<T>(Stream&, Matrix<T>, const double*, const double*);            \
    template void apply_penalty<T>(Stream&, Matrix<T>, const double*, const double*);    \
    template void rank_one<T>(Stream&, Matrix<T>, double, const double*, const double*); \
    template void take_columns<T>(Stream&, Matrix<const T>, const index_t*, Matrix<T>);  \
    template void put_columns<T>(Stream&, Matrix<const T>, const index_t*, Matrix<T>);   \
    template void take_rows<T>(Stream&, Matrix<const T>, const index_t*, Matrix<T>);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::cuda
