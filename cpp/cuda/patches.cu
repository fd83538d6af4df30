// SPDX-License-Identifier: BSD-3-Clause
#include <stdexcept>

#include "cuda/block.hpp"
#include "cuda/image.hpp"
#include "cuda/launch.hpp"
#include "image/patch_body.hpp"
#include "image/pixel_body.hpp"

namespace probewise::cuda {

namespace {

/// One block: numbers of the centres whose windows lie inside, in order; count[0] = how many, count[1] = 1 when a
/// centre is not finite.
PROBEWISE_KERNEL keep_inside(const double* centres, std::size_t n, std::ptrdiff_t rows, std::ptrdiff_t cols,
                             std::ptrdiff_t side, bool subpixel, std::int64_t* kept, int* count) {
  int written = 0;
  for (std::size_t first = 0; first < n; first += block_threads) {
    const std::size_t i = first + threadIdx.x;
    int inside = 0;
    if (i < n) {
      const double y = centres[2 * i], x = centres[2 * i + 1];
      const bool finite = y - y == 0 && x - x == 0;
      if (!finite) atomicMax(count + 1, 1);
      inside = finite && patch_window(y, x, side, subpixel, rows, cols).inside ? 1 : 0;
    }
    int total = 0;
    const int before = sum_before(inside, total);
    if (inside != 0) kept[written + before] = static_cast<std::int64_t>(i);
    written += total;
  }
  if (threadIdx.x == 0) count[0] = written;
}

/// One block for each patch that could be.
PROBEWISE_KERNEL cut(const float* image, std::ptrdiff_t rows, std::ptrdiff_t cols, const double* centres,
                     std::ptrdiff_t side, bool subpixel, bool circular, const std::int64_t* kept, const int* count,
                     float* out) {
  const int slot = static_cast<int>(blockIdx.x);
  if (slot >= count[0] || count[1] != 0) return;
  const double* centre = centres + 2 * kept[slot];
  const PatchWindow window = patch_window(centre[0], centre[1], side, subpixel, rows, cols);
  const std::ptrdiff_t down = window.share[0] > 0 ? cols : 0;
  float* const patch = out + slot * side * side;
  for (std::ptrdiff_t i = threadIdx.x; i < side * side; i += block_threads) {
    const std::ptrdiff_t row = i / side, col = i % side;
    const std::ptrdiff_t skip = circular ? disc_margin(side, row) : 0;
    const float* line = image + (window.first[0] + row) * cols + window.first[1];
    const auto at = static_cast<std::size_t>(col);
    float value = 0;
    if (col < skip || col >= side - skip) {
      value = 0;
    } else if (window.share[1] > 0) {
      value = blend_pixel(line, line + down, at, window.weights[0], window.weights[1], window.weights[2],
                          window.weights[3]);
    } else if (down != 0) {
      value = window.weights[0] * line[at] + window.weights[2] * line[down + col];
    } else {
      value = line[at];
    }
    patch[i] = value;
  }
}

}  // namespace

std::size_t PatchCutter::operator()(const float* image, std::ptrdiff_t rows, std::ptrdiff_t cols, const double* centres,
                                    std::size_t n, PatchShape shape, float* out, std::int64_t* kept, Stream stream) {
  if (n == 0) return 0;
  count_.reserve(2);
  clear(count_.data(), 2 * sizeof(int), stream);
  launch("keep_inside", keep_inside, dim3(1), block_threads, stream, centres, n, rows, cols, shape.side, shape.subpixel,
         kept, count_.data());
  launch("cut", cut, dim3(static_cast<unsigned>(n)), block_threads, stream, image, rows, cols, centres, shape.side,
         shape.subpixel, shape.circular, kept, count_.data(), out);
  int found[2];
  to_host(found, count_.data(), sizeof found, stream);
  if (found[1] != 0) throw std::invalid_argument("centres holds a number that is not finite, expected finite numbers");
  return static_cast<std::size_t>(found[0]);
}

}  // namespace probewise::cuda
