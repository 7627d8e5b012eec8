// The checked _longjmp takes a switch to another stack for an error.
#undef _FORTIFY_SOURCE
#include "emulated/fibers.hpp"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "emulated/rounding.hpp"
#include "emulated/sanitizer.hpp"

namespace voxridge::cuda {

namespace {
constexpr std::size_t kStack = 128 * 1024;
constexpr int kWarp = 32;
}  // namespace

Fibers& Fibers::of(int n_threads) {
    thread_local std::map<int, std::unique_ptr<Fibers>> kept;
    auto& fibers = kept[n_threads];
    if (!fibers) fibers = std::make_unique<Fibers>(n_threads);
    return *fibers;
}

Fibers::Fibers(int n_threads) : n_(n_threads), fibers_(n_threads), waiting_(n_threads, 3), warps_((n_threads + kWarp - 1) / kWarp) {
    for (Fiber& fiber : fibers_) fiber.stack = std::make_unique_for_overwrite<char[]>(kStack);
}

void Fibers::entry(unsigned low, unsigned high, unsigned thread) {
    auto* fibers = reinterpret_cast<Fibers*>(static_cast<std::uintptr_t>(low) | (static_cast<std::uintptr_t>(high) << 32));
    fibers->scheduler_stack_ = emulated::arrive(nullptr);
    for (;;) {  // a block after the other
        try {
            (*fibers->body_)(static_cast<int>(thread));
        } catch (...) {
            fibers->error_ = std::current_exception();
        }
        fibers->pause(3);
    }
}

void Fibers::run(bool forwards, const std::function<void(int)>& body) {
    body_ = &body;
    forwards_ = forwards;
    resume(0, n_);
    while (!error_) {
        const auto returned = std::ranges::count(waiting_, 3), at_barrier = std::ranges::count(waiting_, 1);
        if (returned == n_) break;
        bool moved = false;
        for (int w = static_cast<int>(warps_.size()); w-- > 0 && !error_;) {  // warps whose threads all wait for each other
            const int first = w * kWarp, last = std::min(first + kWarp, n_);
            const auto begin = waiting_.begin() + first, end = waiting_.begin() + last;
            if (std::count(begin, end, 2) != last - first) continue;
            moved = true;
            resume(first, last);
        }
        if (moved) continue;
        if (at_barrier != n_) {
            error_ = std::make_exception_ptr(std::logic_error("a kernel's threads wait for each other at different barriers, or after some returned"));
            break;
        }
        forwards_ = !forwards_;
        resume(0, n_);
    }
    if (!error_) return;
    for (Fiber& fiber : fibers_) {  // some have stopped half-way
        fiber.started = false;
        emulated::allow(fiber.stack.get(), kStack);
    }
    std::rethrow_exception(std::exchange(error_, nullptr));
}

void Fibers::enter(int thread) {
    Fiber& fiber = fibers_[thread];
    if (_setjmp(scheduler_) != 0) {
        emulated::arrive(scheduler_kept_);
        return;
    }
    emulated::depart(scheduler_kept_, {fiber.stack.get(), kStack});
    if (fiber.started) _longjmp(fiber.place, 1);
    fiber.started = true;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = kStack;
    fiber.start.uc_link = nullptr;
    makecontext(&fiber.start, reinterpret_cast<void (*)()>(&Fibers::entry), 3, static_cast<unsigned>(self), static_cast<unsigned>(self >> 32),
                static_cast<unsigned>(thread));
    setcontext(&fiber.start);
}

void Fibers::resume(int first, int last) {
    for (int turn = first; turn < last && !error_; ++turn) {
        current_ = forwards_ ? turn : first + last - 1 - turn;
        waiting_[current_] = 0;
        enter(current_);
    }
}

void Fibers::pause(int kind) {
    const int me = current_;
    waiting_[me] = kind;
    if (_setjmp(fibers_[me].place) == 0) {
        emulated::depart(fibers_[me].kept, scheduler_stack_);
        _longjmp(scheduler_, 1);
    }
    emulated::arrive(fibers_[me].kept);
}

void Fibers::sync() { pause(1); }

void Fibers::mma(int thread, float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], bool bf16) {
    Warp& warp = warps_[thread / kWarp];
    const int lane = thread % kWarp, group = lane / 4, place = lane % 4;
    const auto put = [&](int i) {  // register i of A: rows group and group + 8, columns in halves
        const int row = group + 8 * (i % 2), half = i / 2;
        if (bf16) {
            warp.a[row][2 * place + 8 * half] = bf16_value(a[i] & 0xffffU);
            warp.a[row][2 * place + 1 + 8 * half] = bf16_value(a[i] >> 16);
        } else {
            warp.a[row][place + 4 * half] = tf32_value(a[i]);
        }
    };
    for (int i = 0; i < 4; ++i) put(i);
    for (int i = 0; i < 2; ++i) {
        if (bf16) {
            warp.b[2 * place + 8 * i][group] = bf16_value(b[i] & 0xffffU);
            warp.b[2 * place + 1 + 8 * i][group] = bf16_value(b[i] >> 16);
        } else {
            warp.b[place + 4 * i][group] = tf32_value(b[i]);
        }
    }
    pause(2);
    const int depth = bf16 ? 16 : 8;
    for (int i = 0; i < 4; ++i) {
        const int row = group + 8 * (i / 2), column = 2 * place + i % 2;
        float sum = 0;
        for (int k = 0; k < depth; ++k) sum += warp.a[row][k] * warp.b[k][column];
        c[i] += sum;
    }
    pause(2);  // nobody may overwrite what others still read
}

}  // namespace voxridge::cuda
