// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include "probewise/image2d.hpp"

namespace probewise {

/// `image` on the grid of `out`, which covers the same area edge to edge: along each axis the exact mean over a new
/// pixel where it shrinks, linear interpolation between pixel centres (clamped at the edges) where it grows. Neither
/// is empty.
void resample(Image2d<const float> image, Image2d<float> out);

}  // namespace probewise
