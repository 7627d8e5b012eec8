// What AddressSanitizer wants to know of stacks that change and of memory that is not to be touched; nothing without it.
#pragma once

#include <cstddef>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace voxridge::cuda::emulated {

struct StackBounds {
    const void* bottom = nullptr;
    std::size_t bytes = 0;
};

#ifdef __SANITIZE_ADDRESS__
// Just before the stack changes: `kept` holds for the stack that is left what arrive() wants when it is taken up again.
inline void depart(void*& kept, StackBounds to) { __sanitizer_start_switch_fiber(&kept, to.bottom, to.bytes); }
// Just after; kept is nullptr on a new stack. The stack that was left.
inline StackBounds arrive(void* kept) {
    StackBounds from;
    __sanitizer_finish_switch_fiber(kept, &from.bottom, &from.bytes);
    return from;
}
inline void forbid(const void* memory, std::size_t bytes) { __asan_poison_memory_region(memory, bytes); }
inline void allow(const void* memory, std::size_t bytes) { __asan_unpoison_memory_region(memory, bytes); }
#else
inline void depart(void*&, StackBounds) {}
inline StackBounds arrive(void*) { return {}; }
inline void forbid(const void*, std::size_t) {}
inline void allow(const void*, std::size_t) {}
#endif

}  // namespace voxridge::cuda::emulated
