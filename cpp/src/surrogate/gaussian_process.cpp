// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/gaussian_process.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "probewise/errors.hpp"
#include "probewise/surrogate/dense.hpp"
#include "probewise/threads.hpp"
#include "surrogate/arguments.hpp"
#include "surrogate/level.hpp"
#include "surrogate/maps.hpp"
#include "surrogate/pivot.hpp"
#include "surrogate/tiles.hpp"

namespace probewise {

namespace {

constexpr std::size_t blocked_from = 64;  // told values; below, row by row takes microseconds

constexpr double drift_bound(Precision precision) {
  return precision == Precision::float64 ? 1e-8 : precision == Precision::float32 ? 1e-3 : 1e-2;
}

void check_lengths(std::size_t indices, std::size_t entries, const char* name) {
  if (entries != indices) {
    throw std::invalid_argument(std::string(name) + " has " + std::to_string(entries) +
                                " entries, expected one for each of " + std::to_string(indices) + " indices");
  }
}

}  // namespace

Precision parse_precision(std::string_view name) {
  if (name == "float64") return Precision::float64;
  if (name == "float32") return Precision::float32;
  if (name == "float16") return Precision::float16;
  throw std::invalid_argument("precision is '" + std::string(name) + "', expected 'float64', 'float32' or 'float16'");
}

GaussianProcess::GaussianProcess(Candidates candidates, Kernel kernel, Hyperparameters hyperparameters,
                                 double mean_constant, double alpha, Precision precision, std::optional<Plan> plan)
    : candidates_(std::move(candidates)),
      kernel_(kernel),
      hyperparameters_(std::move(hyperparameters)),
      mean_constant_(mean_constant),
      alpha_(alpha),
      precision_(precision),
      plan_(plan.value_or(plan_for(candidates_, kernel))),
      prior_(candidates_, kernel, alpha) {
  core_threads();  // a wrong PROBEWISE_THREADS is told here, not in the midst of a `tell`
  check_hyperparameters(hyperparameters_, candidates_.axes());
  check_prior(mean_constant, alpha);
  maps_ = make_maps(candidates_, kernel, alpha, precision, plan_);
  rebuild();
}

GaussianProcess::GaussianProcess(const GaussianProcess& other)
    : candidates_(other.candidates_),
      kernel_(other.kernel_),
      hyperparameters_(other.hyperparameters_),
      mean_constant_(other.mean_constant_),
      alpha_(other.alpha_),
      precision_(other.precision_),
      plan_(other.plan_),
      factor_(other.factor_),
      told_(other.told_),
      values_(other.values_),
      noise_(other.noise_),
      z_(other.z_),
      jitters_(other.jitters_),
      maps_(other.maps_->clone()),
      prior_(other.prior_),
      drift_(other.drift_),
      largest_value_(other.largest_value_),
      rebuilds_(other.rebuilds_),
      rebuilt_at_(other.rebuilt_at_) {}

GaussianProcess::GaussianProcess(GaussianProcess&&) noexcept = default;
GaussianProcess::~GaussianProcess() = default;

void GaussianProcess::tell(std::span<const std::int64_t> indices, std::span<const double> values,
                           std::span<const double> noise) {
  check_lengths(indices.size(), values.size(), "value");
  if (!noise.empty()) check_lengths(indices.size(), noise.size(), "noise");
  check_indices(indices, candidates_.size());
  check_values(values, precision_);
  for (const double variance : noise) check_noise(variance);
  const std::size_t before = told_.size();
  try {
    for (std::size_t i = 0; i < indices.size(); ++i) append(indices[i], values[i], noise.empty() ? 0.0 : noise[i]);
  } catch (...) {
    told_.resize(before);
    values_.resize(before);
    noise_.resize(before);
    rebuild();
    throw;
  }
  if (drift_ > drift_bound(precision_) && !may_rewind_ && told_.size() > rebuilt_at_ + rebuilt_at_ / 2) {
    rebuild();
    ++rebuilds_;
    rebuilt_at_ = told_.size();
  } else if (!indices.empty()) {
    maps_->update_deviation(std::sqrt(hyperparameters_.variance));
  }
}

/// `explained` = l^T l of the candidate that is about to be told, in units of the prior variance.
void GaussianProcess::observe_drift(std::int64_t index, double explained) {
  double mean = 0.0, variance = 0.0;
  if (!maps_->stored_at(index, mean, variance)) return;
  const double exact = mean_constant_ + surrogate_loops().dot(row_.size(), row_.data(), z_.data());
  const double unit = std::sqrt(hyperparameters_.variance) + largest_value_;
  drift_ = std::max({drift_, std::fabs(mean - exact) / unit, std::fabs(variance - (1.0 - explained))});
}

void GaussianProcess::append(std::int64_t index, double value, double noise) {
  const std::size_t n = told_.size();
  row_.resize(n);
  maps_->covariance(told_, index, row_);
  factor_.solve_forward(row_);
  const auto dot = surrogate_loops().dot;
  const double explained = dot(n, row_.data(), row_.data());
  observe_drift(index, explained);
  const double own = 1.0 + (hyperparameters_.noise + noise) / hyperparameters_.variance;
  const auto [diagonal, jitter] = pivot_of(own - explained, n, index);
  const double z = (value - mean_constant_ - dot(n, row_.data(), z_.data())) / diagonal;
  if (maps_->wants_backward_solve()) {
    weight_.assign(row_.begin(), row_.end());
    factor_.solve_backward(weight_);
    maps_->append(told_, index, weight_, diagonal, z);
  } else {
    maps_->append(told_, index, row_, diagonal, z);
  }
  factor_.append(row_, diagonal);
  z_.push_back(z);
  jitters_.push_back(jitter);
  told_.push_back(index);
  values_.push_back(value);
  largest_value_ = std::max(largest_value_, std::fabs(value));
  noise_.push_back(noise);
}

void GaussianProcess::rebuild() {
  const std::vector<std::int64_t> told = std::move(told_);
  const std::vector<double> values = std::move(values_), noise = std::move(noise_);
  told_.clear();
  values_.clear();
  noise_.clear();
  z_.clear();
  jitters_.clear();
  factor_.truncate(0);
  drift_ = 0.0;
  largest_value_ = 0.0;
  for (const double value : values) largest_value_ = std::max(largest_value_, std::fabs(value));
  const double amplitude = std::sqrt(hyperparameters_.variance);
  maps_->restart(hyperparameters_.lengthscale, mean_constant_, amplitude);
  if (told.size() < blocked_from || !rebuild_blocked(told, values, noise)) {
    for (std::size_t i = 0; i < told.size(); ++i) append(told[i], values[i], noise[i]);
  }
  maps_->update_deviation(amplitude);
}

bool GaussianProcess::rebuild_blocked(const std::vector<std::int64_t>& told, const std::vector<double>& values,
                                      const std::vector<double>& noise) {
  const std::size_t n = told.size(), order = padded_order(n), stride = row_stride(order);
  std::vector<double> lower(order * stride, 0.0), inverse(order * stride);
  for (std::size_t i = 0; i < order; ++i) {
    double& diagonal = lower[i * stride + i];
    diagonal = 1.0;
    if (i >= n) continue;
    maps_->covariance(std::span(told).first(i), told[i], std::span(lower).subspan(i * stride, i));
    diagonal += (hyperparameters_.noise + noise[i]) / hyperparameters_.variance;
  }
  try {
    cholesky(lower, order);
  } catch (const NotPositiveDefinite&) {
    return false;  // row by row a jitter is found
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double diagonal = lower[i * stride + i];
    if (!(diagonal * diagonal > smallest_pivot)) return false;
    std::fill_n(lower.begin() + static_cast<std::ptrdiff_t>(i * stride + i + 1), order - i - 1, 0.0);
  }
  factor_.reserve(n);
  for (std::size_t i = 0; i < n; ++i) factor_.append(std::span(lower).subspan(i * stride, i), lower[i * stride + i]);
  z_.resize(n);
  std::transform(values.begin(), values.end(), z_.begin(), [this](double y) { return y - mean_constant_; });
  factor_.solve_forward(z_);
  invert_lower(lower, order, inverse);
  maps_->append_all(told, lower, inverse, order, z_);
  told_ = told;
  values_ = values;
  noise_ = noise;
  jitters_.assign(n, 0.0);
  return true;
}

void GaussianProcess::set_values(std::span<const double> values) {
  if (values.size() != told_.size()) {
    throw std::invalid_argument("values has " + std::to_string(values.size()) + " entries, expected " +
                                std::to_string(told_.size()) + ", one for each told value");
  }
  check_values(values, precision_);
  values_.assign(values.begin(), values.end());
  largest_value_ = 0.0;
  for (const double value : values_) largest_value_ = std::max(largest_value_, std::fabs(value));
  std::transform(values_.begin(), values_.end(), z_.begin(), [this](double y) { return y - mean_constant_; });
  factor_.solve_forward(z_);
  weight_.assign(z_.begin(), z_.end());
  factor_.solve_backward(weight_);
  maps_->set_mean(told_, weight_, z_, mean_constant_);
}

void GaussianProcess::set_hyperparameters(const Hyperparameters& hyperparameters) {
  check_hyperparameters(hyperparameters, candidates_.axes());
  const Hyperparameters before = hyperparameters_;
  const std::vector<std::int64_t> told = told_;
  const std::vector<double> values = values_, noise = noise_;
  try {
    hyperparameters_ = hyperparameters;
    prior_.forget();
    rebuild();
  } catch (...) {
    hyperparameters_ = before;
    told_ = told;
    values_ = values;
    noise_ = noise;
    rebuild();
    throw;
  }
}

void GaussianProcess::reset() {
  rebuilt_at_ = 0;
  told_.clear();
  values_.clear();
  noise_.clear();
  rebuild();
}

void GaussianProcess::reserve(std::size_t rows) {
  factor_.reserve(rows);
  maps_->reserve(rows);
  told_.reserve(rows);
  values_.reserve(rows);
  noise_.reserve(rows);
  z_.reserve(rows);
  jitters_.reserve(rows);
  row_.reserve(rows);
  weight_.reserve(rows);
}

double GaussianProcess::log_marginal_likelihood() const {
  const auto n = static_cast<double>(told_.size());
  double log_determinant = 0.0;
  for (std::size_t i = 0; i < told_.size(); ++i) log_determinant += std::log(factor_.diagonal(i));
  const double variance = hyperparameters_.variance;
  const double misfit = surrogate_loops().dot(z_.size(), z_.data(), z_.data()) / variance;
  return -0.5 * misfit - log_determinant - 0.5 * n * std::log(2.0 * M_PI * variance);
}

double GaussianProcess::level() const {
  if (told_.empty()) throw std::invalid_argument("level needs at least one told value");
  std::vector<double> ones(told_.size(), 1.0);
  factor_.solve_forward(ones);
  const auto dot = surrogate_loops().dot;
  return mean_constant_ + dot(ones.size(), ones.data(), z_.data()) / dot(ones.size(), ones.data(), ones.data());
}

void GaussianProcess::sample(std::uint64_t key, std::uint64_t stream, std::span<double> out) {
  if (out.size() != candidates_.size()) throw std::invalid_argument("out has the wrong length");
  prior_.draw(candidates_, hyperparameters_.lengthscale, key, stream, out);
  const double amplitude = std::sqrt(hyperparameters_.variance);
  for (double& value : out) value = mean_constant_ + amplitude * value;
  // Matheron: what the draw would have to be corrected by to agree with the noisy values told.
  constexpr std::uint64_t noise_blocks = std::uint64_t{1} << 62;
  std::vector<double> residual(told_.size());
  standard_normals(key, stream, noise_blocks, residual);
  for (std::size_t i = 0; i < told_.size(); ++i) {
    const double error = std::sqrt(hyperparameters_.noise + noise_[i]) * residual[i];
    residual[i] = values_[i] - out[static_cast<std::size_t>(told_[i])] - error;
  }
  factor_.solve_forward(residual);
  factor_.solve_backward(residual);
  maps_->add_covariances(told_, residual, out);
}

void GaussianProcess::remember() {
  remembered_ = told_.size();
  may_rewind_ = true;
  maps_->remember();
}

void GaussianProcess::rewind() {
  may_rewind_ = false;
  factor_.truncate(remembered_);
  told_.resize(remembered_);
  values_.resize(remembered_);
  noise_.resize(remembered_);
  z_.resize(remembered_);
  jitters_.resize(remembered_);
  maps_->rewind(remembered_);
}

double GaussianProcess::jitter() const noexcept {
  return jitters_.empty() ? 0.0 : *std::max_element(jitters_.begin(), jitters_.end());
}

MapView GaussianProcess::mean() const { return maps_->mean(); }
MapView GaussianProcess::deviation() const { return maps_->deviation(); }
double GaussianProcess::mean_at(std::int64_t index) const { return maps_->mean_at(index); }
Tiles* GaussianProcess::tiles() const noexcept { return maps_->tiles(); }

double GaussianProcess::largest_told_mean() const {
  if (told_.empty()) return mean_constant_;
  double largest = -std::numeric_limits<double>::infinity();
  const Tiles* tiles = maps_->tiles();
  if (tiles == nullptr) {
    const MapView map = maps_->mean();
    for (const std::int64_t index : told_) largest = std::max(largest, map[static_cast<std::size_t>(index)]);
    return largest;
  }
  // (K + N) alpha = y - m, so that the mean at a told site is y - N alpha.
  const std::span<const double> alpha = tiles->weights();
  for (std::size_t i = 0; i < told_.size(); ++i) {
    const double nugget = (hyperparameters_.noise + noise_[i]) / hyperparameters_.variance + jitters_[i];
    largest = std::max(largest, values_[i] - nugget * alpha[i]);
  }
  return largest;
}

}  // namespace probewise
