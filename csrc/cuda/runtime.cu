// Streams, events and copies.
#include "cuda/runtime.hpp"

#include <algorithm>

#include "cuda/block.hpp"
#include "cuda/stream_state.cuh"

namespace voxridge::cuda {
namespace {

constexpr index_t kMaxPitch = (index_t{1} << 31) - 1;  // of CUDA's 2D copies, on every device

// one(to, from, bytes) for contiguous bytes, two(width, rows) for rows with pitches: as few calls as CUDA's limits allow.
template <class One, class Two>
void in_pieces(index_t to_pitch, index_t from_pitch, index_t width, index_t rows, One one, Two two) {
    if (width <= 0 || rows <= 0) return;
    if (rows == 1 || (to_pitch == width && from_pitch == width)) {
        one(index_t{0}, index_t{0}, width * rows);
    } else if (std::max(to_pitch, from_pitch) <= kMaxPitch) {
        two();
    } else {
        for (index_t i = 0; i < rows; ++i) one(i * to_pitch, i * from_pitch, width);
    }
}

void transfer(const Stream& stream, void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows,
              cudaMemcpyKind kind, const char* what) {
    const DeviceScope scope(stream.device());
    const auto queue = static_cast<cudaStream_t>(stream.native());
    in_pieces(
        to_pitch, from_pitch, width, rows,
        [&](index_t to_offset, index_t from_offset, index_t bytes) {
            check(cudaMemcpyAsync(static_cast<char*>(to) + to_offset, static_cast<const char*>(from) + from_offset,
                                  static_cast<std::size_t>(bytes), kind, queue),
                  what, ": cudaMemcpyAsync of ", bytes, " bytes");
        },
        [&] {
            check(cudaMemcpy2DAsync(to, static_cast<std::size_t>(to_pitch), from, static_cast<std::size_t>(from_pitch),
                                    static_cast<std::size_t>(width), static_cast<std::size_t>(rows), kind, queue),
                  what, ": cudaMemcpy2DAsync of ", rows, " rows of ", width, " bytes, pitches ", to_pitch, " and ", from_pitch);
        });
}

cudaEvent_t new_event() {
    cudaEvent_t event = nullptr;
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    return event;
}

}  // namespace

Event::State::~State() {
    if (event != nullptr) ignore(cudaEventDestroy(event));
}

void Event::synchronize() const {
    const DeviceScope scope(state_->device);
    check(cudaEventSynchronize(state_->event), "cudaEventSynchronize");
}

Stream::Stream(int device) : device_(device), state_(std::make_unique<State>()) {
    require_usable();
    const DeviceScope scope(device);
    state_->device = device;
    // Non-blocking: the default stream of other libraries neither waits for this one nor holds it up.
    check(cudaStreamCreateWithFlags(&state_->stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags on device ", device);
}

Stream::~Stream() = default;

void* Stream::native() const { return state_->stream; }

void Stream::synchronize() {
    const DeviceScope scope(device_);
    check(cudaStreamSynchronize(state_->stream), "cudaStreamSynchronize");
}

Event Stream::record() {
    const DeviceScope scope(device_);
    auto state = std::make_shared<Event::State>();
    state->device = device_;
    state->event = new_event();
    check(cudaEventRecord(state->event, state_->stream), "cudaEventRecord");
    return Event(std::move(state));
}

void Stream::wait(const Event& event) {
    const DeviceScope scope(device_);
    check(cudaStreamWaitEvent(state_->stream, event.state()->event, 0), "cudaStreamWaitEvent");
}

void Stream::wait_for_native(std::uintptr_t stream) {
    const DeviceScope scope(device_);
    Event::State until;  // CUDA keeps what it needs of an event that is destroyed while it is waited for
    until.device = device_;
    until.event = new_event();
    check(cudaEventRecord(until.event, reinterpret_cast<cudaStream_t>(stream)), "cudaEventRecord on the stream ", stream,
          " of another library (device ", device_, ")");
    check(cudaStreamWaitEvent(state_->stream, until.event, 0), "cudaStreamWaitEvent");
}

void Stream::upload(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    transfer(*this, to, to_pitch, from, from_pitch, width, rows, cudaMemcpyHostToDevice, "upload");
}

void Stream::download(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    transfer(*this, to, to_pitch, from, from_pitch, width, rows, cudaMemcpyDeviceToHost, "download");
}

void Stream::copy(void* to, index_t to_pitch, const void* from, index_t from_pitch, index_t width, index_t rows) {
    // "Default": by the addresses, which may be of two devices.
    transfer(*this, to, to_pitch, from, from_pitch, width, rows, cudaMemcpyDefault, "copy");
}

void Stream::zero(void* to, index_t pitch, index_t width, index_t rows) {
    const DeviceScope scope(device_);
    in_pieces(
        pitch, pitch, width, rows,
        [&](index_t offset, index_t, index_t bytes) {
            check(cudaMemsetAsync(static_cast<char*>(to) + offset, 0, static_cast<std::size_t>(bytes), state_->stream), "cudaMemsetAsync of ",
                  bytes, " bytes");
        },
        [&] {
            check(cudaMemset2DAsync(to, static_cast<std::size_t>(pitch), 0, static_cast<std::size_t>(width), static_cast<std::size_t>(rows),
                                    state_->stream),
                  "cudaMemset2DAsync of ", rows, " rows of ", width, " bytes, pitch ", pitch);
        });
}

}  // namespace voxridge::cuda
