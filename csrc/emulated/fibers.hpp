// The threads of a block as fibers that take turns: between two barriers each runs alone, so what a missing barrier would spoil is spoiled.
// The first thread goes first, or the last, by turns: one of the two orders reads what the other would have written.
#pragma once

#include <ucontext.h>

#include <csetjmp>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "emulated/sanitizer.hpp"

namespace voxridge::cuda {

class Fibers {
public:
    // Those of this thread, kept from block to block: to start them takes longer than to run them.
    static Fibers& of(int n_threads);
    explicit Fibers(int n_threads);
    Fibers(const Fibers&) = delete;
    Fibers& operator=(const Fibers&) = delete;
    // body(thread) of every thread, to the end.
    void run(bool forwards, const std::function<void(int)>& body);
    // From inside: wait for all threads of the block. Throws where some have returned already, as CUDA would hang or worse.
    void sync();
    // From inside, by all threads of a warp: C += A B in the fragment layout of PTX.
    void mma(int thread, float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], bool bf16);

private:
    struct Warp {
        float a[16][16], b[16][8], c[16][8];
    };
    static void entry(unsigned low, unsigned high, unsigned thread);
    void enter(int thread);
    void resume(int first, int last);  // the threads of a range, each to its next barrier
    void pause(int kind);  // until all of the block (1) or of the warp (2) are here

    struct Fiber {
        std::unique_ptr<char[]> stack;
        ucontext_t start{};
        std::jmp_buf place{};  // _setjmp and _longjmp switch without a call of the system, which swapcontext makes
        void* kept = nullptr;  // AddressSanitizer's
        bool started = false;
    };
    int n_;
    std::vector<Fiber> fibers_;
    std::jmp_buf scheduler_{};
    void* scheduler_kept_ = nullptr;
    emulated::StackBounds scheduler_stack_;
    std::vector<int> waiting_;  // 0 running, 1 at the block's barrier, 2 at the warp's, 3 returned
    std::vector<Warp> warps_;
    const std::function<void(int)>* body_ = nullptr;
    int current_ = 0;
    bool forwards_ = true;
    std::exception_ptr error_;
};

}  // namespace voxridge::cuda
