// Called between the pieces of a long op, so that the caller can report progress or stop it by throwing (Ctrl-C).
#pragma once

#include <functional>

namespace voxridge {

using Poll = std::function<void()>;

}  // namespace voxridge
