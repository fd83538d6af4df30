// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// The exact Gaussian process with its maps on a device; factor, solves and what was told stay with the host, which can
// go on without the device.
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "cuda/choice.hpp"
#include "cuda/maps.hpp"
#include "probewise/engine.hpp"
#include "probewise/surrogate/factor.hpp"

namespace probewise::cuda {

class Surrogate {
 public:
  /// Arguments of probewise::GaussianProcess. Throws CudaError when the device fails.
  Surrogate(Candidates candidates, Kernel kernel, Hyperparameters hyperparameters, double mean_constant, double alpha,
            Precision precision, int device, Stream stream);

  /// As those of probewise::GaussianProcess. After a CudaError what was told before is still held.
  void tell(std::span<const std::int64_t> indices, std::span<const double> values, std::span<const double> noise = {});
  void set_values(std::span<const double> values);
  void set_hyperparameters(const Hyperparameters& hyperparameters);
  void reset();
  double log_marginal_likelihood() const;
  double level() const;

  /// As probewise::Engine::choose. Throws std::invalid_argument for Thompson, whose draws are the CPU's.
  std::size_t choose(const ChoiceRequest& request, std::span<std::int64_t> chosen);

  /// Copies of the maps, float or double as the precision says.
  void copy_mean(void* host);
  void copy_deviation(void* host);

  const Candidates& candidates() const noexcept { return candidates_; }
  Plan plan() const noexcept;
  const Hyperparameters& hyperparameters() const noexcept { return hyperparameters_; }
  Precision precision() const noexcept { return precision_; }
  std::span<const std::int64_t> indices() const noexcept { return told_; }
  std::span<const double> values() const noexcept { return values_; }
  std::span<const double> noise() const noexcept { return noise_; }
  double jitter() const noexcept { return jitter_; }
  int device() const noexcept { return device_; }
  Stream stream() const noexcept { return stream_; }

 private:
  template <class T>
  using MapsOf = std::unique_ptr<PosteriorMaps<T>>;

  std::vector<double> covariances(std::int64_t index) const;
  void append(std::int64_t index, double value, double noise);
  void rebuild();
  void truncate(std::size_t rows);
  void send_told_mask();
  std::int64_t best(const ChoiceRequest& request, const double* cost);
  double mean_at(std::int64_t index);

  Candidates candidates_;
  Kernel kernel_;
  Hyperparameters hyperparameters_;
  double mean_constant_, alpha_;
  Precision precision_;
  int device_;
  Stream stream_;
  Factor factor_;
  std::vector<std::int64_t> told_;
  std::vector<double> values_, noise_;
  std::vector<double> z_;  // L^-1 (y - m)
  double jitter_ = 0.0;
  std::variant<MapsOf<double>, MapsOf<float>> maps_;
  Buffer<std::uint8_t> told_mask_, blocked_;
  Buffer<double> cost_;
  std::vector<std::uint8_t> mask_;
  Chooser chooser_;
};

}  // namespace probewise::cuda
