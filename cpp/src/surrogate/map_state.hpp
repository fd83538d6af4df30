// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <algorithm>
#include <type_traits>
#include <vector>

#include "probewise/surrogate/dense.hpp"
#include "runtime/pool.hpp"
#include "surrogate/loops.hpp"
#include "surrogate/maps.hpp"

namespace probewise {

/// The three maps of a posterior and the copy that `rewind` puts back. `variance` is in units of the prior's.
template <class T>
struct MapState {
  std::vector<T> mean, variance, deviation;
  std::vector<T> kept_mean, kept_variance, kept_deviation;

  explicit MapState(std::size_t size) : mean(size), variance(size), deviation(size) {}

  void restart(double constant, double amplitude) {
    std::fill(mean.begin(), mean.end(), static_cast<T>(constant));
    std::fill(variance.begin(), variance.end(), T{1});
    std::fill(deviation.begin(), deviation.end(), static_cast<T>(amplitude));
  }

  void update_deviation(double amplitude) {
    constexpr std::size_t piece = 1 << 15;
    const std::size_t size = variance.size();
    for_pieces((size + piece - 1) / piece, static_cast<double>(size) / 2e3, [&](std::size_t p) {
      const std::size_t first = p * piece;
      LoopsOf<T>::deviation(std::min(piece, size - first), amplitude, variance.data() + first,
                            deviation.data() + first);
    });
  }

  void remember() {
    kept_mean = mean;
    kept_variance = variance;
    kept_deviation = deviation;
  }

  // Copied, not swapped: views of the maps handed out to callers stay valid.
  void rewind() {
    std::copy(kept_mean.begin(), kept_mean.end(), mean.begin());
    std::copy(kept_variance.begin(), kept_variance.end(), variance.begin());
    std::copy(kept_deviation.begin(), kept_deviation.end(), deviation.begin());
  }

  bool at(std::int64_t index, double& mean_out, double& variance_out) const noexcept {
    mean_out = static_cast<double>(mean[static_cast<std::size_t>(index)]);
    variance_out = static_cast<double>(variance[static_cast<std::size_t>(index)]);
    return true;
  }

  static MapView view(const std::vector<T>& map) noexcept {
    if constexpr (std::is_same_v<T, double>) {
      return {map.data(), nullptr, map.size()};
    } else {
      return {nullptr, map.data(), map.size()};
    }
  }
};

/// `append` for every row, its weights w = L^-T l read off the inverse factor, whose row is (-w, 1) / diagonal.
inline void append_by_inverse(Maps& maps, std::span<const std::int64_t> told, std::span<const double> inverse,
                              std::size_t order, std::span<const double> z) {
  std::vector<double> weight(told.size());
  for (std::size_t i = 0; i < told.size(); ++i) {
    const double* row = inverse.data() + i * row_stride(order);
    for (std::size_t j = 0; j < i; ++j) weight[j] = -row[j] / row[i];
    maps.append(told.first(i), told[i], std::span(weight).first(i), 1.0 / row[i], z[i]);
  }
}

}  // namespace probewise
