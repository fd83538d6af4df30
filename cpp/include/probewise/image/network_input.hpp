// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <span>

#include "probewise/image2d.hpp"

namespace probewise {

/// normalised = (counts - offset) / scale
struct IntensityRange {
  float offset = 0, scale = 1;
};

/// Standard deviation of white noise under a smooth picture: median of |kernel * image| / 0.6745 with the kernel
/// (1 -2 1; -2 4 -2; 1 -2 1)/6 of Immerkaer, Comput. Vis. Image Underst. 64 (1996) 300. 0 below 3 x 3 pixels.
float noise_deviation(Image2d<const float> image);

/// Robust range of `image`: offset = percentile 0.5, scale = the larger of the distance to percentile 99.5 and eight
/// noise deviations, so that noise alone never fills the range; scale 1 where both are 0. Percentiles interpolate
/// between order statistics. Writes the normalised image into `out` of the same size.
/// Throws std::invalid_argument when a pixel is not finite.
IntensityRange network_input(Image2d<const float> image, std::span<float> out);

}  // namespace probewise
