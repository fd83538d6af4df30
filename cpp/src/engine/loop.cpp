// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/loop.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "probewise/image/gate.hpp"

namespace probewise {

namespace {

constexpr std::size_t most_sites = std::size_t{1} << 26, most_samples = std::size_t{1} << 26;
constexpr std::size_t least_for_constant = 16;  // fewer equal counts are chance at a low dose

std::uint32_t bit(Refusal refusal) { return static_cast<std::uint32_t>(refusal); }

[[noreturn]] void refuse_option(const char* name, double came, const std::string& expected) {
  throw std::invalid_argument(std::string(name) + " is " + std::to_string(came) + ", expected " + expected);
}

void check_positive(const char* name, double value) {
  if (!(value > 0.0 && std::isfinite(value))) refuse_option(name, value, "a positive finite number");
}

void check_count(const char* name, std::size_t value, std::size_t least, std::size_t most) {
  if (value < least || value > most) {
    refuse_option(name, static_cast<double>(value), std::to_string(least) + " to " + std::to_string(most));
  }
}

LoopOptions checked(const LoopOptions& options) {
  check_count("rows", options.rows, 1, most_sites);
  check_count("cols", options.cols, 1, most_sites / options.rows);
  check_count("scan_rows", options.scan_rows, 1, most_samples);
  check_count("scan_cols", options.scan_cols, 1, most_samples / options.scan_rows);
  check_count("border", options.border, 0, (std::min(options.rows, options.cols) - 1) / 2);
  check_count("start", options.start, 1, options.rows * options.cols);
  check_count("bad_frames_running", options.bad_frames_running, 1, most_sites);
  check_positive("fov_nm_y", options.fov_nm_y);
  check_positive("fov_nm_x", options.fov_nm_x);
  const double pitch = std::min(options.fov_nm_y / static_cast<double>(options.rows),
                                options.fov_nm_x / static_cast<double>(options.cols));
  if (!(options.side_nm > 0.0 && options.side_nm <= pitch * (1 + 1e-9))) {
    refuse_option("side_nm", options.side_nm, "more than 0 and at most the pitch, " + std::to_string(pitch));
  }
  check_positive("lengthscale_pitches", options.lengthscale_pitches);
  check_positive("noise", options.noise);
  if (std::isnan(options.saturation)) refuse_option("saturation", options.saturation, "a count");
  if (!(options.max_saturated >= 0.0 && options.max_saturated <= 1.0)) {
    refuse_option("max_saturated", options.max_saturated, "0 to 1");
  }
  const PolicyParameters& given = options.parameters;
  for (const double value : {given.beta, given.xi, given.threshold, given.low, given.high}) {
    if (!std::isfinite(value)) refuse_option("a parameter of the policy", value, "a finite number");
  }
  return options;
}

Engine engine_of(const LoopOptions& options) {
  const double pitch_y = options.fov_nm_y / static_cast<double>(options.rows);
  const double pitch_x = options.fov_nm_x / static_cast<double>(options.cols);
  const double unit = std::min(pitch_y, pitch_x);
  Hyperparameters hyperparameters{{options.lengthscale_pitches, options.lengthscale_pitches}, 1.0, options.noise};
  return Engine(GaussianProcess(Candidates::lattice(options.rows, options.cols, pitch_y / unit, pitch_x / unit),
                                options.kernel, std::move(hyperparameters), 0.0, 1.0, Precision::float64));
}

std::vector<std::uint8_t> border_of(const LoopOptions& options) {
  std::vector<std::uint8_t> blocked(options.rows * options.cols, 1);
  for (std::size_t row = options.border; row < options.rows - options.border; ++row) {
    for (std::size_t col = options.border; col < options.cols - options.border; ++col) {
      blocked[row * options.cols + col] = 0;
    }
  }
  return blocked;
}

/// Pixel centres of the sub-scan about its own centre, line by line; and the centres of all sites.
void lay_paths(const LoopOptions& options, Engine& engine) {
  const double height = options.side_nm / options.fov_nm_y, width = options.side_nm / options.fov_nm_x;
  std::vector<double> offsets, centres;
  offsets.reserve(2 * options.scan_rows * options.scan_cols);
  for (std::size_t row = 0; row < options.scan_rows; ++row) {
    for (std::size_t col = 0; col < options.scan_cols; ++col) {
      offsets.push_back(((static_cast<double>(row) + 0.5) / static_cast<double>(options.scan_rows) - 0.5) * height);
      offsets.push_back(((static_cast<double>(col) + 0.5) / static_cast<double>(options.scan_cols) - 0.5) * width);
    }
  }
  centres.reserve(2 * options.rows * options.cols);
  for (std::size_t row = 0; row < options.rows; ++row) {
    for (std::size_t col = 0; col < options.cols; ++col) {
      centres.push_back((static_cast<double>(row) + 0.5) / static_cast<double>(options.rows));
      centres.push_back((static_cast<double>(col) + 0.5) / static_cast<double>(options.cols));
    }
  }
  engine.set_path(offsets, centres);
}

}  // namespace

Loop::Loop(const LoopOptions& options)
    : options_(checked(options)),
      blocked_(border_of(options_)),
      engine_(engine_of(options_)),
      rescale_at_(options.start) {
  lay_paths(options_, engine_);
}

std::int64_t Loop::choose() {
  const bool starting = values_.size() < options_.start;
  ChoiceRequest request;
  request.policy = starting ? Policy::max_std : options_.policy;
  request.parameters = options_.parameters;
  request.parameters.threshold = (options_.parameters.threshold - offset_) / scale_;
  request.parameters.low = (options_.parameters.low - offset_) / scale_;
  request.parameters.high = (options_.parameters.high - offset_) / scale_;
  request.parameters.best = engine_.surrogate().largest_told_mean();
  request.visited = blocked_;
  request.key = {options_.seed, step_};
  std::int64_t chosen = -1;
  return engine_.choose(request, std::span(&chosen, 1)) == 1 ? chosen : -1;
}

std::optional<Visit> Loop::visit() {
  if (bad_running_ >= options_.bad_frames_running) {
    bad_running_ = 0;
    throw TooManyBadFrames(std::to_string(options_.bad_frames_running) +
                           " frames running were refused, the last at site " + std::to_string(last_site_));
  }
  if (waiting_ < 0) {
    waiting_ = choose();
    attempt_ = 0;
    digest_ = 0;
  }
  if (waiting_ < 0) return std::nullopt;
  return Visit{step_, waiting_, engine_.path(waiting_)};
}

std::uint32_t Loop::judge(std::span<const float> counts) {
  if (waiting_ < 0) throw std::invalid_argument("no site waits for its frame, expected a visit first");
  if (counts.size() != samples()) {
    throw std::invalid_argument("counts has " + std::to_string(counts.size()) + " values, expected " +
                                std::to_string(samples()));
  }
  const FrameStatistics found = frame_statistics(counts, options_.saturation);
  const double size = static_cast<double>(counts.size());
  std::uint32_t refusal = 0;
  if (found.finite != static_cast<std::int64_t>(counts.size())) refusal |= bit(Refusal::not_finite);
  if (static_cast<double>(found.saturated) > options_.max_saturated * size) refusal |= bit(Refusal::saturated);
  if (counts.size() >= least_for_constant && found.minimum == found.maximum) refusal |= bit(Refusal::constant);
  // At the same place a source without noise may repeat itself.
  if (last_site_ >= 0 && last_site_ != waiting_ && found.digest == last_digest_) refusal |= bit(Refusal::duplicate);
  digest_ = found.digest;
  return refusal;
}

LoopStep Loop::finish(double value, std::uint32_t refusal) {
  const LoopStep step{step_, waiting_, value, refusal, digest_};
  last_digest_ = digest_;
  last_site_ = waiting_;
  digest_ = 0;
  ++step_;
  return step;
}

LoopStep Loop::tell(double value) {
  if (waiting_ < 0) throw std::invalid_argument("no site waits for its value, expected a visit first");
  if (!std::isfinite(value)) refuse_option("value", value, "a finite number");
  learn(value);
  blocked_[static_cast<std::size_t>(waiting_)] = 1;
  const LoopStep step = finish(value, 0);
  waiting_ = -1;
  bad_running_ = 0;
  return step;
}

void Loop::learn(double value) {
  const double standardised = (value - offset_) / scale_;
  engine_.surrogate().tell(std::span(&waiting_, 1), std::span(&standardised, 1));
  values_.push_back(value);
  if (values_.size() == rescale_at_) rescale();
}

/// The offset is the mean of the sites chosen without looking at values; the scale is the deviation of all so far,
/// taken again when they have doubled.
void Loop::rescale() {
  const auto size = static_cast<double>(values_.size());
  if (values_.size() == options_.start) offset_ = std::accumulate(values_.begin(), values_.end(), 0.0) / size;
  const double mean = std::accumulate(values_.begin(), values_.end(), 0.0) / size;
  double squares = 0.0;
  for (const double value : values_) squares += (value - mean) * (value - mean);
  const double deviation = std::sqrt(squares / size);
  scale_ = deviation > 0.0 && std::isfinite(deviation) ? deviation : 1.0;
  standardised_.resize(values_.size());
  std::transform(values_.begin(), values_.end(), standardised_.begin(),
                 [this](double value) { return (value - offset_) / scale_; });
  engine_.surrogate().set_values(standardised_);
  rescale_at_ *= 2;
}

LoopStep Loop::refuse(std::uint32_t refusal) {
  if (waiting_ < 0) throw std::invalid_argument("no site waits for its frame, expected a visit first");
  if (refusal == 0) throw std::invalid_argument("refusal is 0, expected bits of what is wrong with the frame");
  const LoopStep step = finish(std::numeric_limits<double>::quiet_NaN(), refusal);
  if (attempt_++ >= options_.retries) {
    blocked_[static_cast<std::size_t>(waiting_)] = 1;
    waiting_ = -1;
  }
  ++bad_running_;
  return step;
}

void Loop::replay(const LoopStep& step) {
  const std::optional<Visit> expected = visit();
  if (!expected || expected->site != step.site || expected->step != step.step) {
    throw std::invalid_argument("step " + std::to_string(step.step) + " went to site " + std::to_string(step.site) +
                                ", this loop would go to " + std::to_string(expected ? expected->site : -1) +
                                " in step " + std::to_string(step_) + ": other options, or steps left out");
  }
  digest_ = step.digest;
  if (step.refusal == 0) {
    tell(step.value);
  } else {
    refuse(step.refusal);
    bad_running_ = 0;
  }
}

void Loop::maps(std::span<double> mean, std::span<double> deviation) const {
  if (mean.size() != sites() || deviation.size() != sites()) {
    throw std::invalid_argument("mean has " + std::to_string(mean.size()) + " and deviation " +
                                std::to_string(deviation.size()) + " values, expected " + std::to_string(sites()));
  }
  const MapView means = engine_.surrogate().mean(), deviations = engine_.surrogate().deviation();
  for (std::size_t i = 0; i < sites(); ++i) {
    mean[i] = offset_ + scale_ * means[i];
    deviation[i] = scale_ * deviations[i];
  }
}

namespace {

class MadeSafe {
 public:
  explicit MadeSafe(const std::function<void()>& make_safe) : make_safe_(make_safe) {}
  ~MadeSafe() { make_safe_(); }
  MadeSafe(const MadeSafe&) = delete;
  MadeSafe& operator=(const MadeSafe&) = delete;

 private:
  const std::function<void()>& make_safe_;
};

}  // namespace

LoopEnd run(Loop& loop, const LoopHost& host, std::uint64_t steps, const std::atomic<bool>& stop) {
  if (!host.make_safe) throw std::invalid_argument("make_safe is empty, expected what blanks the beam");
  const MadeSafe on_every_way_out(host.make_safe);
  if (!host.scan || !host.describe || !host.journal) {
    throw std::invalid_argument("scan, describe or journal is empty, expected all three");
  }
  std::vector<float> counts(loop.samples());
  for (std::uint64_t made = 0; made < steps; ++made) {
    if (stop.load(std::memory_order_relaxed)) return LoopEnd::stopped;
    const std::optional<Visit> visit = loop.visit();
    if (!visit) return LoopEnd::exhausted;
    // What the scan leaves unwritten is found by the gate.
    std::fill(counts.begin(), counts.end(), std::numeric_limits<float>::quiet_NaN());
    host.scan(*visit, counts);
    const std::uint32_t refusal = loop.judge(counts);
    host.journal(refusal == 0 ? loop.tell(host.describe(*visit, counts)) : loop.refuse(refusal));
  }
  return LoopEnd::steps;
}

}  // namespace probewise
