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

struct Reciprocals {
  double of[128];
  constexpr Reciprocals() : of{} {
    for (int k = 1; k < 128; ++k) of[k] = 1.0 / k;
  }
};
constexpr Reciprocals kReciprocal;  // a division per term would be most of the inversion's time

/// Poisson variate by summing probabilities until they pass `uniform` (exact to double precision).
double poisson_by_inversion(double mean, double uniform) {
  double probability = std::exp(-mean), total = probability;
  int count = 0;
  while (uniform > total && count < 127) {
    probability *= mean * kReciprocal.of[++count];
    total += probability;
  }
  return static_cast<double>(count);
}

// Without SSE4.1, which the base level may not use, floor, nearbyint and expm1 are calls that cost as much as the
// rest of a pixel.
double whole_below(double value) {
  const auto truncated = static_cast<double>(static_cast<std::int64_t>(value));
  return truncated > value ? truncated - 1 : truncated;
}

/// Nearest integer, halves to even, for |value| < 2^51.
double nearest_whole(double value) {
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52: the sum has no fractional bits
  return (value + kShift) - kShift;
}

/// 1 - exp(-x): the share of electrons that reach the detector, each counted once.
double counted_once(double x) {
  if (x > 0.25) return -std::expm1(-x);
  // Taylor series; the first term left out is below 2e-9 of x.
  return x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4 * (1 - x / 5 * (1 - x / 6 * (1 - x / 7))))));
}

/// Poisson variate for large means: transformed rejection with squeeze (Hormann 1993, algorithm PTRS).
double poisson_by_rejection(double mean, RandomBlock block, const FrameKey& key, std::uint64_t pixel) {
  const double root = std::sqrt(mean);
  const double b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
  const double v_r = 0.9277 - 3.6224 / (b - 2);
  for (std::uint64_t attempt = 0;; ++attempt) {
    if (attempt > 0) block = philox(key.seed, stream(key.sequence, Draw::retry), (pixel << 8) | (attempt & 0xFF));
    const double u = static_cast<double>(uniform_open(block.word[0])) - 0.5;
    const double v = static_cast<double>(uniform_open(block.word[1]));
    const double near_edge = 0.5 - std::abs(u);
    const double count = whole_below((2 * a / near_edge + b) * u + mean + 0.43);
    if (near_edge >= 0.07 && v <= v_r) return count;
    if (count < 0 || (near_edge < 0.013 && v > near_edge)) continue;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4);
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
    double past = static_cast<double>(clock_ns) - knot_ns_;
    if (!(past >= 0 && past < period_ns_)) {
      const double whole = std::floor(static_cast<double>(clock_ns) / period_ns_);
      knot_ns_ = whole * period_ns_;
      past = static_cast<double>(clock_ns) - knot_ns_;
      low_ = knot(static_cast<std::uint64_t>(whole));
      slope_ = (knot(static_cast<std::uint64_t>(whole) + 1) - low_) / period_ns_;
    }
    return std::max(0.0, 1 + rms_ * (low_ + past * slope_));
  }

 private:
  double knot(std::uint64_t index) const {
    const RandomBlock block = philox(seed_, stream(0, Draw::flicker), index);
    return static_cast<double>(normal_quantile(uniform_open(block.word[0])));
  }
  double rms_, period_ns_, knot_ns_ = -1e300, low_ = 0, slope_ = 0;
  std::uint64_t seed_;
};

}  // namespace

void detect(const Samples& samples, double electrons_per_ns, const Distortions& distortions, const Detector& detector,
            const FrameKey& key, std::span<float> values) {
  Flicker flicker(distortions, key);
  const double read_variance = detector.read_noise * detector.read_noise / (detector.gain * detector.gain);
  const bool spread = detector.excess_variance > 0 || read_variance > 0;
  double trapped = 0;  // light that the scintillator still holds
  double decay = 0;
  std::int64_t decay_for = -1, last_end = 0;
  for (std::size_t k = 0; k < values.size(); ++k) {
    const std::int64_t start = samples.start_ns[k];
    const auto dwell = static_cast<double>(samples.dwell_ns[k]);
    const double scattered = static_cast<double>(values[k]) +
                             distortions.contamination_per_s * static_cast<double>(key.clock_ns + start) * 1e-9;
    double electrons = counted_once(scattered) * electrons_per_ns * dwell * flicker.at(key.clock_ns + start);
    RandomBlock block{};
    if (detector.noise) {
      block = philox(key.seed, stream(key.sequence, Draw::pixel), k);
      electrons = electrons < kInversionBelow
                      ? poisson_by_inversion(electrons, uniform_open(block.word[0], block.word[1]))
                      : poisson_by_rejection(electrons, block, key, k);
      if (spread) {  // pulse heights and read noise: one normal of the summed variance
        electrons += std::sqrt(detector.excess_variance * electrons + read_variance) *
                     static_cast<double>(normal_quantile(uniform_open(block.word[2])));
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
    if (detector.quantise) count = std::max(0.0, nearest_whole(count));
    values[k] = static_cast<float>(std::min(count, detector.saturation));
  }
}

}  // namespace probewise::instrument
