// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "probewise/image2d.hpp"

namespace probewise {

/// Atoms one after the other; yx holds two numbers each, pixel centres at integers.
struct FoundAtoms {
  std::vector<double> yx;
  std::vector<std::int64_t> label;
  std::vector<double> score;
};

/// Appends the 4-connected components of probability > threshold to `atoms`: centroid weighted by the probability,
/// mean probability, `label` to all of them; ordered by their first pixel in raster order.
/// Throws std::invalid_argument when a pixel is no probability.
void find_atoms(Image2d<const float> probability, float threshold, std::int64_t label, FoundAtoms& atoms);

/// share (n, classes) = the maps (classes, rows, cols), interpolated between pixel centres at atom i of `yx` (n, 2) in
/// pixels of an image `stride` times finer; label[i] = the class with the largest share, the first of equals.
void label_atoms(std::span<const double> yx, const float* maps, std::size_t classes, std::ptrdiff_t rows,
                 std::ptrdiff_t cols, double stride, std::span<std::int64_t> label, std::span<double> share);

/// out (n, 2) = the points `yx` on a grid of rows x cols pixels over the same area, `scale` times as many along each
/// axis; no farther than its outer edges, which the last pixel of a coarser grid may reach over.
void rescale_points(std::span<const double> yx, const double (&scale)[2], std::ptrdiff_t rows, std::ptrdiff_t cols,
                    std::span<double> out);

}  // namespace probewise
