// Several arrays in the scratch memory of a stream, asked for at once: what the stream gives is good until the next who asks.
#pragma once

#include <cstddef>
#include <vector>

#include "cuda/runtime.hpp"

namespace voxridge::cuda {

class Scratch {
public:
    template <class T>
    struct Piece {
        std::size_t offset;
        index_t size;
    };

    template <class T>
    Piece<T> add(index_t size) {
        constexpr std::size_t alignment = 256;
        const Piece<T> piece{bytes_, size};
        bytes_ += (static_cast<std::size_t>(size) * sizeof(T) + alignment - 1) / alignment * alignment;
        return piece;
    }

    // Once, after all pieces are added.
    void take(Stream& stream) { data_ = static_cast<char*>(stream.scratch(bytes_ > 0 ? bytes_ : 1)); }

    template <class T>
    T* at(Piece<T> piece) const {
        return reinterpret_cast<T*>(data_ + piece.offset);
    }

    template <class T>
    T* upload(Stream& stream, Piece<T> piece, const std::vector<T>& values) const {
        const auto bytes = static_cast<index_t>(values.size() * sizeof(T));
        if (bytes > 0) stream.upload(at(piece), bytes, values.data(), bytes, bytes, 1);
        return at(piece);
    }

private:
    std::size_t bytes_ = 0;
    char* data_ = nullptr;
};

}  // namespace voxridge::cuda
