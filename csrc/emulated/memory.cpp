// The memory of the emulated devices: that of the processor, in a registry that knows whose it is.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "emulated/sanitizer.hpp"
#include "emulated/world.hpp"

namespace voxridge::cuda {
namespace {

struct Block {
    std::size_t bytes;
    int device;  // -1: page-locked memory of the host
};

std::map<const char*, Block>& blocks() {
    static auto* all = new std::map<const char*, Block>;  // outlives every array, whatever the order of destruction
    return *all;
}

// The block around a pointer; nullptr where there is none. `rest` is what the block has from there on.
const Block* find_block(const void* pointer, index_t& rest) {
    const auto* at = static_cast<const char*>(pointer);
    const std::scoped_lock held(emulated::world());
    auto next = blocks().upper_bound(at);
    if (next == blocks().begin()) return nullptr;
    --next;
    rest = static_cast<index_t>(next->second.bytes) - (at - next->first);
    return rest >= 0 && (rest > 0 || at == next->first) ? &next->second : nullptr;
}

index_t used_bytes(int device) {
    index_t used = 0;
    for (const auto& [start, block] : blocks())
        if (block.device == device) used += static_cast<index_t>(block.bytes);
    return used;
}

// The most bytes in use on each device since they were asked for.
std::map<int, index_t>& peaks() {
    static auto* all = new std::map<int, index_t>;
    return *all;
}

index_t total_bytes() { return emulated::setting("VOXRIDGE_EMULATED_BYTES", index_t{64} << 30); }

index_t n_devices() { return emulated::setting("VOXRIDGE_EMULATED_DEVICES", 1); }

void* allocate(std::size_t bytes, int device) {
    const std::size_t whole = (std::max<std::size_t>(bytes, 1) + 255) / 256 * 256;
    void* data = std::aligned_alloc(256, whole);
    if (data == nullptr) throw OutOfMemory("the emulator: this machine has no " + std::to_string(bytes) + " bytes left");
    std::memset(data, 0xff, bytes);  // NaN in every float: nothing may count on zeros
    emulated::forbid(static_cast<char*>(data) + bytes, whole - bytes);
    blocks()[static_cast<const char*>(data)] = {bytes, device};
    index_t& peak = peaks()[device];
    peak = std::max(peak, used_bytes(device));
    return data;
}

}  // namespace

namespace emulated {

std::recursive_mutex& world() {
    static auto* lock = new std::recursive_mutex;
    return *lock;
}

index_t setting(const char* name, index_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr || *text == '\0' ? otherwise : std::strtoll(text, nullptr, 10);
}

index_t take_peak(int device) {
    const std::scoped_lock held(world());
    return std::exchange(peaks()[device], used_bytes(device));
}

void check_device_number(int device) {
    if (const std::string reason = missing(); !reason.empty()) throw Failure(reason);
    if (device < 0 || device >= n_devices())
        throw Failure("there is no device " + std::to_string(device) + "; this machine has " + std::to_string(n_devices()));
}

void check_on_some_device(const std::string& what, const void* pointer, index_t bytes) {
    index_t rest = 0;
    const Block* block = find_block(pointer, rest);
    if (block == nullptr || block->device < 0) throw Failure(what + " is memory of the host, not of a device");
    if (bytes > rest) throw Failure(what + " wants " + std::to_string(bytes) + " bytes where its memory ends after " + std::to_string(rest));
}

void check_on_device(const std::string& what, const void* pointer, index_t bytes, int device) {
    check_on_some_device(what, pointer, bytes);
    if (const int at = device_of(pointer); at != device)
        throw Failure(what + " is on device " + std::to_string(at) + ", not on device " + std::to_string(device));
}

void check_on_host(const std::string& what, const void* pointer) {
    if (device_of(pointer) >= 0) throw Failure(what + " is memory of a device, not of the host");
}

bool pinned_range(const void* pointer, index_t bytes) {
    index_t rest = 0;
    const Block* block = find_block(pointer, rest);
    return block != nullptr && block->device < 0 && bytes <= rest;
}

}  // namespace emulated

std::string missing() { return n_devices() > 0 ? "" : "no CUDA device (emulated)"; }

std::string runtime_version() { return "emulated"; }

std::vector<DeviceFacts> devices() {
    const std::scoped_lock held(emulated::world());
    std::vector<DeviceFacts> all;
    all.reserve(static_cast<std::size_t>(std::max<index_t>(n_devices(), 0)));
    for (int device = 0; device < n_devices(); ++device)
        all.push_back({"emulated on the processor", 9, 0, 132, total_bytes(), total_bytes() - used_bytes(device), 1e9, 1e9, 4096});
    return all;
}

std::shared_ptr<Memory> Memory::on_device(int device, std::size_t bytes) {
    const std::scoped_lock held(emulated::world());
    emulated::check_device_number(device);
    const index_t free = total_bytes() - used_bytes(device);
    if (std::cmp_greater(bytes, free))
        throw OutOfMemory("device " + std::to_string(device) + " has " + std::to_string(free) + " bytes free of " + std::to_string(total_bytes()) +
                          ", and " + std::to_string(bytes) + " are wanted; use smaller tiles, or free arrays of this device");
    return std::shared_ptr<Memory>(new Memory(allocate(bytes, device), bytes, device));
}

std::shared_ptr<Memory> Memory::pinned(std::size_t bytes) {
    const std::scoped_lock held(emulated::world());
    if (const std::string reason = missing(); !reason.empty()) throw Failure(reason);
    return std::shared_ptr<Memory>(new Memory(allocate(bytes, -1), bytes, -1));
}

Memory::~Memory() {
    const std::scoped_lock held(emulated::world());
    emulated::drain_all();
    blocks().erase(static_cast<const char*>(data_));
    std::free(data_);
}

bool is_pinned(const void* host) { return emulated::pinned_range(host, 0); }

int device_of(const void* pointer) {
    index_t rest = 0;
    const Block* block = find_block(pointer, rest);
    return block == nullptr ? -1 : block->device;
}

}  // namespace voxridge::cuda
