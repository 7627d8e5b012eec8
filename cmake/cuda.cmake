# The module _cuda: built where nvcc, cuBLAS, cuSOLVER and the CUDA runtime are found. Including this file does everything.
include("${CMAKE_CURRENT_LIST_DIR}/cuda_libraries.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/cuda_sources.cmake")

set(VOXRIDGE_CUDA AUTO CACHE STRING "Build the CUDA module: AUTO (where nvcc and the libraries are found), ON or OFF")
set(VOXRIDGE_CUDA_ROOT "" CACHE PATH "The folder with CUDA's headers and libraries, or with NVIDIA's wheels; empty: search")
if(NOT VOXRIDGE_CUDA_ROOT AND DEFINED ENV{VOXRIDGE_CUDA_ROOT})
  set(VOXRIDGE_CUDA_ROOT "$ENV{VOXRIDGE_CUDA_ROOT}")  # not in the cache: the next build may name another
endif()
# Machine code for A100, H100/H200 and RTX 50. The intermediate code of the last two serves what lies between and what comes.
set(VOXRIDGE_CUDA_ARCHITECTURES 80-real 90 120 CACHE STRING "As CMAKE_CUDA_ARCHITECTURES")

macro(voxridge_without_cuda reason)
  if(VOXRIDGE_CUDA STREQUAL "AUTO")
    message(STATUS "voxridge: no CUDA module: ${reason}")
    return()
  endif()
  message(FATAL_ERROR "VOXRIDGE_CUDA=${VOXRIDGE_CUDA}, but ${reason}\nThe CUDA module wants nvcc 13 (of the CUDA toolkit) and cuBLAS, cuSOLVER and "
    "the CUDA runtime with their headers, from the toolkit or from\n  pip install 'cuda-toolkit[cublas,cusolver,cudart]>=13.0,<14'\nin the environment "
    "that builds. -DVOXRIDGE_CUDA_ROOT=FOLDER (or the environment variable) names their folder.")
endmacro()

# --- nvcc and the libraries ----------------------------------------------------------------------
if(NOT VOXRIDGE_CUDA STREQUAL "AUTO" AND NOT VOXRIDGE_CUDA)
  return()
endif()
if(NOT CMAKE_SYSTEM_NAME STREQUAL "Linux")
  voxridge_without_cuda("it is built on Linux only")
endif()
if(VOXRIDGE_SANITIZE)
  voxridge_without_cuda("a build with sanitizers has none")
endif()

voxridge_cuda_folders("${Python_EXECUTABLE}" cuda_folders)
set(nvcc_folders)
foreach(folder IN LISTS VOXRIDGE_CUDA_ROOT cuda_folders)
  file(GLOB found LIST_DIRECTORIES true "${folder}/bin" "${folder}/nvidia/cu*/bin")
  list(APPEND nvcc_folders ${found})
endforeach()
find_program(VOXRIDGE_NVCC NAMES "${CMAKE_CUDA_COMPILER}" "$ENV{CUDACXX}" nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin
  PATHS ${nvcc_folders} /usr/local/cuda/bin /opt/cuda/bin DOC "The CUDA compiler")
if(NOT VOXRIDGE_NVCC)
  voxridge_without_cuda("nvcc was not found")
endif()
execute_process(COMMAND "${VOXRIDGE_NVCC}" --version OUTPUT_VARIABLE cuda_version ERROR_QUIET)
string(REGEX MATCH "V[0-9]+[.][0-9.]+" cuda_version "${cuda_version}")
string(SUBSTRING "${cuda_version}0" 1 -1 cuda_version)
if(cuda_version VERSION_LESS 13)
  voxridge_without_cuda("${VOXRIDGE_NVCC} is of CUDA ${cuda_version}, and 13.0 is the oldest that will do")
endif()
string(REGEX MATCH "^[0-9]+" cuda_major "${cuda_version}")

set(cuda_rpath "\$ORIGIN/../nvidia/cu${cuda_major}/lib")  # where pip puts NVIDIA's wheels, seen from the package
find_package(CUDAToolkit QUIET)
if(VOXRIDGE_CUDA_ROOT)
  voxridge_find_cuda_libraries(${cuda_major} cuda "${VOXRIDGE_CUDA_ROOT}")
else()
  voxridge_find_cuda_libraries(${cuda_major} cuda ${CUDAToolkit_TARGET_DIR} ${CUDAToolkit_LIBRARY_ROOT} ${cuda_folders})
  # A distribution's toolkit, spread over /usr, is known to CMake alone.
  if(cuda_MISSING AND TARGET CUDA::cublas AND TARGET CUDA::cusolver AND TARGET CUDA::cudart)
    set(cuda_MISSING)
    set(cuda_INCLUDE ${CUDAToolkit_INCLUDE_DIRS})
    foreach(name IN ITEMS cublas cusolver cudart)
      get_target_property(cuda_${name} CUDA::${name} IMPORTED_LOCATION)
    endforeach()
  endif()
endif()
if(cuda_MISSING)
  voxridge_without_cuda("headers or libraries were not found; ${cuda_MISSING}")
endif()

# Through the environment: a compiler that is named to CMake is not tried before it is used, and one that does not work would end the build.
if(NOT DEFINED ENV{CUDACXX})
  set(ENV{CUDACXX} "${VOXRIDGE_NVCC}")
endif()
if(NOT DEFINED ENV{CUDAHOSTCXX})
  set(ENV{CUDAHOSTCXX} "${CMAKE_CXX_COMPILER}")  # one compiler for both halves
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${VOXRIDGE_CUDA_ARCHITECTURES})
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  unset(CMAKE_CUDA_COMPILER CACHE)  # tried again when this is configured again
  voxridge_without_cuda("${VOXRIDGE_NVCC} and ${CMAKE_CXX_COMPILER} do not work together (${CMAKE_BINARY_DIR}/CMakeFiles/CMakeConfigureLog.yaml says why)")
endif()
enable_language(CUDA)

foreach(name IN ITEMS cublas cusolver cudart)
  add_library(voxridge::${name} SHARED IMPORTED)
  set_target_properties(voxridge::${name} PROPERTIES IMPORTED_LOCATION "${cuda_${name}}" INTERFACE_INCLUDE_DIRECTORIES "${cuda_INCLUDE}")
endforeach()
get_filename_component(cuda_library_folder "${cuda_cublas}" DIRECTORY)
if(NOT cuda_library_folder MATCHES "/nvidia/cu${cuda_major}/lib$")
  list(APPEND cuda_rpath "${cuda_library_folder}")  # a toolkit: this build belongs to this machine
endif()

# --- the module ----------------------------------------------------------------------------------
add_library(voxridge_cuda STATIC ${VOXRIDGE_CUDA_SOURCES} ${VOXRIDGE_CUDA_RUNTIME_SOURCES})
target_link_libraries(voxridge_cuda PUBLIC voxridge_core voxridge::cublas voxridge::cusolver voxridge::cudart)
# nvcc's own code knows nothing of -Wpedantic.
target_compile_options(voxridge_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wshadow,-Wconversion,-Wno-sign-conversion>)
if(VOXRIDGE_WERROR)
  target_compile_options(voxridge_cuda PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()
set_target_properties(voxridge_cuda PROPERTIES
  POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden
  CUDA_STANDARD 20 CUDA_STANDARD_REQUIRED ON CUDA_ARCHITECTURES "${VOXRIDGE_CUDA_ARCHITECTURES}" CUDA_RUNTIME_LIBRARY None)

list(JOIN VOXRIDGE_CUDA_ARCHITECTURES ", " cuda_architectures)
pybind11_add_module(_cuda MODULE ${VOXRIDGE_CUDA_BINDINGS})
target_link_libraries(_cuda PRIVATE voxridge_cuda)
target_link_options(_cuda PRIVATE -Wl,--enable-new-dtags)  # RUNPATH: LD_LIBRARY_PATH comes before it
target_compile_definitions(_cuda PRIVATE
  "VOXRIDGE_CUDA_COMPILER=\"${CMAKE_CUDA_COMPILER_ID} ${CMAKE_CUDA_COMPILER_VERSION}\"" "VOXRIDGE_CUDA_ARCHITECTURES=\"${cuda_architectures}\"")
set_target_properties(_cuda PROPERTIES
  LINKER_LANGUAGE CXX CUDA_RUNTIME_LIBRARY None INSTALL_RPATH "${cuda_rpath}" BUILD_WITH_INSTALL_RPATH ON)
install(TARGETS _cuda LIBRARY DESTINATION voxridge)

message(STATUS "voxridge: CUDA module by nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${cuda_architectures}; ${cuda_cublas}")
