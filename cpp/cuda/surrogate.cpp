// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/surrogate.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

#include "probewise/errors.hpp"
#include "surrogate/arguments.hpp"
#include "surrogate/kernel_body.hpp"
#include "surrogate/pivot.hpp"

namespace probewise::cuda {

namespace {

double dot(std::span<const double> a, std::span<const double> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

bool separates(const Candidates& candidates, Kernel kernel) { return candidates.is_lattice() && is_separable(kernel); }

template <class T>
std::unique_ptr<PosteriorMaps<T>> make_maps(const Candidates& candidates, Kernel kernel, double alpha) {
  if (separates(candidates, kernel)) return separable_maps<T>(candidates, kernel);
  return cached_maps<T>(candidates, kernel, alpha);
}

void check_length(std::size_t length, std::size_t expected, const std::string& name, const char* of) {
  if (length == expected) return;
  throw std::invalid_argument(name + " has " + std::to_string(length) + " entries, expected " +
                              std::to_string(expected) + ", one for each " + of);
}

}  // namespace

Surrogate::Surrogate(Candidates candidates, Kernel kernel, Hyperparameters hyperparameters, double mean_constant,
                     double alpha, Precision precision, int device, Stream stream)
    : candidates_(std::move(candidates)),
      kernel_(kernel),
      hyperparameters_(std::move(hyperparameters)),
      mean_constant_(mean_constant),
      alpha_(alpha),
      precision_(precision),
      device_(device),
      stream_(stream) {
  check_hyperparameters(hyperparameters_, candidates_.axes());
  check_prior(mean_constant, alpha);
  if (precision == Precision::float16) {
    throw std::invalid_argument("precision is float16, expected float32 or float64 on a device");
  }
  activate(device_);
  if (precision == Precision::float64) {
    maps_ = make_maps<double>(candidates_, kernel, alpha);
  } else {
    maps_ = make_maps<float>(candidates_, kernel, alpha);
  }
  told_mask_.reserve(candidates_.size());
  rebuild();
}

void Surrogate::tell(std::span<const std::int64_t> indices, std::span<const double> values,
                     std::span<const double> noise) {
  check_length(values.size(), indices.size(), "value", "index");
  if (!noise.empty()) check_length(noise.size(), indices.size(), "noise", "index");
  check_indices(indices, candidates_.size());
  check_values(values, precision_);
  for (const double variance : noise) check_noise(variance);
  activate(device_);
  const std::size_t before = told_.size();
  try {
    for (std::size_t i = 0; i < indices.size(); ++i) append(indices[i], values[i], noise.empty() ? 0.0 : noise[i]);
  } catch (const CudaError&) {
    truncate(before);
    throw;
  } catch (...) {
    truncate(before);
    rebuild();
    throw;
  }
}

std::vector<double> Surrogate::covariances(std::int64_t index) const {
  const int kernel = static_cast<int>(kernel_);
  std::vector<double> row(told_.size());
  for (std::size_t i = 0; i < row.size(); ++i) {
    double found = kernel_body::is_product(kernel) ? 1.0 : 0.0;
    for (std::size_t axis = 0; axis < candidates_.axes(); ++axis) {
      const double apart = candidates_.coordinate(static_cast<std::size_t>(told_[i]), axis) -
                           candidates_.coordinate(static_cast<std::size_t>(index), axis);
      const double share = kernel_body::along_axis(kernel, apart / hyperparameters_.lengthscale[axis]);
      found = kernel_body::is_product(kernel) ? found * share : found + share;
    }
    row[i] = kernel_body::covariance(kernel, alpha_, found);
  }
  return row;
}

void Surrogate::append(std::int64_t index, double value, double noise) {
  std::vector<double> row = covariances(index);
  factor_.solve_forward(row);
  const double own = 1.0 + (hyperparameters_.noise + noise) / hyperparameters_.variance;
  const Pivot pivot = pivot_of(own - dot(row, row), told_.size(), index);
  const double z = (value - mean_constant_ - dot(row, z_)) / pivot.diagonal;
  const NewRow added{index, pivot.diagonal, z, std::sqrt(hyperparameters_.variance)};
  std::visit(
      [&](auto& maps) {
        if (!maps->wants_backward_solve()) return maps->append(told_, row, added, stream_);
        std::vector<double> weight = row;
        factor_.solve_backward(weight);
        maps->append(told_, weight, added, stream_);
      },
      maps_);
  block(told_mask_.data(), index, 1, stream_);
  jitter_ = std::max(jitter_, pivot.jitter);
  factor_.append(row, pivot.diagonal);
  z_.push_back(z);
  told_.push_back(index);
  values_.push_back(value);
  noise_.push_back(noise);
}

void Surrogate::truncate(std::size_t rows) {
  factor_.truncate(rows);
  told_.resize(rows);
  values_.resize(rows);
  noise_.resize(rows);
  z_.resize(rows);
}

void Surrogate::rebuild() {
  const std::vector<std::int64_t> told = told_;
  const std::vector<double> values = values_, noise = noise_;
  try {
    truncate(0);
    jitter_ = 0.0;
    clear(told_mask_.data(), candidates_.size(), stream_);
    std::visit(
        [&](auto& maps) {
          maps->restart(hyperparameters_.lengthscale, mean_constant_, std::sqrt(hyperparameters_.variance), stream_);
        },
        maps_);
    for (std::size_t i = 0; i < told.size(); ++i) append(told[i], values[i], noise[i]);
  } catch (...) {
    told_ = told;
    values_ = values;
    noise_ = noise;
    throw;
  }
}

void Surrogate::set_values(std::span<const double> values) {
  check_length(values.size(), told_.size(), "values", "told value");
  check_values(values, precision_);
  activate(device_);
  std::vector<double> weight(values.size());
  std::transform(values.begin(), values.end(), weight.begin(), [this](double y) { return y - mean_constant_; });
  factor_.solve_forward(weight);
  values_.assign(values.begin(), values.end());
  z_ = weight;
  std::visit(
      [&](auto& maps) {
        if (maps->wants_backward_solve()) factor_.solve_backward(weight);
        maps->set_mean(told_, weight, mean_constant_, stream_);
      },
      maps_);
}

void Surrogate::set_hyperparameters(const Hyperparameters& hyperparameters) {
  check_hyperparameters(hyperparameters, candidates_.axes());
  activate(device_);
  const Hyperparameters before = std::exchange(hyperparameters_, hyperparameters);
  try {
    rebuild();
  } catch (const CudaError&) {
    hyperparameters_ = before;
    throw;
  } catch (...) {
    hyperparameters_ = before;
    rebuild();
    throw;
  }
}

void Surrogate::reset() {
  activate(device_);
  truncate(0);
  rebuild();
}

Plan Surrogate::plan() const noexcept { return separates(candidates_, kernel_) ? Plan::separable : Plan::cached; }

double Surrogate::log_marginal_likelihood() const {
  double log_determinant = 0.0;
  for (std::size_t i = 0; i < told_.size(); ++i) log_determinant += std::log(factor_.diagonal(i));
  const double variance = hyperparameters_.variance;
  return -0.5 * dot(z_, z_) / variance - log_determinant -
         0.5 * static_cast<double>(told_.size()) * std::log(2.0 * M_PI * variance);
}

double Surrogate::level() const {
  if (told_.empty()) throw std::invalid_argument("level needs at least one told value");
  std::vector<double> ones(told_.size(), 1.0);
  factor_.solve_forward(ones);
  return mean_constant_ + dot(ones, z_) / dot(ones, ones);
}

void Surrogate::send_told_mask() {
  mask_.assign(candidates_.size(), 0);
  for (const std::int64_t told : told_) mask_[static_cast<std::size_t>(told)] = 1;
  to_device(told_mask_.data(), mask_.data(), mask_.size(), stream_);
}

std::int64_t Surrogate::best(const ChoiceRequest& request, const double* cost) {
  return std::visit(
      [&]<class T>(const MapsOf<T>& maps) {
        return chooser_(DeviceMaps<T>{maps->mean(), maps->deviation()}, maps->size(), blocked_.data(), *request.policy,
                        request.parameters, cost, request.cost_weight, request.key, stream_);
      },
      maps_);
}

double Surrogate::mean_at(std::int64_t index) {
  return std::visit(
      [&]<class T>(const MapsOf<T>& maps) {
        T value{};
        to_host(&value, maps->mean() + index, sizeof value, stream_);
        return static_cast<double>(value);
      },
      maps_);
}

std::size_t Surrogate::choose(const ChoiceRequest& request, std::span<std::int64_t> chosen) {
  if (!request.policy) throw std::invalid_argument("acquisition is 'thompson', expected another on a device");
  const std::size_t size = candidates_.size();
  if (!request.visited.empty()) check_length(request.visited.size(), size, "visited", "candidate");
  if (!request.cost.empty()) check_length(request.cost.size(), size, "cost", "candidate");
  activate(device_);
  blocked_.reserve(size);
  if (!request.visited.empty()) {
    mask_.assign(request.visited.begin(), request.visited.end());
    if (!request.allow_told) {
      for (const std::int64_t told : told_) mask_[static_cast<std::size_t>(told)] = 1;
    }
    to_device(blocked_.data(), mask_.data(), size, stream_);
  } else if (request.allow_told) {
    clear(blocked_.data(), size, stream_);
  } else {
    on_device(blocked_.data(), told_mask_.data(), size, stream_);
  }
  const double* cost = nullptr;
  if (!request.cost.empty()) {
    cost_.reserve(size);
    to_device(cost_.data(), request.cost.data(), request.cost.size_bytes(), stream_);
    cost = cost_.data();
  }
  const std::size_t before = told_.size();
  const double jitter = jitter_;
  const bool believes = request.method == BatchMethod::believer && chosen.size() > 1;
  if (believes) std::visit([&](auto& maps) { maps->remember(stream_); }, maps_);
  const auto forget = [&] {
    truncate(before);
    jitter_ = jitter;
  };
  std::size_t count = 0;
  try {
    for (; count < chosen.size(); ++count) {
      const std::int64_t found = best(request, cost);
      if (found < 0) break;
      chosen[count] = found;
      block(blocked_.data(), found, 1, stream_);
      if (believes && count + 1 < chosen.size()) append(found, mean_at(found), 0.0);
    }
  } catch (const CudaError&) {
    forget();
    throw;
  } catch (...) {
    forget();
    rebuild();
    throw;
  }
  if (believes) {
    forget();
    std::visit([&](auto& maps) { maps->rewind(stream_); }, maps_);
    send_told_mask();
  }
  return count;
}

void Surrogate::copy_mean(void* host) {
  activate(device_);
  std::visit([&]<class T>(const MapsOf<T>& maps) { to_host(host, maps->mean(), maps->size() * sizeof(T), stream_); },
             maps_);
}

void Surrogate::copy_deviation(void* host) {
  activate(device_);
  std::visit(
      [&]<class T>(const MapsOf<T>& maps) { to_host(host, maps->deviation(), maps->size() * sizeof(T), stream_); },
      maps_);
}

}  // namespace probewise::cuda
