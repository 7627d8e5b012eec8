// How this library was built, and which of its instruction sets runs on this machine.
#pragma once

#include <map>
#include <string>

namespace voxridge {

// Keys: compiler, standard, build_type, flags, instruction_sets (what the hot loops were compiled for), instruction_set (which of them runs
// here), sanitized ("yes" or "no").
std::map<std::string, std::string> build_info();

}  // namespace voxridge
