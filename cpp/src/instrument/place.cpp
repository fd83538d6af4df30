// SPDX-License-Identifier: BSD-3-Clause
#include <cmath>
#include <numbers>

#include "instrument/normal.hpp"
#include "instrument/streams.hpp"
#include "probewise/instrument/microscope.hpp"
#include "probewise/random.hpp"

namespace probewise::instrument {
namespace {

/// Moves sent to the coils become true positions, one sample after the other.
class Beam {
 public:
  Beam(const Field& field, const Distortions& distortions, const FrameKey& key)
      : field_(field),
        distortions_(distortions),
        key_(key),
        cosine_(std::cos(field.rotation)),
        sine_(std::sin(field.rotation)) {
    mains_on_ = distortions.mains_nm.y != 0 || distortions.mains_nm.x != 0;
    for (int k = 0; k < 2; ++k) settling_ = settling_ || distortions.settle_share[k] != 0;
  }

  /// New random offset of a line or slot.
  void line(std::uint64_t number) {
    if (distortions_.jitter_nm.y == 0 && distortions_.jitter_nm.x == 0) return;
    const RandomBlock block = philox(key_.seed, stream(key_.sequence, Draw::line), number);
    jitter_.y = distortions_.jitter_nm.y * static_cast<double>(normal_quantile(uniform_open(block.word[0])));
    jitter_.x = distortions_.jitter_nm.x * static_cast<double>(normal_quantile(uniform_open(block.word[1])));
  }

  /// The true position at the end of `dwell_ns` spent at `fraction`, `start_ns` after the frame began.
  Vector2 move(Vector2 fraction, std::int64_t start_ns, std::int64_t dwell_ns) {
    const Vector2 sent{(fraction.y - 0.5) * field_.fov.y, (fraction.x - 0.5) * field_.fov.x};
    Vector2 at = sent;
    if (settling_) {
      for (int k = 0; k < 2; ++k) {
        const double share = distortions_.settle_share[k];
        if (share == 0) continue;
        if (dwell_ns != decay_for_) {
          for (int m = 0; m < 2; ++m) {
            half_[m] = std::exp(-0.5 * static_cast<double>(dwell_ns) / distortions_.settle_ns[m]);
            decay_[m] = half_[m] * half_[m];
          }
          decay_for_ = dwell_ns;
        }
        // The lag is averaged over the dwell by taking it half-way.
        lag_[k].y = lag_[k].y + share * (sent.y - last_.y);
        lag_[k].x = lag_[k].x + share * (sent.x - last_.x);
        at.y -= lag_[k].y * half_[k];
        at.x -= lag_[k].x * half_[k];
        lag_[k].y *= decay_[k];
        lag_[k].x *= decay_[k];
      }
      last_ = sent;
    }
    at = {at.y * (1 + distortions_.scale.y), at.x * (1 + distortions_.scale.x) + distortions_.shear * at.y};
    at.y += jitter_.y;
    at.x += jitter_.x;
    if (mains_on_) advance_mains(start_ns);
    // Counter-clockwise on the screen, y pointing down.
    Vector2 point{field_.centre.y + cosine_ * at.y - sine_ * at.x, field_.centre.x + sine_ * at.y + cosine_ * at.x};
    if (mains_on_) {
      point.y += distortions_.mains_nm.y * mains_sine_;
      point.x += distortions_.mains_nm.x * mains_sine_;
    }
    const double seconds = static_cast<double>(key_.clock_ns + start_ns) * 1e-9;
    while (next_jump_ < distortions_.jumps.size() && distortions_.jumps[next_jump_].at_ns <= key_.clock_ns + start_ns) {
      jumped_.y += distortions_.jumps[next_jump_].nm.y;
      jumped_.x += distortions_.jumps[next_jump_++].nm.x;
    }
    point.y += distortions_.drift_nm_per_s.y * seconds + jumped_.y;
    point.x += distortions_.drift_nm_per_s.x * seconds + jumped_.x;
    return point;
  }

 private:
  /// sin of the mains phase; by rotation while the step repeats (sin costs more than the rest of a sample).
  void advance_mains(std::int64_t start_ns) {
    const double rate = 2 * std::numbers::pi * distortions_.mains_hz * 1e-9;
    const std::int64_t step = start_ns - mains_at_;
    if (step == mains_step_ && mains_repeats_ < 256) {
      const double sine = mains_sine_ * step_cosine_ + mains_cosine_ * step_sine_;
      mains_cosine_ = mains_cosine_ * step_cosine_ - mains_sine_ * step_sine_;
      mains_sine_ = sine;
      ++mains_repeats_;
    } else {
      const double phase = rate * static_cast<double>((key_.clock_ns + start_ns) % 1000000000);
      mains_sine_ = std::sin(phase);
      mains_cosine_ = std::cos(phase);
      if (step != mains_step_) {
        step_sine_ = std::sin(rate * static_cast<double>(step));
        step_cosine_ = std::cos(rate * static_cast<double>(step));
        mains_step_ = step;
      }
      mains_repeats_ = 0;
    }
    mains_at_ = start_ns;
  }

  const Field& field_;
  const Distortions& distortions_;
  const FrameKey& key_;
  double cosine_, sine_;
  bool mains_on_ = false, settling_ = false;
  Vector2 jitter_, last_, lag_[2], jumped_;
  std::size_t next_jump_ = 0;
  double decay_[2] = {0, 0}, half_[2] = {0, 0};
  std::int64_t decay_for_ = -1, mains_at_ = 0, mains_step_ = -1;
  double mains_sine_ = 0, mains_cosine_ = 1, step_sine_ = 0, step_cosine_ = 1;
  int mains_repeats_ = 0;
};

}  // namespace

void Samples::resize(std::size_t count) {
  y.resize(count);
  x.resize(count);
  start_ns.resize(count);
  dwell_ns.resize(count);
}

void place(const Raster& raster, const Field& field, const Distortions& distortions, const FrameKey& key,
           Samples& out) {
  out.resize(raster.rows * raster.cols);
  Beam beam(field, distortions, key);
  const double step_y = raster.size.y / static_cast<double>(raster.rows);
  const double step_x = raster.size.x / static_cast<double>(raster.cols);
  const double left = raster.centre.x - raster.size.x / 2 + step_x / 2;
  std::int64_t now = 0;
  std::size_t kept = 0;
  for (std::size_t line = 0; line < raster.rows + raster.discard_lines; ++line) {
    beam.line(line);
    const double row = static_cast<double>(line) - static_cast<double>(raster.discard_lines);
    const double y = raster.centre.y - raster.size.y / 2 + (row + 0.5) * step_y;
    for (std::size_t col = 0; col < raster.cols; ++col) {
      const Vector2 point = beam.move({y, left + static_cast<double>(col) * step_x}, now, raster.dwell_ns);
      if (line >= raster.discard_lines) {
        out.y[kept] = static_cast<float>(point.y);
        out.x[kept] = static_cast<float>(point.x);
        out.start_ns[kept] = now;
        out.dwell_ns[kept++] = raster.dwell_ns;
      }
      now += raster.dwell_ns;
    }
    if (raster.flyback_ns > 0) {
      // The beam goes back to the next line's start and waits there: its lag decays meanwhile.
      beam.move({y + step_y, left}, now, raster.flyback_ns);
      now += raster.flyback_ns;
    }
  }
}

void place(const Path& path, const Field& field, const Distortions& distortions, const FrameKey& key, Samples& out) {
  const std::size_t count = path.dwell_ns.size();
  out.resize(count);
  Beam beam(field, distortions, key);
  std::int64_t now = 0, slot = -1;
  for (std::size_t k = 0; k < count; ++k) {
    const auto new_slot = static_cast<std::int64_t>(static_cast<double>(now) / distortions.slot_ns);
    if (new_slot != slot) {
      slot = new_slot;
      beam.line(static_cast<std::uint64_t>(slot));
    }
    const Vector2 point = beam.move({path.yx[2 * k], path.yx[2 * k + 1]}, now, path.dwell_ns[k]);
    out.y[k] = static_cast<float>(point.y);
    out.x[k] = static_cast<float>(point.x);
    out.start_ns[k] = now;
    out.dwell_ns[k] = path.dwell_ns[k];
    now += path.dwell_ns[k];
  }
}

}  // namespace probewise::instrument
