// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

namespace probewise::descriptors {

inline constexpr std::size_t most_neighbours = 16;

/// What an atom's surroundings are compared by.
struct Usual {
  std::size_t neighbours;  ///< distances to so many atoms
  std::size_t together;    ///< atoms whose deviations are taken together, the atom and the nearest to it
  std::size_t fewest;      ///< atoms of a class that say what is usual
  double least_spread;     ///< of the distances, as a share of the median nearest one
};

/// Of n atoms at `yx` (n, 2) in an image of rows x cols: distance to the nearest; whether all neighbours are nearer
/// than the edge of the image; root mean square of the robust deviations of the sorted distances from the median of
/// those of the inner atoms of the same label, over `together` atoms, NaN where an atom is not inner or its label has
/// too few. There must be more atoms than neighbours.
void surroundings(std::span<const double> yx, std::span<const std::int64_t> label, double rows, double cols,
                  const Usual& usual, std::span<double> nearest, std::span<bool> inner, std::span<double> unlike);

/// distance and number (queries, k) of the k points nearest to each query, of at least k points.
void nearest(std::span<const double> points, std::span<const double> queries, std::size_t k, std::span<double> distance,
             std::span<std::int64_t> number);

/// Circular variance 1 - |mean of (cos, sin)| of directions `terms` (n, 2) over each point and the `neighbours` points
/// of its own label that are nearest to it, all of them where there are fewer.
void discord(std::span<const double> yx, std::span<const std::int64_t> label, std::span<const double> terms,
             std::size_t neighbours, std::span<double> out);

}  // namespace probewise::descriptors
