// scipy publishes its BLAS and LAPACK as capsules, one a routine (scipy.linalg.cython_blas and cython_lapack).
#pragma once

#include <map>
#include <string>

#include "bind/views.hpp"

namespace voxridge::bind {

// Addresses by Fortran name.
inline std::map<std::string, void*> scipy_routines() {
    std::map<std::string, void*> routines;
    for (const char* module : {"scipy.linalg.cython_blas", "scipy.linalg.cython_lapack"}) {
        const py::dict table = py::module_::import(module).attr("__pyx_capi__");
        for (const auto& [name, capsule] : table)
            routines[py::cast<std::string>(name)] = PyCapsule_GetPointer(capsule.ptr(), PyCapsule_GetName(capsule.ptr()));
    }
    return routines;
}

}  // namespace voxridge::bind
