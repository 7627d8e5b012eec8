#include "cuda/design_columns.hpp"

#include "cuda/block.hpp"

namespace voxridge::cuda {

namespace {

constexpr int kTile = 32, kRowsAtOnce = 8;

// A tile of 32 features x 32 samples goes through shared memory: neighbouring threads read neighbouring features and write neighbouring samples.
template <class F>
struct DesignColumns {
    static constexpr int kThreads = kTile * kRowsAtOnce;
    static constexpr bool kSyncs = true;
    struct Shared {
        double tile[kTile][kTile + 1];
    };
    Matrix<const F> features;
    const index_t *rows, *run_begin, *run_end, *delays;
    const double *mean, *root;
    Matrix<double> out;

    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const int lane = block.thread() % kTile, first = block.thread() / kTile;
        const index_t width = features.cols, delay_number = block.z();
        const index_t sample = index_t{block.x()} * kTile, feature = index_t{block.y()} * kTile;
        for (int i = first; i < kTile; i += kRowsAtOnce) {
            if (sample + i >= out.cols || feature + lane >= width) continue;
            const index_t t = rows[sample + i], from = t - delays[delay_number], column = delay_number * width + feature + lane;
            const bool inside = from >= run_begin[t] && from < run_end[t];
            double value = inside ? static_cast<double>(features.data[from * features.stride + feature + lane]) : 0.0;
            if (mean != nullptr) value -= mean[column];
            if (root != nullptr) value *= root[t];
            shared.tile[i][lane] = value;
        }
        block.sync();
        for (int j = first; j < kTile; j += kRowsAtOnce) {
            if (feature + j >= width || sample + lane >= out.cols) continue;
            out.data[(delay_number * width + feature + j) * out.stride + sample + lane] = shared.tile[lane][j];
        }
    }
};

}  // namespace

template <class F>
void design_columns(Stream& stream, Matrix<const F> features, const index_t* rows, const index_t* run_begin, const index_t* run_end,
                    const index_t* delays, index_t n_delays, const double* mean, const double* root, Matrix<double> out) {
    require(out.rows == n_delays * features.cols, "design_columns: out ", shape{out.rows, out.cols}, " does not have ", n_delays, " x ",
            features.cols, " rows");
    launch(stream, {blocks_for(out.cols, kTile), blocks_for(features.cols, kTile), n_delays},
           DesignColumns<F>{features, rows, run_begin, run_end, delays, mean, root, out});
}

template void design_columns<float>(Stream&, Matrix<const float>, const index_t*, const index_t*, const index_t*, const index_t*, index_t,
                                    const double*, const double*, Matrix<double>);
template void design_columns<double>(Stream&, Matrix<const double>, const index_t*, const index_t*, const index_t*, const index_t*, index_t,
                                     const double*, const double*, Matrix<double>);

}  // namespace voxridge::cuda
