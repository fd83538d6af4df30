// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "probewise/surrogate/candidates.hpp"
#include "probewise/surrogate/kernels.hpp"

namespace probewise {

/// axes: exact, one factor an axis (lattice and separable kernel). dense: exact, one factor of all candidates.
/// fourier: 1024 random Fourier features (Rahimi and Recht 2007), for more than 1024 candidates otherwise.
enum class PriorMethod { axes, dense, fourier };

/// Draws functions of unit variance from a Gaussian-process prior. Factors are made on the first draw and kept until
/// the lengthscale changes; a relative jitter of 1e-10 makes smooth kernels factorisable.
class PriorSampler {
 public:
  PriorSampler(const Candidates& candidates, Kernel kernel, double alpha);

  PriorMethod method() const noexcept { return method_; }
  void forget() noexcept { ready_ = false; }

  /// out[j], j over all candidates, for counter-based normals of (key, stream).
  void draw(const Candidates& candidates, std::span<const double> lengthscale, std::uint64_t key, std::uint64_t stream,
            std::span<double> out);

 private:
  void prepare(const Candidates& candidates, std::span<const double> lengthscale);

  Kernel kernel_;
  double alpha_;
  PriorMethod method_;
  bool ready_ = false;
  std::vector<double> first_, second_;  // row-major lower factors: (rows or c) and (cols)
};

/// out[i] = independent standard normals of (key, stream), from block `first_block` on (Box and Muller).
void standard_normals(std::uint64_t key, std::uint64_t stream, std::uint64_t first_block, std::span<double> out);

}  // namespace probewise
