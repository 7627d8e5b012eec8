#include "emulated/fibers.hpp"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "emulated/rounding.hpp"

namespace voxridge::cuda {

namespace {
constexpr std::size_t kStack = 128 * 1024;
constexpr int kWarp = 32;
thread_local std::vector<std::vector<char>> spare_stacks;  // worth keeping: every block of a grid wants them
}  // namespace

Fibers::Fibers(int n_threads, bool forwards)
    : n_(n_threads), contexts_(n_threads), waiting_(n_threads, 0), warps_((n_threads + kWarp - 1) / kWarp), forwards_(forwards) {
    while (static_cast<int>(spare_stacks.size()) < n_threads) spare_stacks.emplace_back(kStack);
    stacks_.swap(spare_stacks);
}

Fibers::~Fibers() { stacks_.swap(spare_stacks); }

void Fibers::entry(unsigned low, unsigned high, unsigned thread) {
    auto* fibers = reinterpret_cast<Fibers*>(static_cast<std::uintptr_t>(low) | (static_cast<std::uintptr_t>(high) << 32));
    try {
        fibers->body_(static_cast<int>(thread));
    } catch (...) {
        fibers->error_ = std::current_exception();
    }
    fibers->waiting_[thread] = 3;
    swapcontext(&fibers->contexts_[thread], &fibers->scheduler_);
}

void Fibers::run(const std::function<void(int)>& body) {
    body_ = body;
    const auto self = reinterpret_cast<std::uintptr_t>(this);
    for (int i = 0; i < n_; ++i) {
        getcontext(&contexts_[i]);
        contexts_[i].uc_stack.ss_sp = stacks_[i].data();
        contexts_[i].uc_stack.ss_size = stacks_[i].size();
        contexts_[i].uc_link = nullptr;
        makecontext(&contexts_[i], reinterpret_cast<void (*)()>(&Fibers::entry), 3, static_cast<unsigned>(self), static_cast<unsigned>(self >> 32),
                    static_cast<unsigned>(i));
    }
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
    if (error_) std::rethrow_exception(error_);
}

void Fibers::resume(int first, int last) {
    for (int turn = first; turn < last && !error_; ++turn) {
        current_ = forwards_ ? turn : first + last - 1 - turn;
        waiting_[current_] = 0;
        swapcontext(&scheduler_, &contexts_[current_]);
    }
}

void Fibers::pause(int kind) {
    const int me = current_;
    waiting_[me] = kind;
    swapcontext(&contexts_[me], &scheduler_);
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
