// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "probewise/instrument/specimen.hpp"

namespace probewise::instrument {

/// Radial tables of every species at every defocus, over squared distance up to reach_nm^2.
struct Optics {
  std::vector<float> tables;  // (species, levels, steps + 2), fractions of the incident electrons; last two are 0
  std::size_t species = 0, levels = 0, steps = 0;
  double reach_nm = 0.5, focus_step_nm = 1, defocus_nm = 0;
  Vector2 slope;   // height of the specimen per nm from the field's centre (tilt)
  Vector2 centre;  // of the field
};

/// The specimen moves at once, and stays there.
struct Jump {
  std::int64_t at_ns;  // on the instrument's clock
  Vector2 nm;          // of the probe on the specimen, as drift
};

/// What moves the probe from where it was sent, and what changes with time. All zero: a perfect scan.
struct Distortions {
  Vector2 jitter_nm;  // rms of each line (or of each slot_ns of a vector path)
  double slot_ns = 1e6;
  double settle_share[2] = {0, 0};  // of every move that is still to be done, decaying with settle_ns
  double settle_ns[2] = {1, 1};
  Vector2 mains_nm;  // amplitude
  double mains_hz = 50;
  Vector2 scale;     // relative error of the fast and slow scan
  double shear = 0;  // x grows by shear * y
  Vector2 drift_nm_per_s;
  std::vector<Jump> jumps;  // in order of time
  double flicker_rms = 0, flicker_ns = 5e6;
  double contamination_per_s = 0;  // scattered fraction that grows with beam time
};

struct Detector {
  bool noise = true, quantise = true;
  double excess_variance = 0;  // of the pulse heights, relative to one electron
  double gain = 1, offset = 0, read_noise = 0;
  double afterglow_share = 0, afterglow_ns = 1;
  double saturation = std::numeric_limits<double>::infinity();
};

/// Where fractions of a frame lie on the specimen: centre + rotation(distorted((fraction - 1/2) * fov)).
struct Field {
  Vector2 fov, centre;
  double rotation = 0;
};

struct Raster {
  std::size_t rows, cols, discard_lines;
  std::int64_t dwell_ns, flyback_ns;
  Vector2 centre, size;  // fractions
};

struct Path {
  std::span<const double> yx;  // (n, 2) fractions
  std::span<const std::int64_t> dwell_ns;
};

/// True positions and times of the samples that are kept, in order.
struct Samples {
  std::vector<float> y, x;
  std::vector<std::int64_t> start_ns, dwell_ns;
  void resize(std::size_t count);
};

/// Identity of a frame: what its random numbers are keyed by.
struct FrameKey {
  std::uint64_t seed, sequence;
  std::int64_t clock_ns;
};

void place(const Raster& raster, const Field& field, const Distortions& distortions, const FrameKey& key, Samples& out);
void place(const Path& path, const Field& field, const Distortions& distortions, const FrameKey& key, Samples& out);

struct Arranged;

/// Expected scattered fraction at each position (noise-free), atoms enumerated tile by tile.
class Renderer {
 public:
  /// Throws std::invalid_argument when the tables' size does not fit the counts.
  Renderer(Specimen specimen, Optics optics);
  void fractions(std::span<const float> y, std::span<const float> x, std::span<float> out);
  const Specimen& specimen() const { return specimen_; }
  double reach_nm() const { return optics_.reach_nm; }

  /// The columns inside `box` sorted into cells, and the tables: what a point's sum is made from. Valid until the next
  /// call of any function.
  Arranged arrange(const Box& box);

 private:
  void tile(const float* y, const float* x, float* out, std::size_t count);

  Specimen specimen_;
  Optics optics_;
  float unit_;  // of the integer sums
  Atoms atoms_;
  std::vector<std::int32_t> cell_of_, cell_start_, order_;
  std::vector<float> sorted_y_, sorted_x_, sorted_weight_;
  std::vector<std::int32_t> sorted_table_;
  std::vector<float> tile_y_, tile_x_, tile_out_;
  std::vector<std::uint32_t> tile_of_, tile_order_, tile_start_;
};

/// Turns expected fractions into counts in place, samples in time order.
void detect(const Samples& samples, double electrons_per_ns, const Distortions& distortions, const Detector& detector,
            const FrameKey& key, std::span<float> values);

}  // namespace probewise::instrument
