// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/patches.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "image/patch_body.hpp"
#include "image/pixel_table.hpp"

namespace probewise {

namespace {

/// First column inside the disc of each row of a window; 0 everywhere for a square.
std::vector<std::ptrdiff_t> margins(PatchShape shape) {
  std::vector<std::ptrdiff_t> margin(static_cast<std::size_t>(shape.side), 0);
  if (!shape.circular) return margin;
  for (std::size_t row = 0; row < margin.size(); ++row) {
    margin[row] = disc_margin(shape.side, static_cast<std::ptrdiff_t>(row));
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
  const auto side = static_cast<std::size_t>(shape.side);
  std::size_t count = 0;
  float* patch = out.data();
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const PatchWindow window =
        patch_window(centres[2 * i], centres[2 * i + 1], shape.side, shape.subpixel, image.rows, image.cols);
    if (!window.inside) continue;
    // A neighbour of weight 0 may lie outside the image: then the pixel itself is read in its place.
    const std::ptrdiff_t down = window.share[0] > 0 ? image.row_stride : 0;
    const bool across = window.share[1] > 0;
    const float* line = image.data + window.first[0] * image.row_stride + window.first[1];
    if (across && !shape.circular) {
      table.blend(line, static_cast<std::size_t>(image.row_stride), static_cast<std::size_t>(down), side, side,
                  window.weights, patch);
      patch += side * side;
      kept[count++] = static_cast<std::int64_t>(i);
      continue;  // no row differs from another
    }
    for (std::size_t row = 0; row < side; ++row, patch += side, line += image.row_stride) {
      const auto skip = static_cast<std::size_t>(margin[row]);
      const std::size_t width = side - 2 * skip;
      if (skip > 0) {
        std::fill_n(patch, skip, 0.0f);
        std::fill_n(patch + side - skip, skip, 0.0f);
      }
      if (across) {
        table.blend(line + skip, 0, static_cast<std::size_t>(down), 1, width, window.weights, patch + skip);
      } else if (down != 0) {
        table.affine(line + skip, width, 0.0f, window.weights[0], patch + skip);
        table.add(line + down + skip, width, window.weights[2], patch + skip);
      } else {
        std::copy_n(line + skip, width, patch + skip);
      }
    }
    kept[count++] = static_cast<std::int64_t>(i);
  }
  return count;
}

}  // namespace probewise
