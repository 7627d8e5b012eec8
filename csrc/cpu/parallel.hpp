// Threads for the memory-bound kernels. BLAS has a pool of its own: nothing in here calls BLAS from a thread, and no op runs both at once.
#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "core/matrix.hpp"

namespace voxridge {

// body(i) for every i in [0, n), in any order, on up to n_threads threads; the first exception is thrown again here.
template <class Body>
void parallel_for(index_t n, int n_threads, const Body& body) {
    const int n_workers = static_cast<int>(std::min<index_t>(std::max(1, n_threads), n));
    if (n_workers <= 1) {
        for (index_t i = 0; i < n; ++i) body(i);
        return;
    }
    std::atomic<index_t> next{0};
    std::exception_ptr error;
    std::atomic<bool> failed{false};
    auto work = [&] {
        try {
            for (index_t i = next++; i < n && !failed; i = next++) body(i);
        } catch (...) {
            if (!failed.exchange(true)) error = std::current_exception();
        }
    };
    std::vector<std::thread> workers;
    for (int w = 1; w < n_workers; ++w) workers.emplace_back(work);
    work();
    for (std::thread& worker : workers) worker.join();
    if (error) std::rethrow_exception(error);
}

// Give what was freed back to the system. glibc keeps it, and what each thread freed for that thread alone; other C libraries do not.
inline void trim_memory() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

template <class T>
void fill_zero(Matrix<T> out, int n_threads = 1) {
    parallel_for(out.rows, n_threads, [&](index_t i) { std::fill_n(out.row(i), out.cols, T{0}); });
}

}  // namespace voxridge
