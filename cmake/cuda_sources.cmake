# The sources of the module _cuda, named once: cuda.cmake compiles them for the device, emulated.cmake for the processor.

# What knows nothing of CUDA's headers, in both builds. A .cu holds kernels: nvcc compiles it, or the C++ compiler as C++.
set(VOXRIDGE_CUDA_SOURCES
  csrc/cuda/blas.cpp
  csrc/cuda/delayed_gram.cpp
  csrc/cuda/delayed_kernel.cpp
  csrc/cuda/delayed_products.cu
  csrc/cuda/delayed_rows.cu
  csrc/cuda/delayed_shift.cu
  csrc/cuda/design_columns.cu
  csrc/cuda/heldout_moments.cu
  csrc/cuda/invert_factor.cu
  csrc/cuda/matrices.cu
  csrc/cuda/targets.cu
  csrc/cuda/transpose.cu
  csrc/cuda/triangles.cu)

# cuda/runtime.hpp by CUDA itself; the emulated build has its own.
set(VOXRIDGE_CUDA_RUNTIME_SOURCES
  csrc/cuda/devices.cu
  csrc/cuda/libraries.cu
  csrc/cuda/runtime.cu)

set(VOXRIDGE_CUDA_BINDINGS
  csrc/bind/module_cuda.cpp
  csrc/bind/register_cuda_blas.cpp
  csrc/bind/register_cuda_delayed.cpp
  csrc/bind/register_cuda_design.cpp
  csrc/bind/register_cuda_exchange.cpp
  csrc/bind/register_cuda_memory.cpp
  csrc/bind/register_cuda_passes.cpp
  csrc/bind/register_cuda_scores.cpp)
