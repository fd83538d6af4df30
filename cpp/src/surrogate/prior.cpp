// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/prior.hpp"

#include <algorithm>
#include <cmath>

#include "probewise/random.hpp"
#include "probewise/surrogate/dense.hpp"
#include "surrogate/level.hpp"

namespace probewise {

namespace {

constexpr std::size_t dense_limit = 1024, features = 1024;
constexpr double relative_jitter = 1e-10;

/// Counter-based draws taken one after another.
class Draws {
 public:
  Draws(std::uint64_t key, std::uint64_t stream) : key_(key), stream_(stream) {}

  double uniform() {
    const RandomBlock block = philox(key_, stream_, next_++);
    return uniform_open(block.word[0], block.word[1]);
  }

  double normal() {
    const RandomBlock block = philox(key_, stream_, next_++);
    return std::sqrt(-2.0 * std::log(uniform_open(block.word[0], block.word[1]))) *
           std::cos(2.0 * M_PI * uniform_open(block.word[2], block.word[3]));
  }

  /// Marsaglia and Tsang, ACM TOMS 26 (2000) 363.
  double gamma(double shape) {
    if (shape < 1.0) {
      const double boost = std::pow(uniform(), 1.0 / shape);
      return gamma(shape + 1.0) * boost;
    }
    const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      const double x = normal(), v = std::pow(1.0 + c * x, 3);
      if (v > 0.0 && std::log(uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
    }
  }

  double chi_square(int degrees) {
    double sum = 0.0;
    for (int i = 0; i < degrees; ++i) {
      const double x = normal();
      sum += x * x;
    }
    return sum;
  }

 private:
  std::uint64_t key_, stream_, next_ = 0;
};

int matern_degrees(Kernel kernel) {
  switch (kernel) {
    case Kernel::matern12:
    case Kernel::product_matern12:
      return 1;
    case Kernel::matern32:
    case Kernel::product_matern32:
      return 3;
    default:
      return 5;
  }
}

/// One angular frequency from the kernel's spectral density, in units of 1/lengthscale. Matern nu is a multivariate
/// t with 2 nu degrees of freedom; RQ a Gaussian whose precision is gamma distributed.
void draw_frequency(Draws& draws, Kernel kernel, double alpha, std::span<double> frequency) {
  double scale = 1.0;
  if (kernel == Kernel::rq) scale = std::sqrt(draws.gamma(alpha) / alpha);
  if (kernel == Kernel::matern12 || kernel == Kernel::matern32 || kernel == Kernel::matern52) {
    const int degrees = matern_degrees(kernel);
    scale = std::sqrt(degrees / draws.chi_square(degrees));
  }
  const bool product = is_separable(kernel) && kernel != Kernel::rbf;
  for (double& component : frequency) {
    if (product) scale = std::sqrt(matern_degrees(kernel) / draws.chi_square(matern_degrees(kernel)));
    component = scale * draws.normal();
  }
}

/// Lower factor (size, size) of the unit-variance covariance of points given by scaled coordinates (axes, size).
std::vector<double> covariance_factor(Kernel kernel, double alpha, std::size_t axes, std::size_t size,
                                      const std::vector<double>& scaled) {
  const std::size_t order = padded_order(size), stride = row_stride(order);
  std::vector<double> matrix(order * stride, 0.0), origin(axes);
  for (std::size_t i = 0; i < order; ++i) {
    if (i >= size) {
      matrix[i * stride + i] = 1.0;
      continue;
    }
    for (std::size_t axis = 0; axis < axes; ++axis) origin[axis] = scaled[axis * size + i];
    surrogate_loops().kernel_row(static_cast<int>(kernel), alpha, axes, i + 1, scaled.data(), size, origin.data(),
                                 matrix.data() + i * stride, nullptr);
    matrix[i * stride + i] += relative_jitter;
  }
  cholesky(matrix, order);
  std::vector<double> lower(size * size);
  for (std::size_t i = 0; i < size; ++i) {
    std::copy_n(matrix.begin() + static_cast<std::ptrdiff_t>(i * stride), i + 1,
                lower.begin() + static_cast<std::ptrdiff_t>(i * size));
  }
  return lower;
}

std::vector<double> axis_coordinates(std::size_t length, double step) {
  std::vector<double> coordinates(length);
  for (std::size_t i = 0; i < length; ++i) coordinates[i] = static_cast<double>(i) * step;
  return coordinates;
}

}  // namespace

void standard_normals(std::uint64_t key, std::uint64_t stream, std::uint64_t first_block, std::span<double> out) {
  for (std::size_t i = 0; i < out.size(); i += 2) {
    const RandomBlock block = philox(key, stream, first_block + i / 2);
    const double radius = std::sqrt(-2.0 * std::log(uniform_open(block.word[0], block.word[1])));
    const double angle = 2.0 * M_PI * uniform_open(block.word[2], block.word[3]);
    out[i] = radius * std::cos(angle);
    if (i + 1 < out.size()) out[i + 1] = radius * std::sin(angle);
  }
}

PriorSampler::PriorSampler(const Candidates& candidates, Kernel kernel, double alpha)
    : kernel_(kernel),
      alpha_(alpha),
      method_(candidates.is_lattice() && is_separable(kernel) ? PriorMethod::axes
              : candidates.size() <= dense_limit              ? PriorMethod::dense
                                                              : PriorMethod::fourier) {}

void PriorSampler::prepare(const Candidates& candidates, std::span<const double> lengthscale) {
  if (method_ == PriorMethod::axes) {
    first_ = covariance_factor(kernel_, alpha_, 1, candidates.rows(),
                               axis_coordinates(candidates.rows(), candidates.spacing(0) / lengthscale[0]));
    second_ = covariance_factor(kernel_, alpha_, 1, candidates.cols(),
                                axis_coordinates(candidates.cols(), candidates.spacing(1) / lengthscale[1]));
  } else if (method_ == PriorMethod::dense) {
    const std::size_t size = candidates.size();
    std::vector<double> scaled(candidates.axes() * size);
    for (std::size_t axis = 0; axis < candidates.axes(); ++axis) {
      for (std::size_t i = 0; i < size; ++i) {
        scaled[axis * size + i] = candidates.coordinate(i, axis) / lengthscale[axis];
      }
    }
    first_ = covariance_factor(kernel_, alpha_, candidates.axes(), size, scaled);
  }
  ready_ = true;
}

void PriorSampler::draw(const Candidates& candidates, std::span<const double> lengthscale, std::uint64_t key,
                        std::uint64_t stream, std::span<double> out) {
  if (!ready_) prepare(candidates, lengthscale);
  const auto dot = surrogate_loops().dot;
  const std::size_t size = candidates.size();
  if (method_ == PriorMethod::fourier) {
    const std::size_t axes = candidates.axes();
    Draws draws(key, stream);
    std::vector<double> frequency(axes);
    std::fill(out.begin(), out.end(), 0.0);
    const double amplitude = std::sqrt(2.0 / features);
    for (std::size_t feature = 0; feature < features; ++feature) {
      draw_frequency(draws, kernel_, alpha_, frequency);
      const double phase = 2.0 * M_PI * draws.uniform();
      for (std::size_t axis = 0; axis < axes; ++axis) frequency[axis] /= lengthscale[axis];
      for (std::size_t j = 0; j < size; ++j) {
        double angle = phase;
        for (std::size_t axis = 0; axis < axes; ++axis) angle += frequency[axis] * candidates.coordinate(j, axis);
        out[j] += amplitude * std::cos(angle);
      }
    }
    return;
  }
  std::vector<double> normal(size);
  standard_normals(key, stream, 0, normal);
  if (method_ == PriorMethod::dense) {
    for (std::size_t i = 0; i < size; ++i) out[i] = dot(i + 1, first_.data() + i * size, normal.data());
    return;
  }
  const std::size_t rows = candidates.rows(), cols = candidates.cols();
  std::vector<double> along_cols(size);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) {
      along_cols[r * cols + c] = dot(c + 1, second_.data() + c * cols, normal.data() + r * cols);
    }
  }
  std::fill(out.begin(), out.end(), 0.0);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t k = 0; k <= r; ++k) {
      surrogate_loops().axpy(cols, first_[r * rows + k], along_cols.data() + k * cols, out.data() + r * cols);
    }
  }
}

}  // namespace probewise
