// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <span>

#include "probewise/image2d.hpp"

namespace probewise {

/// Median distance to the nearest neighbour of points (n, 2); 0 for fewer than two.
double median_spacing(std::span<const double> yx);

/// What the mean radial profile about the atoms says, were they Gaussian columns.
struct AtomProfile {
  double background = 0, amplitude = 0, width_px = 0;
};

/// The profile out to `reach` pixels; the width from the half height above the lowest ring, which
/// holds the tails of neighbours too.
AtomProfile atom_profile(Image2d<const float> image, std::span<const double> yx, double reach);

}  // namespace probewise
