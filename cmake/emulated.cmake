# The module _cuda on the processor, for the tests of machines without a GPU: the sources of the real one, with csrc/emulated/ in the place
# of CUDA. Never installed, so never in a wheel.
include(cmake/cuda_sources.cmake)

# Sources that match VOXRIDGE_SKIP, or are not there, are left out, and bindings left out register nothing.
set(VOXRIDGE_SKIP "" CACHE STRING "Sources of _cuda to leave out of the emulated build, by a regular expression: for work on the others")
set(empty "${CMAKE_CURRENT_BINARY_DIR}/left_out.cpp")
file(WRITE ${empty} "#include \"bind/device_arrays.hpp\"\nnamespace voxridge::bind {\n")
foreach(source IN LISTS VOXRIDGE_CUDA_SOURCES VOXRIDGE_CUDA_BINDINGS)
  if(EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${source}" AND (VOXRIDGE_SKIP STREQUAL "" OR NOT source MATCHES "${VOXRIDGE_SKIP}"))
    continue()
  endif()
  list(REMOVE_ITEM VOXRIDGE_CUDA_SOURCES ${source})
  list(REMOVE_ITEM VOXRIDGE_CUDA_BINDINGS ${source})
  message(STATUS "emulated: ${source} is left out")
  if(source MATCHES "bind/(register_cuda_[a-z]+)")
    file(APPEND ${empty} "void ${CMAKE_MATCH_1}(py::module_&) {}\n")
  endif()
endforeach()
file(APPEND ${empty} "}\n")

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
  csrc/emulated/selftest.cpp
  ${empty})
target_link_libraries(_cuda PRIVATE voxridge_core Threads::Threads)
target_compile_options(_cuda PRIVATE -O2 -Werror)
target_compile_definitions(_cuda PRIVATE VOXRIDGE_EMULATED
  "VOXRIDGE_CUDA_COMPILER=\"${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}\"")
