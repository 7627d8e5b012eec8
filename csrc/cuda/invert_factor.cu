// The inverse from a Cholesky factor, in place, with sizes of 64 bits (cuSOLVER's dpotri has 32).
#include <algorithm>

#include "cuda/block.hpp"

namespace voxridge::cuda {
namespace {

constexpr index_t kPanel = 512;

// a_ii <- 1.
struct SetOnes {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = false;
    struct Shared {};
    double* a;
    index_t n, ld;
    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t i = index_t{block.x()} * kThreads + block.thread();
        if (i < n) a[i * (ld + 1)] = 1;
    }
};

// The triangle of `from` (n, n) into that of `to`, column-major both.
struct CopyTriangle {
    static constexpr int kThreads = 256;
    static constexpr bool kSyncs = false;
    struct Shared {};
    const double* from;
    index_t ld_from;
    double* to;
    index_t ld_to, n;
    bool upper;
    template <class Block>
    VOXRIDGE_DEVICE void operator()(const Block& block, Shared&) const {
        const index_t element = index_t{block.x()} * kThreads + block.thread();
        if (element >= n * n) return;
        const index_t row = element % n, col = element / n;
        if (upper ? row <= col : row >= col) to[row + col * ld_to] = from[row + col * ld_from];
    }
};

index_t first_zero(Stream& stream, index_t n, const double* a, index_t lda, double* work) {
    constexpr index_t kSize = sizeof(double);
    std::vector<double> diagonal(static_cast<std::size_t>(n));
    stream.copy(work, kSize, a, (lda + 1) * kSize, kSize, n);
    stream.download(diagonal.data(), n * kSize, work, n * kSize, n * kSize, 1);
    stream.synchronize();
    const auto zero = std::find(diagonal.begin(), diagonal.end(), 0.0);
    return zero == diagonal.end() ? 0 : zero - diagonal.begin() + 1;
}

}  // namespace

// Columns j, j + 1, ... of the lower triangle of (L L')^-1 are the first columns of (M M')^-1, with M = L without its rows and columns before
// j: two solves of a panel of unit vectors. They want no column of L before j, so the panels go over L from the left. As many operations as
// dtrtri and dlauum, 2/3 n^3, nearly all in products. An upper factor L' is the transposed of all that. Scratch: n * 512 doubles.
index_t Stream::potri(char uplo, index_t n, double* a, index_t lda) {
    require(uplo == 'L' || uplo == 'U', "a triangle is 'L' or 'U', not '", uplo, "'");
    if (n == 0) return 0;
    constexpr index_t kSize = sizeof(double);
    const bool upper = uplo == 'U';
    auto* const panel = static_cast<double*>(scratch(static_cast<std::size_t>(n * std::min(n, kPanel) * kSize)));
    if (const index_t info = first_zero(*this, n, a, lda, panel); info != 0) return info;
    for (index_t j = 0; j < n; j += kPanel) {
        const index_t size = n - j, width = std::min(kPanel, size), below = size - width;
        const index_t ld = upper ? width : size;
        double* const corner = a + j * (lda + 1);
        zero(panel, width * size * kSize, width * size * kSize, 1);
        launch(*this, {blocks_for(width, SetOnes::kThreads)}, SetOnes{panel, width, ld});
        for (const char trans : {'N', 'T'}) trsm(upper ? 'R' : 'L', uplo, trans, upper ? width : size, upper ? size : width, corner, lda, panel, ld);
        launch(*this, {blocks_for(width * width, CopyTriangle::kThreads)}, CopyTriangle{panel, ld, corner, lda, width, upper});
        if (upper)
            copy(corner + width * lda, lda * kSize, panel + width * ld, ld * kSize, width * kSize, below);
        else
            copy(corner + width, lda * kSize, panel + width, ld * kSize, below * kSize, width);
    }
    synchronize();
    return 0;
}

}  // namespace voxridge::cuda
