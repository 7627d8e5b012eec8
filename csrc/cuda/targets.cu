#include <cmath>

#include "cuda/elements.hpp"
#include "cuda/passes.hpp"
#include "cuda/row_sums.hpp"

namespace voxridge::cuda {
namespace {

template <class R, class T>
struct CentredTargets : InPlace {
    Matrix<T> out;
    Matrix<const R> raw;
    const double* mean;
    const unsigned char* valid;
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const {
        const R value = raw.row(i)[j];  // of invalid targets, too: a branch would stand between the reads
        const T centred = mean ? static_cast<T>(value - static_cast<T>(mean[j])) : static_cast<T>(value);
        return valid[j] ? centred : T{0};
    }
};

template <class T>
struct Moved {
    Matrix<T> out;
    Matrix<const T> y;
    const T* mean;
    const double* root;
    Matrix<const T> smoothed;
    const index_t* rows;
    VOXRIDGE_DEVICE index_t row(index_t i) const { return rows ? rows[i] : i; }
    VOXRIDGE_DEVICE index_t column(index_t j) const { return j; }
    VOXRIDGE_DEVICE T value(index_t i, index_t j) const {
        const index_t t = row(i);
        T value = y.row(t)[j];
        if (mean) value -= mean[j];
        if (root) value *= static_cast<T>(root[t]);
        return smoothed.data ? value - smoothed.row(t)[j] : value;
    }
};

// Sums and sums of squares.
template <class T>
struct Moments {
    static constexpr int kSums = 2;
    struct Sample {
        T y;
    };
    Matrix<const T> y;
    VOXRIDGE_DEVICE Sample read(index_t i, index_t j) const { return {y.row(i)[j]}; }
    VOXRIDGE_DEVICE static void add(const Sample& sample, double (&sums)[kSums]) {
        const auto value = static_cast<double>(sample.y);
        sums[0] += value;
        sums[1] += value * value;
    }
};

VOXRIDGE_DEVICE inline void add_products(double weight, double q, double y, double (&sums)[3]) {
    const double weighted = weight * q;
    sums[0] += weighted;
    sums[1] += weighted * q;
    sums[2] += weighted * y;
}

template <class T>
struct Products {
    static constexpr int kSums = 3;
    struct Sample {
        T y, q;
        double weight;
    };
    Matrix<const T> y, q;
    const index_t* rows;
    const double* weights;
    VOXRIDGE_DEVICE Sample read(index_t i, index_t j) const {
        const index_t t = rows ? rows[i] : i;
        return {y.row(t)[j], q.row(t)[j], weights ? weights[i] : 1.0};
    }
    VOXRIDGE_DEVICE static void add(const Sample& sample, double (&sums)[kSums]) {
        add_products(sample.weight, static_cast<double>(sample.q), static_cast<double>(sample.y), sums);
    }
};

// What leave-one-out wants of a sample, the same for every target; `left` is the weight of all others.
template <class T>
struct SingleRow {
    double weight;
    T h, rest, root, reciprocal, rounded_weight, left;
};

template <class T>
struct MakeSingleRows {
    static constexpr int kThreads = 128;
    static constexpr bool kSyncs = false;
    struct Shared {};
    const double *h, *rest, *weights;
    double total;
    index_t n;
    SingleRow<T>* out;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t t = index_t{block.x()} * kThreads + block.thread();
        if (t >= n) return;
        const double weight = weights ? weights[t] : 1.0, root = std::sqrt(weight), reciprocal = root > 0 ? 1.0 / root : 0.0;
        out[t] = {weight, static_cast<T>(h[t]), static_cast<T>(rest[t]), static_cast<T>(root), static_cast<T>(reciprocal), static_cast<T>(weight),
                  static_cast<T>(total - weight)};
    }
};

template <class T>
struct Singles {
    static constexpr int kSums = 3;
    struct Sample {
        T y, smoothed, sum;
        bool intercept;
        SingleRow<T> row;
    };
    Matrix<const T> y, smoothed;
    const SingleRow<T>* rows;
    const double* sums;
    VOXRIDGE_DEVICE Sample read(index_t i, index_t j) const {
        return {y.row(i)[j], smoothed.row(i)[j], sums ? static_cast<T>(sums[j]) : T{0}, sums != nullptr, rows[i]};
    }
    VOXRIDGE_DEVICE static void add(const Sample& sample, double (&moments)[kSums]) {
        const SingleRow<T>& row = sample.row;
        const T mean = sample.intercept ? (sample.sum - row.rounded_weight * sample.y) / row.left : T{0};
        const T moved = row.root * (sample.y - mean);
        const T q = (sample.smoothed - row.h * moved) / row.rest * row.reciprocal + mean;
        add_products(row.weight, static_cast<double>(q), static_cast<double>(sample.y), moments);
    }
};

SumTargets<3> onto(Matrix<double> moments) { return {{moments.row(0), moments.row(1), moments.row(2)}, true}; }

template <class T>
void require_moments(const char* op, Matrix<const T> y, const char* other_name, Matrix<const T> other, Matrix<double> moments) {
    require(y.rows == other.rows && y.cols == other.cols && moments.rows == 3 && moments.cols == y.cols, op, ": y ", shape{y.rows, y.cols}, ", ",
            other_name, " ", shape{other.rows, other.cols}, ", moments ", shape{moments.rows, moments.cols});
}

}  // namespace

template <class R, class T>
void centre(Stream& stream, Matrix<const R> raw, const double* mean, const unsigned char* valid, Matrix<T> out) {
    require(raw.rows == out.rows && raw.cols == out.cols, "centre: raw ", shape{raw.rows, raw.cols}, " and out ", shape{out.rows, out.cols}, " differ");
    for_each_element<T>(stream, CentredTargets<R, T>{{}, out, raw, mean, valid}, out.rows, out.cols);
}

template <class T>
void column_moments(Stream& stream, Matrix<const T> y, index_t begin, index_t end, double* sums, double* squares) {
    require(begin >= 0 && begin <= end && end <= y.rows, "column_moments: rows [", begin, ", ", end, ") of y ", shape{y.rows, y.cols});
    const index_t n = end - begin;
    const Moments<T> term{y.block(begin, 0, n, y.cols)};
    auto* partial = static_cast<double*>(stream.scratch(sizeof(double) * static_cast<std::size_t>(partial_elements<Moments<T>>(n, y.cols))));
    sum_rows(stream, term, n, y.cols, partial, {{sums, squares}, false});
}

template <class T>
void product_moments(Stream& stream, Matrix<const T> y, Matrix<const T> q, const index_t* rows, index_t n_rows, const double* weights,
                     Matrix<double> moments) {
    require_moments("product_moments", y, "q", q, moments);
    require(rows || n_rows == y.rows, "product_moments: ", n_rows, " rows without an index, and y has ", y.rows);
    auto* partial = static_cast<double*>(stream.scratch(sizeof(double) * static_cast<std::size_t>(partial_elements<Products<T>>(n_rows, y.cols))));
    sum_rows(stream, Products<T>{y, q, rows, weights}, n_rows, y.cols, partial, onto(moments));
}

template <class T>
void single_moments(Stream& stream, Matrix<const T> y, Matrix<const T> smoothed, const double* h, const double* rest, const double* weights,
                    const double* sums, double total, Matrix<double> moments) {
    require_moments("single_moments", y, "smoothed", smoothed, moments);
    const std::size_t row_bytes = sizeof(SingleRow<T>) * static_cast<std::size_t>(y.rows);
    const std::size_t bytes = row_bytes + sizeof(double) * static_cast<std::size_t>(partial_elements<Singles<T>>(y.rows, y.cols));
    auto* rows = static_cast<SingleRow<T>*>(stream.scratch(bytes));
    auto* partial = reinterpret_cast<double*>(rows + y.rows);
    launch(stream, {blocks_for(y.rows, MakeSingleRows<T>::kThreads)}, MakeSingleRows<T>{h, rest, weights, total, y.rows, rows});
    sum_rows(stream, Singles<T>{y, smoothed, rows, sums}, y.rows, y.cols, partial, onto(moments));
}

template <class T>
void moved_rows(Stream& stream, Matrix<const T> y, const T* mean, const double* root, Matrix<const T> smoothed, const index_t* rows,
                index_t n_rows, Matrix<T> out) {
    require(y.rows == out.rows && y.cols == out.cols, "moved_rows: y ", shape{y.rows, y.cols}, " and out ", shape{out.rows, out.cols}, " differ");
    require(!smoothed.data || (smoothed.rows == y.rows && smoothed.cols == y.cols), "moved_rows: y ", shape{y.rows, y.cols}, " and smoothed ",
            shape{smoothed.rows, smoothed.cols}, " differ");
    require(rows || n_rows == y.rows, "moved_rows: ", n_rows, " rows without an index, and y has ", y.rows);
    for_each_element<T>(stream, Moved<T>{out, y, mean, root, smoothed, rows}, n_rows, y.cols);
}

template void centre<float, float>(Stream&, Matrix<const float>, const double*, const unsigned char*, Matrix<float>);
template void centre<float, double>(Stream&, Matrix<const float>, const double*, const unsigned char*, Matrix<double>);
template void centre<double, float>(Stream&, Matrix<const double>, const double*, const unsigned char*, Matrix<float>);
template void centre<double, double>(Stream&, Matrix<const double>, const double*, const unsigned char*, Matrix<double>);

#define VOXRIDGE_INSTANTIATE(T)                                                                                                            \
    template void column_moments<T>(Stream&, Matrix<const T>, index_t, index_t, double*, double*);                                         \
    template void product_moments<T>(Stream&, Matrix<const T>, Matrix<const T>, const index_t*, index_t, const double*, Matrix<double>);   \
    template void single_moments<T>(Stream&, Matrix<const T>, Matrix<const T>, const double*, const double*, const double*, const double*, \
                                    double, Matrix<double>);                                                                               \
    template void moved_rows<T>(Stream&, Matrix<const T>, const T*, const double*, Matrix<const T>, const index_t*, index_t, Matrix<T>);
VOXRIDGE_INSTANTIATE(float)
VOXRIDGE_INSTANTIATE(double)
#undef VOXRIDGE_INSTANTIATE

}  // namespace voxridge::cuda
