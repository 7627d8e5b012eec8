// Streams as queues that run as late as they may: when somebody waits. What a missing event or synchronisation would spoil is then spoiled.
// VOXRIDGE_EMULATED_EAGER=1 runs everything at once, which is the other order that a device may choose.
#include <algorithm>
#include <cstring>
#include <deque>
#include <set>
#include <utility>

#include "cuda/block.hpp"
#include "emulated/world.hpp"

namespace voxridge::cuda {
namespace {

struct Work {
    std::deque<std::function<void()>> queue;
    index_t queued = 0, done = 0;  // ever
};

std::set<std::shared_ptr<Work>>& all_work() {
    static auto* all = new std::set<std::shared_ptr<Work>>;
    return *all;
}

std::exception_ptr failed;  // of work that was queued: thrown at the next wait, whose ever it is, as CUDA does

void run_until(Work& work, index_t position) {
    while (work.done < position && !work.queue.empty()) {
        const auto next = std::move(work.queue.front());
        work.queue.pop_front();
        try {
            next();
        } catch (...) {
            if (!failed) failed = std::current_exception();
        }
        ++work.done;
    }
}

void wait_until(Work& work, index_t position) {
    const std::scoped_lock held(emulated::world());
    run_until(work, position);
    if (failed) std::rethrow_exception(std::exchange(failed, nullptr));
}

void put(const std::shared_ptr<Work>& work, std::function<void()> closure) {
    const std::scoped_lock held(emulated::world());
    work->queue.push_back(std::move(closure));
    ++work->queued;
    if (emulated::setting("VOXRIDGE_EMULATED_EAGER", 0) != 0) run_until(*work, work->queued);
}

void put_wait(const std::shared_ptr<Work>& work, const std::shared_ptr<Work>& other, index_t position) {
    put(work, [other, position] { run_until(*other, position); });
}

void copy_rows(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    for (index_t i = 0; i < rows; ++i)
        std::memmove(static_cast<char*>(to) + i * to_pitch, static_cast<const char*>(from) + i * from_pitch, static_cast<std::size_t>(width));
}

// Bytes from the first to behind the last of rows at a pitch.
index_t extent(const char* what, index_t pitch, index_t width, index_t rows) {
    if (rows > 1 && pitch < width)
        throw Failure(std::string(what) + ": a pitch of " + std::to_string(pitch) + " bytes for rows of " + std::to_string(width));
    return (rows - 1) * pitch + width;
}

template <class T>
index_t bytes_of(const char* what, index_t rows, index_t cols, index_t leading) {
    if (leading < std::max<index_t>(rows, 1))
        throw Failure(std::string(what) + ": a leading dimension of " + std::to_string(leading) + " for " + std::to_string(rows) + " rows");
    return rows == 0 || cols == 0 ? 0 : static_cast<index_t>(sizeof(T)) * ((cols - 1) * leading + rows);
}

std::vector<float> rounded(const float* a, index_t rows, index_t cols, index_t leading, Precision precision) {
    std::vector<float> out(static_cast<std::size_t>(rows * cols));
    for (index_t j = 0; j < cols; ++j)
        for (index_t i = 0; i < rows; ++i) {
            const float value = a[j * leading + i];
            out[static_cast<std::size_t>(j * rows + i)] = precision == Precision::tf32 ? tf32_value(to_tf32(value)) : bf16_value(to_bf16(value));
        }
    return out;
}

template <class T>
void check_gemm(int device, bool swap_a, bool swap_b, index_t m, index_t n, index_t k, const T* a, index_t lda, const T* b, index_t ldb,
                const T* c, index_t ldc) {
    const index_t of_a = bytes_of<T>("gemm: a", swap_a ? k : m, swap_a ? m : k, lda);
    const index_t of_b = bytes_of<T>("gemm: b", swap_b ? n : k, swap_b ? k : n, ldb);
    if (k > 0) emulated::check_on_device("gemm: a", a, of_a, device);
    if (k > 0) emulated::check_on_device("gemm: b", b, of_b, device);
    emulated::check_on_device("gemm: c", c, bytes_of<T>("gemm: c", m, n, ldc), device);
}

}  // namespace

struct Stream::State {
    std::shared_ptr<Work> work = std::make_shared<Work>();
};

struct Event::State {
    std::shared_ptr<Work> work;
    index_t position;
};

void emulated::drain_all() noexcept {
    const std::scoped_lock held(world());
    for (const auto& work : all_work()) run_until(*work, work->queued);
}

void enqueue(Stream& stream, std::function<void()> work) { put(stream.state().work, std::move(work)); }

void Event::synchronize() const { wait_until(*state_->work, state_->position); }

Stream::Stream(int device) : device_(device), state_(std::make_unique<State>()) {
    const std::scoped_lock held(emulated::world());
    emulated::check_device_number(device);
    all_work().insert(state_->work);
}

Stream::~Stream() {
    const std::scoped_lock held(emulated::world());
    run_until(*state_->work, state_->work->queued);
    all_work().erase(state_->work);
}

void* Stream::native() const { return state_->work.get(); }

void Stream::synchronize() { wait_until(*state_->work, state_->work->queued); }

Event Stream::record() {
    const std::scoped_lock held(emulated::world());
    return Event(std::make_shared<Event::State>(Event::State{state_->work, state_->work->queued}));
}

void Stream::wait(const Event& event) { put_wait(state_->work, event.state()->work, event.state()->position); }

void Stream::wait_for_native(std::uintptr_t stream) {
    if (stream <= 2) return;  // the default streams: nothing is ever queued on them here
    const std::scoped_lock held(emulated::world());
    const auto same = [stream](const auto& work) { return reinterpret_cast<std::uintptr_t>(work.get()) == stream; };
    const auto other = std::ranges::find_if(all_work(), same);
    if (other == all_work().end()) throw Failure("there is no stream at " + std::to_string(stream));
    put_wait(state_->work, *other, (*other)->queued);
}

void Stream::upload(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    if (width <= 0 || rows <= 0) return;
    emulated::check_on_device("upload: the destination", to, extent("upload", to_pitch, width, rows), device_);
    emulated::check_on_host("upload: the source", from);
    const bool pinned = emulated::pinned_range(from, extent("upload", from_pitch, width, rows));
    put(state_->work, [=] { copy_rows(to, to_pitch, from, from_pitch, width, rows); });
    if (!pinned) synchronize();
}

void Stream::download(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    if (width <= 0 || rows <= 0) return;
    emulated::check_on_device("download: the source", from, extent("download", from_pitch, width, rows), device_);
    emulated::check_on_host("download: the destination", to);
    const bool pinned = emulated::pinned_range(to, extent("download", to_pitch, width, rows));
    put(state_->work, [=] { copy_rows(to, to_pitch, from, from_pitch, width, rows); });
    if (!pinned) synchronize();
}

void Stream::copy(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    if (width <= 0 || rows <= 0) return;
    emulated::check_on_device("copy: the destination", to, extent("copy", to_pitch, width, rows), device_);
    emulated::check_on_some_device("copy: the source", from, extent("copy", from_pitch, width, rows));
    put(state_->work, [=] { copy_rows(to, to_pitch, from, from_pitch, width, rows); });
}

void Stream::zero(void* to, index_t pitch, index_t width, index_t rows) {
    if (width <= 0 || rows <= 0) return;
    emulated::check_on_device("zero: the destination", to, extent("zero", pitch, width, rows), device_);
    put(state_->work, [=] {
        for (index_t i = 0; i < rows; ++i) std::memset(static_cast<char*>(to) + i * pitch, 0, static_cast<std::size_t>(width));
    });
}

void Stream::gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, float alpha, const float* a, index_t lda, const float* b,
                  index_t ldb, float beta, float* c, index_t ldc, Precision precision) {
    if (m <= 0 || n <= 0) return;
    const bool swap_a = trans_a == 'T', swap_b = trans_b == 'T';
    check_gemm(device_, swap_a, swap_b, m, n, k, a, lda, b, ldb, c, ldc);
    put(state_->work, [=] {
        if (precision == Precision::float32) return emulated::gemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
        const index_t a_rows = swap_a ? k : m, b_rows = swap_b ? n : k;
        const auto left = rounded(a, a_rows, m + k - a_rows, lda, precision), right = rounded(b, b_rows, k + n - b_rows, ldb, precision);
        emulated::gemm(trans_a, trans_b, m, n, k, alpha, left.data(), std::max<index_t>(a_rows, 1), right.data(), std::max<index_t>(b_rows, 1),
                       beta, c, ldc);
    });
}

void Stream::gemm(char trans_a, char trans_b, index_t m, index_t n, index_t k, double alpha, const double* a, index_t lda, const double* b,
                  index_t ldb, double beta, double* c, index_t ldc) {
    if (m <= 0 || n <= 0) return;
    check_gemm(device_, trans_a == 'T', trans_b == 'T', m, n, k, a, lda, b, ldb, c, ldc);
    put(state_->work, [=] { emulated::gemm(trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); });
}

void Stream::syrk(char uplo, char trans, index_t n, index_t k, double alpha, const double* a, index_t lda, double beta, double* c, index_t ldc) {
    if (n <= 0) return;
    const bool swap = trans == 'T';
    const index_t of_a = bytes_of<double>("syrk: a", swap ? k : n, swap ? n : k, lda);
    if (k > 0) emulated::check_on_device("syrk: a", a, of_a, device_);
    emulated::check_on_device("syrk: c", c, bytes_of<double>("syrk: c", n, n, ldc), device_);
    put(state_->work, [=] { emulated::syrk(uplo, trans, n, k, alpha, a, lda, beta, c, ldc); });
}

void Stream::trsm(char side, char uplo, char trans, index_t m, index_t n, const double* a, index_t lda, double* b, index_t ldb) {
    if (m <= 0 || n <= 0) return;
    const index_t order = side == 'L' ? m : n;
    emulated::check_on_device("trsm: a", a, bytes_of<double>("trsm: a", order, order, lda), device_);
    emulated::check_on_device("trsm: b", b, bytes_of<double>("trsm: b", m, n, ldb), device_);
    put(state_->work, [=] { emulated::trsm(side, uplo, trans, m, n, a, lda, b, ldb); });
}

index_t Stream::potrf(char uplo, index_t n, double* a, index_t lda) {
    if (n <= 0) return 0;
    emulated::check_on_device("potrf: a", a, bytes_of<double>("potrf: a", n, n, lda), device_);
    index_t info = 0;
    put(state_->work, [=, &info] { info = emulated::potrf(uplo, n, a, lda); });
    synchronize();
    return info;
}

index_t Stream::syevd(char uplo, index_t n, double* a, index_t lda, double* w) {
    if (n <= 0) return 0;
    emulated::check_on_device("syevd: a", a, bytes_of<double>("syevd: a", n, n, lda), device_);
    emulated::check_on_device("syevd: w", w, n * static_cast<index_t>(sizeof(double)), device_);
    index_t info = 0;
    put(state_->work, [=, &info] { info = emulated::syevd(uplo, n, a, lda, w); });
    synchronize();
    return info;
}

}  // namespace voxridge::cuda
