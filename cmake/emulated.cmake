# The module _cuda on the processor, for the tests of machines without a GPU: the sources of the real one, with csrc/emulated/ in the place
# of CUDA. Never installed, so never in a wheel.
include(cmake/cuda_sources.cmake)

set_source_files_properties(${VOXRIDGE_CUDA_SOURCES} PROPERTIES LANGUAGE CXX)
foreach(source IN LISTS VOXRIDGE_CUDA_SOURCES)
  if(source MATCHES "\\.cu$")
    set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-x;c++")
  endif()
endforeach()

pybind11_add_module(_cuda MODULE
  ${VOXRIDGE_CUDA_BINDINGS}
  ${VOXRIDGE_CUDA_SOURCES}
  csrc/emulated/fibers.cpp
  csrc/emulated/host_blas.cpp
  csrc/emulated/memory.cpp
  csrc/emulated/runtime.cpp
  csrc/emulated/selftest.cpp)
target_link_libraries(_cuda PRIVATE voxridge_core Threads::Threads)
# With sanitizers, the kernels at the preset's level, and the bindings without: pybind11's templates would take minutes, and hand pointers on.
if(VOXRIDGE_SANITIZE)
  set_source_files_properties(${VOXRIDGE_CUDA_BINDINGS} csrc/emulated/selftest.cpp PROPERTIES COMPILE_OPTIONS "-fno-sanitize=all;-O0;-g0")
endif()
target_compile_options(_cuda PRIVATE $<$<NOT:$<BOOL:${VOXRIDGE_SANITIZE}>>:-O2> -Werror)
target_compile_definitions(_cuda PRIVATE VOXRIDGE_EMULATED
  "VOXRIDGE_CUDA_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\"")
