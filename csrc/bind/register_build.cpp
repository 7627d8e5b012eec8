#include "bind/views.hpp"
#include "core/build_info.hpp"

namespace voxridge::bind {

void register_build(py::module_& m) {
    m.def("build_info", [] {
        auto facts = build_info();
        facts["pybind11"] = PYBIND11_TOSTRING(PYBIND11_VERSION_MAJOR) "." PYBIND11_TOSTRING(PYBIND11_VERSION_MINOR);
        return facts;
    });
}

}  // namespace voxridge::bind
