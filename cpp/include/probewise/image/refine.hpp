// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "probewise/image2d.hpp"

namespace probewise {

/// Variance of a pixel whose expected counts are m: constant + slope * m.
struct NoiseModel {
  double constant = 1, slope = 0;
};

/// The straight line through squared differences that a smooth picture does not make (the kernel of noise_deviation)
/// against the mean of the same pixels; slope 0 where they do not rise with it. Throws std::invalid_argument below
/// 3 x 3 pixels, or when a pixel is not finite.
NoiseModel estimate_noise(Image2d<const float> image);

struct RefineSettings {
  NoiseModel noise;
  double width_px = 0;  ///< start of the Gaussian width shared by all atoms; 0: from the mean profile of the atoms
  double limit_px = 0;  ///< farthest move of an atom; 0: a third of the median distance to the nearest neighbour, or
                        ///< the width when all points are one
  double least_width_px = 1.5;  ///< the image is averaged down while its columns stay this wide
};

struct RefinedAtoms {
  std::vector<double> yx, amplitude, background;  ///< background: at the atom, without its neighbours
  std::vector<double> amplitude_error;            ///< by the noise, neighbours and background known
  std::vector<std::uint8_t> fitted;               ///< 0: the fit failed there, the atom kept its start
  double width_px = 0, limit_px = 0;
};

/// One weighted least-squares fit of Gaussian columns of a shared width on a smooth background to the whole image:
/// positions, amplitudes, width and background together, so that each atom is fitted beside its neighbours. Pixels
/// weigh 1 / variance of the fitted counts, renewed in every round. Gauss-Newton; each step by conjugate gradients
/// preconditioned with the 3 x 3 block of each atom, so that no matrix is stored. Wide columns are fitted to an image
/// averaged down.
/// Throws std::invalid_argument when a pixel is not finite, the image is below 3 x 3 pixels, or a start lies outside
/// it.
RefinedAtoms refine_atoms(Image2d<const float> image, std::span<const double> yx, const RefineSettings& settings);

}  // namespace probewise
