// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// Posterior maps over all candidates in device memory, under one storage plan. Covariances have unit variance; factor
// and solves are the host's, which sends one weight a told value.
#include <cstdint>
#include <memory>
#include <span>

#include "cuda/runtime.hpp"
#include "probewise/surrogate/candidates.hpp"
#include "probewise/surrogate/gaussian_process.hpp"

namespace probewise::cuda {

/// A new row of V as the host has solved for it.
struct NewRow {
  std::int64_t index;
  double diagonal, z;
  double amplitude;  ///< of the prior, for the deviation
};

template <class T>
class PosteriorMaps {
 public:
  explicit PosteriorMaps(std::size_t size)
      : mean_(size), variance_(size), deviation_(size), kept_(3 * size), size_(size) {}
  virtual ~PosteriorMaps() = default;

  /// Takes new lengthscales and forgets all rows; mean = `constant`, deviation = `amplitude` everywhere.
  virtual void restart(std::span<const double> lengthscale, double constant, double amplitude, Stream stream);

  /// True when `append` wants w = L^-T l, false when it wants l = L^-1 k; likewise `set_mean`.
  virtual bool wants_backward_solve() const noexcept = 0;

  /// The row of V of a new told candidate, absorbed in mean, variance and deviation.
  virtual void append(std::span<const std::int64_t> told, std::span<const double> weight, const NewRow& row,
                      Stream stream) = 0;

  /// mean = constant + the weighted sum of rows: of K(X, G) where the backward solve is wanted, else of V.
  virtual void set_mean(std::span<const std::int64_t> told, std::span<const double> weight, double constant,
                        Stream stream) = 0;

  void remember(Stream stream);
  void rewind(Stream stream);

  const T* mean() const noexcept { return mean_.data(); }
  const T* deviation() const noexcept { return deviation_.data(); }
  std::size_t size() const noexcept { return size_; }

 protected:
  Buffer<T> mean_, variance_, deviation_, kept_;
  std::size_t size_;
};

template <class T>
std::unique_ptr<PosteriorMaps<T>> separable_maps(const Candidates& candidates, Kernel kernel);

template <class T>
std::unique_ptr<PosteriorMaps<T>> cached_maps(const Candidates& candidates, Kernel kernel, double alpha);

}  // namespace probewise::cuda
