#include "emulated/selftest.hpp"

#include "cuda/block.hpp"
#include "emulated/world.hpp"

namespace voxridge::cuda {
namespace {

// sums[block] <- sum of 64 elements, as a tree in shared memory; without its barriers the tree reads what nobody has written yet.
template <bool kBarriers>
struct TreeSum {
    static constexpr int kThreads = 64;
    static constexpr bool kSyncs = true;
    struct Shared {
        double part[kThreads];
    };
    const double* x;
    double* sums;
    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared& shared) const {
        const int thread = block.thread();
        shared.part[thread] = x[index_t{block.x()} * kThreads + thread];
        for (int half = kThreads / 2; half > 0; half /= 2) {
            if (kBarriers) block.sync();
            if (thread < half) shared.part[thread] += shared.part[thread + half];
        }
        if (thread == 0) sums[block.x()] = shared.part[0];
    }
};

struct SkippedBarrier {
    static constexpr int kThreads = 64;
    static constexpr bool kSyncs = true;
    struct Shared {};
    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        if (block.thread() >= 32) block.sync();
    }
};

// One product by a warp, the registers of its lanes given: a (32, 4), b (32, 2), c (32, 4).
template <bool kBf16>
struct WarpProduct {
    static constexpr int kThreads = 64;
    static constexpr bool kSyncs = true;
    struct Shared {};
    Matrix<const index_t> a, b;
    Matrix<float> c;
    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        if (block.thread() >= 32) return;  // the other warp has ended: a warp's product waits for nobody else
        const int lane = block.thread();
        std::uint32_t left[4], right[2];
        float sum[4];
        for (int i = 0; i < 4; ++i) left[i] = static_cast<std::uint32_t>(a.row(lane)[i]);
        for (int i = 0; i < 2; ++i) right[i] = static_cast<std::uint32_t>(b.row(lane)[i]);
        for (int i = 0; i < 4; ++i) sum[i] = c.row(lane)[i];
        if constexpr (kBf16)
            block.mma_bf16(sum, left, right);
        else
            block.mma_tf32(sum, left, right);
        for (int i = 0; i < 4; ++i) c.row(lane)[i] = sum[i];
    }
};

// x_i <- the number of the thread, whatever the grid: every block and thread runs once.
struct Count {
    static constexpr int kThreads = 32;
    static constexpr bool kSyncs = false;
    struct Shared {};
    Grid grid;
    double* x;
    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t at = (index_t{block.z()} * grid.y + block.y()) * grid.x + block.x();
        x[at * kThreads + block.thread()] += 1;
    }
};

}  // namespace
}  // namespace voxridge::cuda

namespace voxridge::bind {
namespace {

void tree_sum(const DeviceArray& x, const DeviceArray& sums, bool barriers, const Queue& queue) {
    const index_t blocks = sums.rows;
    const auto* vx = vector<const double>(x, blocks * 64, "x");
    auto* vs = vector<double>(sums, blocks, "sums");
    py::gil_scoped_release nogil;
    if (barriers)
        cuda::launch(queue.stream(), {blocks}, cuda::TreeSum<true>{vx, vs});
    else
        cuda::launch(queue.stream(), {blocks}, cuda::TreeSum<false>{vx, vs});
}

void warp_product(const DeviceArray& a, const DeviceArray& b, const DeviceArray& c, bool bf16, const Queue& queue) {
    const auto va = matrix<const index_t>(a, "a"), vb = matrix<const index_t>(b, "b");
    const auto vc = matrix<float>(c, "c");
    py::gil_scoped_release nogil;
    if (bf16)
        cuda::launch(queue.stream(), {1}, cuda::WarpProduct<true>{va, vb, vc});
    else
        cuda::launch(queue.stream(), {1}, cuda::WarpProduct<false>{va, vb, vc});
}

}  // namespace

void register_selftest(py::module_& m) {
    auto test = m.def_submodule("selftest");
    test.def("tree_sum", &tree_sum, py::arg("x"), py::arg("sums"), py::arg("barriers"), py::arg("queue"));
    test.def("skipped_barrier", [](const Queue& queue) { cuda::launch(queue.stream(), {1}, cuda::SkippedBarrier{}); }, py::arg("queue"));
    test.def("warp_product", &warp_product, py::arg("a"), py::arg("b"), py::arg("c"), py::arg("bf16"), py::arg("queue"));
    test.def("count", [](const DeviceArray& x, index_t gx, index_t gy, index_t gz, const Queue& queue) {
        const cuda::Grid grid{gx, gy, gz};
        cuda::launch(queue.stream(), grid, cuda::Count{grid, vector<double>(x, gx * gy * gz * 32, "x")}); }, py::arg("x"), py::arg("grid_x"), py::arg("grid_y"), py::arg("grid_z"), py::arg("queue"));
    test.def("gemm_on_host", [](const py::array_t<double>& a, const DeviceArray& c, const Queue& queue) { queue.stream().gemm('N', 'N', 1, 1, 1, 1.0, a.data(), 1, a.data(), 1, 0.0, vector<double>(c, 1, "c"), 1); }, py::arg("a"), py::arg("c"), py::arg("queue"));
    test.def("take_peak", &cuda::emulated::take_peak, py::arg("device"));
    test.def("tf32", [](float x) { return cuda::tf32_value(cuda::to_tf32(x)); }, py::arg("x"));
    test.def("bf16", [](float x) { return cuda::bf16_value(cuda::to_bf16(x)); }, py::arg("x"));
}

}  // namespace voxridge::bind
