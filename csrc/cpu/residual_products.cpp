#include "core/residual_products.hpp"

#include "cpu/lanes.hpp"
#include "cpu/multiversion.hpp"
#include "cpu/parallel.hpp"

namespace voxridge {
namespace {

constexpr index_t kLanes = 8;     // targets of one vector of float64
constexpr index_t kStrip = 64;    // targets of one job: its rows are whole lines of the cache
constexpr index_t kRows = 64;     // rows brought to float64 at once, for all parts
constexpr index_t kParts = 4;     // the sums of kParts x kParts pairs stay in registers
constexpr index_t kPolled = 512;  // strips between two polls

using Vector = LanesOf<double>::type;

struct alignas(64) Lane {
    double value[kLanes] = {};
};

// to (rows, parts, lanes) <- truth - part, or part, of eight targets.
#define VOXRIDGE_WIDEN(T)                                                                                      \
    VOXRIDGE_MULTIVERSION void widen(const T* part, index_t part_stride, const T* truth, index_t truth_stride, \
                                     index_t rows, index_t padded, Lane* to) {                                 \
        for (index_t t = 0; t < rows; ++t, part += part_stride, to += padded) {                                \
            Vector value;                                                                                      \
            load_eight(part, value);                                                                           \
            if (truth) {                                                                                       \
                Vector whole;                                                                                  \
                load_eight(truth + t * truth_stride, whole);                                                   \
                value = whole + -1.0 * value;                                                                  \
            }                                                                                                  \
            *reinterpret_cast<Vector*>(to->value) = value;                                                     \
        }                                                                                                      \
    }
VOXRIDGE_WIDEN(float)
VOXRIDGE_WIDEN(double)
#undef VOXRIDGE_WIDEN

// sums (kParts, kParts) += products of parts [i, i + kParts) and [j, j + kParts) over the rows of e (rows, padded).
VOXRIDGE_MULTIVERSION void add_products(const Lane* e, index_t rows, index_t padded, index_t i, index_t j, Lane* sums) {
    Vector sum[kParts][kParts];
    for (index_t a = 0; a < kParts; ++a)
        for (index_t b = 0; b < kParts; ++b) sum[a][b] = *reinterpret_cast<const Vector*>(sums[a * kParts + b].value);
    for (index_t t = 0; t < rows; ++t, e += padded) {
        const auto* left = reinterpret_cast<const Vector*>(e[i].value);
        const auto* right = reinterpret_cast<const Vector*>(e[j].value);
        for (index_t a = 0; a < kParts; ++a)
            for (index_t b = 0; b < kParts; ++b) sum[a][b] += left[a] * right[b];
    }
    for (index_t a = 0; a < kParts; ++a)
        for (index_t b = 0; b < kParts; ++b) *reinterpret_cast<Vector*>(sums[a * kParts + b].value) = sum[a][b];
}

template <class T>
void load_group(const std::vector<Matrix<const T>>& parts, Matrix<const T> truth, index_t row, index_t rows, index_t first, index_t width,
                index_t padded, Lane* to) {
    for (index_t m = 0; m < static_cast<index_t>(parts.size()); ++m) {
        const Matrix<const T>& part = parts[static_cast<std::size_t>(m)];
        const T* whole = truth.rows > 0 ? truth.row(row) + first : nullptr;
        if (width == kLanes) {
            widen(part.row(row) + first, part.stride, whole, truth.stride, rows, padded, to + m);
            continue;
        }
        for (index_t t = 0; t < rows; ++t)
            for (index_t v = 0; v < width; ++v) {
                const auto value = static_cast<double>(part.row(row + t)[first + v]);
                to[t * padded + m].value[v] = whole ? static_cast<double>(truth.row(row + t)[first + v]) - value : value;
            }
    }
}

// One strip of targets: [first, first + width), width <= kStrip.
template <class T>
void sum_strip(const std::vector<Matrix<const T>>& parts, Matrix<const T> truth, index_t first, index_t width, Matrix<double> sums) {
    const index_t m = static_cast<index_t>(parts.size()), blocks = (m + kParts - 1) / kParts, padded = blocks * kParts;
    const index_t groups = (width + kLanes - 1) / kLanes, pairs = blocks * (blocks + 1) / 2 * kParts * kParts;
    std::vector<Lane> wide(static_cast<std::size_t>(kRows * padded));
    std::vector<Lane> found(static_cast<std::size_t>(groups * pairs));
    for (index_t row = 0; row < parts[0].rows; row += kRows) {
        const index_t rows = std::min(kRows, parts[0].rows - row);
        for (index_t g = 0; g < groups; ++g) {
            load_group(parts, truth, row, rows, first + g * kLanes, std::min(kLanes, width - g * kLanes), padded, wide.data());
            Lane* sum = found.data() + g * pairs;
            for (index_t i = 0; i < padded; i += kParts)
                for (index_t j = 0; j <= i; j += kParts, sum += kParts * kParts) add_products(wide.data(), rows, padded, i, j, sum);
        }
    }
    for (index_t i = 0; i < m; ++i)
        for (index_t j = 0; j <= i; ++j) {
            const index_t a = i / kParts, b = j / kParts, block = a * (a + 1) / 2 + b;
            const Lane* sum = found.data() + (block * kParts + i % kParts) * kParts + j % kParts;
            double* out = sums.row(i * (i + 1) / 2 + j) + first;
            for (index_t v = 0; v < width; ++v) out[v] += sum[v / kLanes * pairs].value[v % kLanes];
        }
}

}  // namespace

template <class T>
void residual_products(const std::vector<Matrix<const T>>& parts, Matrix<const T> truth, Matrix<double> sums, int n_threads,
                       const Poll& poll) {
    require(!parts.empty(), "residual_products: parts is empty");
    const index_t m = static_cast<index_t>(parts.size()), rows = parts[0].rows, cols = parts[0].cols;
    for (const Matrix<const T>& part : parts)
        require(part.rows == rows && part.cols == cols, "residual_products: a part is ", shape{part.rows, part.cols}, ", the first one ",
                shape{rows, cols});
    require(truth.data == nullptr || (truth.rows == rows && truth.cols == cols), "residual_products: truth is ",
            shape{truth.rows, truth.cols}, ", the parts ", shape{rows, cols});
    require(sums.rows == m * (m + 1) / 2 && sums.cols == cols, "residual_products: sums is ", shape{sums.rows, sums.cols}, ", ", m,
            " parts give ", shape{m * (m + 1) / 2, cols});
    const index_t strips = (cols + kStrip - 1) / kStrip;
    for (index_t done = 0; done < strips; done += kPolled) {
        poll();
        parallel_for(std::min(kPolled, strips - done), n_threads, [&](index_t s) {
            const index_t first = (done + s) * kStrip;
            sum_strip(parts, truth, first, std::min(kStrip, cols - first), sums);
        });
    }
}

template void residual_products<float>(const std::vector<Matrix<const float>>&, Matrix<const float>, Matrix<double>, int, const Poll&);
template void residual_products<double>(const std::vector<Matrix<const double>>&, Matrix<const double>, Matrix<double>, int, const Poll&);

}  // namespace voxridge
