// The CPU module: a table of contents.
#include "bind/views.hpp"

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "CPU ops of voxridge. Arrays are C-ordered float32 or float64; outputs are written in place; the GIL is released.";
    voxridge::bind::register_blas(m);
    voxridge::bind::register_build(m);
    voxridge::bind::register_delayed(m);
    voxridge::bind::register_leave_out(m);
    voxridge::bind::register_spectral(m);
    voxridge::bind::register_stacking(m);
}
