// Kernels for the tests of the emulator itself; submodule _cuda.selftest of the emulated build.
#pragma once

#include "bind/device_arrays.hpp"

namespace voxridge::bind {

void register_selftest(py::module_& m);

}  // namespace voxridge::bind
