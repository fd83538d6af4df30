// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "probewise/surrogate/gaussian_process.hpp"

namespace probewise {

/// Part of a lattice: its first row and column, and how many of each.
struct TileArea {
  std::size_t row = 0, col = 0, rows = 0, cols = 0;
};

/// Limits of the posterior over a tile that hold though not all told values are in its maps yet.
struct TileLimits {
  double mean_low = 0.0, mean_high = 0.0, deviation_high = 0.0;
  double stale = 0.0;  ///< how far the mean map can be off at any of its candidates; 0 when it is current
  double drift = 0.0;  ///< `stale` summed since the start, which never falls
};

/// Maps kept by tiles of the lattice, each brought up to date when it is asked for. A posterior variance only falls,
/// so that a map of it that is not current is a bound from above.
class Tiles {
 public:
  virtual ~Tiles() = default;
  virtual std::size_t count() const noexcept = 0;
  virtual TileArea area(std::size_t tile) const noexcept = 0;
  virtual TileLimits limits(std::size_t tile) const noexcept = 0;
  virtual bool mean_is_current(std::size_t tile) const noexcept = 0;
  virtual bool deviation_is_current(std::size_t tile) const noexcept = 0;
  virtual void refresh_mean(std::size_t tile) = 0;
  virtual void refresh_deviation(std::size_t tile) = 0;

  /// The maps as they are, current or not.
  virtual MapView stored_mean() const noexcept = 0;
  virtual MapView stored_deviation() const noexcept = 0;

  /// alpha = K^-1 (y - m), of all told values.
  virtual std::span<const double> weights() const noexcept = 0;

  /// Changes whenever anything but a further told value moved the maps.
  virtual std::uint64_t epoch() const noexcept = 0;
};

}  // namespace probewise
