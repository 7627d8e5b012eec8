// The CUDA module: a table of contents.
#include "bind/device_arrays.hpp"
#ifdef VOXRIDGE_EMULATED
#include "bind/scipy_routines.hpp"
#include "emulated/selftest.hpp"
#include "emulated/world.hpp"
#endif

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA ops of voxridge. Arrays are float32, float64, int64 or uint8 on a device; work is queued; the GIL is released.";
    voxridge::bind::register_cuda_memory(m);
    voxridge::bind::register_cuda_exchange(m);
    voxridge::bind::register_cuda_blas(m);
    voxridge::bind::register_cuda_delayed(m);
    voxridge::bind::register_cuda_design(m);
    voxridge::bind::register_cuda_passes(m);
    voxridge::bind::register_cuda_scores(m);
#ifdef VOXRIDGE_EMULATED
    voxridge::cuda::emulated::load_blas(voxridge::bind::scipy_routines());
    voxridge::bind::register_selftest(m);
#endif
}
