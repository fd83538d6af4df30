// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>
#include <numbers>

#include "instrument/normal.hpp"
#include "instrument/streams.hpp"
#include "probewise/instrument/microscope.hpp"
#include "probewise/random.hpp"

namespace probewise::instrument {
namespace {

constexpr double kInversionBelow = 12.0;

/// Poisson variate by summing probabilities until they pass `uniform` (exact to double precision).
double poisson_by_inversion(double mean, double uniform) {
  double probability = std::exp(-mean), total = probability;
  double count = 0;
  while (uniform > total && count < 200) {
    count += 1;
    probability *= mean / count;
    total += probability;
  }
  return count;
}

/// Poisson variate for large means: transformed rejection with squeeze (Hormann 1993, algorithm PTRS).
double poisson_by_rejection(double mean, RandomBlock block, const FrameKey& key, std::uint64_t pixel) {
  const double root = std::sqrt(mean);
  const double b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
  const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), v_r = 0.9277 - 3.6224 / (b - 2);
  for (std::uint64_t attempt = 0;; ++attempt) {
    if (attempt > 0) block = philox(key.seed, stream(key.sequence, Draw::retry), (pixel << 8) | (attempt & 0xFF));
    const double u = static_cast<double>(uniform_open(block.word[0])) - 0.5;
    const double v = static_cast<double>(uniform_open(block.word[1]));
    const double near_edge = 0.5 - std::abs(u);
    const double count = std::floor((2 * a / near_edge + b) * u + mean + 0.43);
    if (near_edge >= 0.07 && v <= v_r) return count;
    if (count < 0 || (near_edge < 0.013 && v > near_edge)) continue;
    if (std::log(v) + std::log(inverse_alpha) - std::log(a / (near_edge * near_edge) + b) <=
        count * std::log(mean) - mean - std::lgamma(count + 1)) {
      return count;
    }
  }
}

/// 1 + rms * band-limited noise: straight lines between normal knots every flicker_ns of the clock.
class Flicker {
 public:
  Flicker(const Distortions& distortions, const FrameKey& key)
      : rms_(distortions.flicker_rms), period_ns_(distortions.flicker_ns), seed_(key.seed) {}
  double at(std::int64_t clock_ns) {
    if (rms_ == 0) return 1;
    const double knots = static_cast<double>(clock_ns) / period_ns_;
    const double whole = std::floor(knots);
    if (whole != knot_) {
      knot_ = whole;
      low_ = knot(static_cast<std::uint64_t>(whole));
      high_ = knot(static_cast<std::uint64_t>(whole) + 1);
    }
    return std::max(0.0, 1 + rms_ * (low_ + (knots - whole) * (high_ - low_)));
  }

 private:
  double knot(std::uint64_t index) const {
    const RandomBlock block = philox(seed_, stream(0, Draw::flicker), index);
    return static_cast<double>(normal_quantile(uniform_open(block.word[0])));
  }
  double rms_, period_ns_, knot_ = -1, low_ = 0, high_ = 0;
  std::uint64_t seed_;
};

}  // namespace

void detect(const Samples& samples, double electrons_per_ns, const Distortions& distortions, const Detector& detector,
            const FrameKey& key, std::span<float> values) {
  Flicker flicker(distortions, key);
  const double excess = std::sqrt(detector.excess_variance);
  double trapped = 0;  // light that the scintillator still holds
  double decay = 0;
  std::int64_t decay_for = -1, last_end = 0;
  for (std::size_t k = 0; k < values.size(); ++k) {
    const std::int64_t start = samples.start_ns[k];
    const auto dwell = static_cast<double>(samples.dwell_ns[k]);
    const double scattered = static_cast<double>(values[k]) +
                             distortions.contamination_per_s * static_cast<double>(key.clock_ns + start) * 1e-9;
    const double fraction = -std::expm1(-scattered);  // an electron is counted once
    double electrons = fraction * electrons_per_ns * dwell * flicker.at(key.clock_ns + start);
    RandomBlock block{};
    if (detector.noise) {
      block = philox(key.seed, stream(key.sequence, Draw::pixel), k);
      electrons = electrons < kInversionBelow
                      ? poisson_by_inversion(electrons, uniform_open(block.word[0], block.word[1]))
                      : poisson_by_rejection(electrons, block, key, k);
      if (excess > 0) {
        electrons += excess * std::sqrt(electrons) * static_cast<double>(normal_quantile(uniform_open(block.word[2])));
      }
    }
    if (detector.afterglow_share > 0) {
      const std::int64_t span = start + samples.dwell_ns[k] - last_end;
      if (span != decay_for) {
        decay = std::exp(-static_cast<double>(span) / detector.afterglow_ns);
        decay_for = span;
      }
      last_end = start + samples.dwell_ns[k];
      const double released = trapped * (1 - decay);
      trapped = trapped * decay + detector.afterglow_share * electrons;
      electrons = (1 - detector.afterglow_share) * electrons + released;
    }
    double count = detector.gain * electrons + detector.offset;
    if (detector.noise && detector.read_noise > 0) {
      count += detector.read_noise * static_cast<double>(normal_quantile(uniform_open(block.word[3])));
    }
    if (detector.quantise) count = std::max(0.0, std::nearbyint(count));
    values[k] = static_cast<float>(std::min(count, detector.saturation));
  }
}

}  // namespace probewise::instrument
