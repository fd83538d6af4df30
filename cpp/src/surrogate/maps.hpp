// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "probewise/surrogate/candidates.hpp"
#include "probewise/surrogate/gaussian_process.hpp"
#include "probewise/surrogate/kernels.hpp"

namespace probewise {

class Tiles;

/// Posterior maps over all candidates under one storage plan. Covariances in here have unit variance.
class Maps {
 public:
  virtual ~Maps() = default;
  virtual std::unique_ptr<Maps> clone() const = 0;

  /// Takes new lengthscales and forgets all rows; mean = `constant`, deviation = `amplitude` everywhere.
  virtual void restart(std::span<const double> lengthscale, double constant, double amplitude) = 0;

  /// out[i] = covariance of candidates told[i] and `index`.
  virtual void covariance(std::span<const std::int64_t> told, std::int64_t index, std::span<double> out) = 0;

  /// True when `append` wants w = L^-T l, false when it wants l = L^-1 k.
  virtual bool wants_backward_solve() const noexcept = 0;

  /// The row of V that belongs to a new told index, absorbed in mean and variance.
  virtual void append(std::span<const std::int64_t> told, std::int64_t index, std::span<const double> weight,
                      double diagonal, double z) = 0;

  /// All rows at once, after `restart`: `lower` is L and `inverse` L^-1, padded as dense.hpp says.
  virtual void append_all(std::span<const std::int64_t> told, std::span<const double> lower,
                          std::span<const double> inverse, std::size_t order, std::span<const double> z) = 0;

  /// Recomputes the mean from the told values: alpha = K^-1 (y - m), z = L^-1 (y - m).
  virtual void set_mean(std::span<const std::int64_t> told, std::span<const double> alpha, std::span<const double> z,
                        double constant) = 0;

  /// out[j] += sum over i of alpha[i] * covariance(told[i], j) for every candidate j.
  virtual void add_covariances(std::span<const std::int64_t> told, std::span<const double> alpha,
                               std::span<double> out) = 0;

  virtual void update_deviation(double amplitude) = 0;

  /// Room for so many told values.
  virtual void reserve(std::size_t rows) = 0;

  /// A copy of the maps, put back by `rewind`, which also drops the rows from `rows` on.
  virtual void remember() = 0;
  virtual void rewind(std::size_t rows) = 0;

  /// Both current at all candidates.
  virtual MapView mean() = 0;
  virtual MapView deviation() = 0;

  /// Mean and variance, in units of the prior's, of one candidate as stored; false when they need not be current.
  virtual bool stored_at(std::int64_t index, double& mean, double& variance) const noexcept = 0;

  /// The mean of one candidate.
  virtual double mean_at(std::int64_t index) { return mean()[static_cast<std::size_t>(index)]; }

  /// Null unless the plan is lazy.
  virtual Tiles* tiles() noexcept { return nullptr; }
};

std::unique_ptr<Maps> make_maps(const Candidates& candidates, Kernel kernel, double alpha, Precision precision,
                                Plan plan);

/// The plan that suits.
Plan plan_for(const Candidates& candidates, Kernel kernel) noexcept;

}  // namespace probewise
