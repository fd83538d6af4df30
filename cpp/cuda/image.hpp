// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// The image room on a device: pointers are device memory, results that the host has to know come back with a wait.
#include <cstddef>
#include <cstdint>

#include "cuda/runtime.hpp"
#include "probewise/image/network_input.hpp"
#include "probewise/image/patches.hpp"

namespace probewise::cuda {

/// As probewise::network_input: percentiles by their exact ranks, found digit by digit.
class Normaliser {
 public:
  /// `image` (rows, cols), `out` of the same shape, or `image` itself.
  /// Throws std::invalid_argument when a pixel is not finite; then `out` is undefined.
  IntensityRange operator()(const float* image, std::ptrdiff_t rows, std::ptrdiff_t cols, float* out, Stream stream);

 private:
  Buffer<std::byte> state_;
  Buffer<unsigned> counts_;
};

/// As probewise::extract_patches.
class PatchCutter {
 public:
  /// `centres` (n, 2), `out` (n, side, side), `kept` (n,). Returns how many were kept.
  /// Throws std::invalid_argument, before writing to `out`, for a centre that is not finite.
  std::size_t operator()(const float* image, std::ptrdiff_t rows, std::ptrdiff_t cols, const double* centres,
                         std::size_t n, PatchShape shape, float* out, std::int64_t* kept, Stream stream);

 private:
  Buffer<int> count_;
};

/// As probewise::find_atoms for all classes at once.
class AtomSearch {
 public:
  /// `probability` (classes, rows, cols), fewer than 2^31 values. Returns how many atoms there are; they stay valid
  /// until the next call. Throws std::invalid_argument when a pixel is no probability.
  std::size_t operator()(const float* probability, std::ptrdiff_t classes, std::ptrdiff_t rows, std::ptrdiff_t cols,
                         float threshold, Stream stream);

  const double* yx() const noexcept { return yx_.data(); }              ///< (n, 2)
  const std::int64_t* label() const noexcept { return label_.data(); }  ///< (n,)
  const double* score() const noexcept { return score_.data(); }        ///< (n,)

 private:
  Buffer<int> part_, number_, count_, root_, box_;
  Buffer<double> yx_, score_;
  Buffer<std::int64_t> label_;
};

}  // namespace probewise::cuda
