// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "probewise/image2d.hpp"

namespace probewise {

struct PatchShape {
  std::ptrdiff_t side = 0;
  bool subpixel = false;  ///< bilinear, the window's middle exactly on the centre; otherwise whole pixels
  bool circular = false;  ///< pixels farther than side/2 from the window's middle become 0
};

/// Copies the window about each centre (n, 2) into `out` (n, side, side) one after the other and its number into
/// `kept`; windows that do not lie wholly inside are left out. Whole pixels: centre = floor(x + 0.5), rows
/// [centre - side/2, centre - side/2 + side). Returns how many were kept.
/// Throws std::invalid_argument, before writing, for a centre that is not finite.
std::size_t extract_patches(Image2d<const float> image, std::span<const double> centres, PatchShape shape,
                            std::span<float> out, std::span<std::int64_t> kept);

}  // namespace probewise
