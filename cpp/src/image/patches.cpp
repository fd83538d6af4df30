// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/patches.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "image/pixel_table.hpp"

namespace probewise {

namespace {

/// First column inside the disc of each row of a window; 0 everywhere for a square.
std::vector<std::ptrdiff_t> margins(PatchShape shape) {
  std::vector<std::ptrdiff_t> margin(static_cast<std::size_t>(shape.side), 0);
  if (!shape.circular) return margin;
  const double middle = static_cast<double>(shape.side - 1) / 2, radius = static_cast<double>(shape.side) / 2;
  for (std::size_t row = 0; row < margin.size(); ++row) {
    const double offset = static_cast<double>(row) - middle;
    margin[row] = static_cast<std::ptrdiff_t>(std::ceil(middle - std::sqrt(radius * radius - offset * offset)));
  }
  return margin;
}

}  // namespace

std::size_t extract_patches(Image2d<const float> image, std::span<const double> centres, PatchShape shape,
                            std::span<float> out, std::span<std::int64_t> kept) {
  for (std::size_t i = 0; i < centres.size(); ++i) {
    if (std::isfinite(centres[i])) continue;
    throw std::invalid_argument("centres holds " + std::to_string(centres[i]) + " at row " + std::to_string(i / 2) +
                                ", expected finite numbers");
  }
  const PixelTable& table = pixel_table();
  const std::vector<std::ptrdiff_t> margin = margins(shape);
  const double before = shape.subpixel ? static_cast<double>(shape.side - 1) / 2 : static_cast<double>(shape.side / 2);
  const double shift = shape.subpixel ? 0.0 : 0.5;
  const auto side = static_cast<std::size_t>(shape.side);
  std::size_t count = 0;
  float* patch = out.data();
  for (std::size_t i = 0; i < kept.size(); ++i) {
    std::array<double, 2> share{};
    std::array<std::ptrdiff_t, 2> first{};
    bool inside = true;
    for (std::size_t axis = 0; axis < 2; ++axis) {
      const double corner = centres[2 * i + axis] + shift - before;
      const double whole = std::floor(corner);
      const auto length = static_cast<double>(axis == 0 ? image.rows : image.cols);
      share[axis] = shape.subpixel ? corner - whole : 0.0;
      inside = inside && whole >= 0 && whole + static_cast<double>(shape.side) + (share[axis] > 0 ? 1 : 0) <= length;
      if (inside) first[axis] = static_cast<std::ptrdiff_t>(whole);
    }
    if (!inside) continue;
    const std::array weights{static_cast<float>((1 - share[0]) * (1 - share[1])),
                             static_cast<float>((1 - share[0]) * share[1]),
                             static_cast<float>(share[0] * (1 - share[1])), static_cast<float>(share[0] * share[1])};
    // A neighbour of weight 0 may lie outside the image: then the pixel itself is read in its place.
    const std::ptrdiff_t down = share[0] > 0 ? image.row_stride : 0;
    for (std::size_t row = 0; row < side; ++row, patch += side) {
      const float* line = image.data + (first[0] + static_cast<std::ptrdiff_t>(row)) * image.row_stride + first[1];
      const auto skip = static_cast<std::size_t>(margin[row]);
      const std::size_t width = side - 2 * skip;
      if (skip > 0) {
        std::fill_n(patch, skip, 0.0f);
        std::fill_n(patch + side - skip, skip, 0.0f);
      }
      if (share[1] > 0) {
        table.blend(line + skip, line + down + skip, width, weights.data(), patch + skip);
      } else if (down != 0) {
        table.affine(line + skip, width, 0.0f, weights[0], patch + skip);
        table.add(line + down + skip, width, weights[2], patch + skip);
      } else {
        std::copy_n(line + skip, width, patch + skip);
      }
    }
    kept[count++] = static_cast<std::int64_t>(i);
  }
  return count;
}

}  // namespace probewise
