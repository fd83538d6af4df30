// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/likelihood.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "probewise/surrogate/dense.hpp"
#include "runtime/pool.hpp"
#include "surrogate/level.hpp"

namespace probewise {

namespace {

constexpr std::size_t piece_rows = 32;

}  // namespace

Likelihood::Likelihood(std::span<const double> points, std::size_t axes, std::span<const double> residuals,
                       Kernel kernel, double alpha, std::span<const double> noise)
    : axes_(axes),
      size_(residuals.size()),
      order_(padded_order(size_)),
      stride_(row_stride(order_)),
      kernel_(kernel),
      alpha_(alpha),
      points_(points.size()),
      residuals_(residuals.begin(), residuals.end()),
      noise_(size_),
      scaled_(points.size()),
      covariance_(order_ * stride_),
      slope_(size_ * size_),
      factor_(order_ * stride_),
      inverse_(order_ * stride_),
      scratch_(order_ * stride_),
      solution_(size_),
      of_row_(points.size()) {
  if (axes == 0 || size_ == 0 || points.size() != axes * size_) {
    throw std::invalid_argument("points has " + std::to_string(points.size()) + " coordinates, expected " +
                                std::to_string(axes) + " for each of " + std::to_string(size_) + " values");
  }
  if (!noise.empty()) {
    if (noise.size() != size_) {
      throw std::invalid_argument("noise has " + std::to_string(noise.size()) + " entries, expected " +
                                  std::to_string(size_) + ", one for each value");
    }
    for (const double variance : noise) check_noise(variance);
    std::copy(noise.begin(), noise.end(), noise_.begin());
  }
  for (std::size_t i = 0; i < size_; ++i) {
    for (std::size_t axis = 0; axis < axes; ++axis) points_[axis * size_ + i] = points[i * axes + axis];
  }
}

double Likelihood::evaluate(const Hyperparameters& hyperparameters, std::span<double> gradient) {
  check_hyperparameters(hyperparameters, axes_);
  if (gradient.size() != axes_ + 2) throw std::invalid_argument("gradient has the wrong length");
  const SurrogateLoops& loops = surrogate_loops();
  const double variance = hyperparameters.variance, ratio = hyperparameters.noise / variance;
  for (std::size_t axis = 0; axis < axes_; ++axis) {
    for (std::size_t i = 0; i < size_; ++i) {
      scaled_[axis * size_ + i] = points_[axis * size_ + i] / hyperparameters.lengthscale[axis];
    }
  }
  const std::size_t pieces = (order_ + piece_rows - 1) / piece_rows;
  const double pass_us = static_cast<double>(size_ * size_) / 1e3;  // a nanosecond an entry
  for_pieces(pieces, pass_us, [&](std::size_t piece) {
    std::vector<double> origin(axes_);
    for (std::size_t i = piece * piece_rows; i < std::min((piece + 1) * piece_rows, order_); ++i) {
      double* of_factor = factor_.data() + i * stride_;
      std::fill_n(of_factor, stride_, 0.0);
      of_factor[i] = 1.0;
      if (i >= size_) continue;
      for (std::size_t axis = 0; axis < axes_; ++axis) origin[axis] = scaled_[axis * size_ + i];
      double* row = covariance_.data() + i * stride_;
      loops.kernel_row(static_cast<int>(kernel_), alpha_, axes_, i + 1, scaled_.data(), size_, origin.data(), row,
                       slope_.data() + i * size_);
      std::copy_n(row, i + 1, of_factor);
      of_factor[i] += ratio + noise_[i] / variance;
    }
  });
  cholesky(factor_, order_);
  double log_determinant = 0.0;
  for (std::size_t i = 0; i < size_; ++i) log_determinant += std::log(factor_[i * stride_ + i]);
  invert_lower(factor_, order_, inverse_);
  gram_of_lower(inverse_, order_, scratch_, factor_);  // the factor is no longer needed: K^-1 takes its place
  for_pieces(pieces, pass_us / 2.0, [&](std::size_t piece) {
    for (std::size_t i = piece * piece_rows; i < std::min((piece + 1) * piece_rows, size_); ++i) {
      solution_[i] = loops.dot(size_, factor_.data() + i * stride_, residuals_.data());
    }
  });
  const double misfit = loops.dot(size_, solution_.data(), residuals_.data()) / variance;
  const auto n = static_cast<double>(size_);
  for_pieces(pieces, pass_us, [&](std::size_t piece) {
    std::vector<double> weight(size_);
    for (std::size_t i = piece * piece_rows; i < std::min((piece + 1) * piece_rows, size_); ++i) {
      // Off-diagonal pairs count twice, which cancels the half of the trace formula.
      for (std::size_t j = 0; j < i; ++j) {
        weight[j] = solution_[i] * solution_[j] / variance - factor_[i * stride_ + j];
      }
      for (std::size_t axis = 0; axis < axes_; ++axis) {
        of_row_[i * axes_ + axis] = loops.lengthscale_gradient(
            static_cast<int>(kernel_), i, weight.data(), covariance_.data() + i * stride_, slope_.data() + i * size_,
            scaled_.data() + axis * size_, scaled_[axis * size_ + i]);
      }
    }
  });
  double of_noise = 0.0, of_own_noise = 0.0;
  std::fill(gradient.begin(), gradient.end(), 0.0);
  for (std::size_t i = 0; i < size_; ++i) {
    const double of_diagonal = 0.5 * (solution_[i] * solution_[i] / variance - factor_[i * stride_ + i]);
    of_noise += ratio * of_diagonal;
    of_own_noise += noise_[i] / variance * of_diagonal;
    for (std::size_t axis = 0; axis < axes_; ++axis) gradient[axis] += of_row_[i * axes_ + axis];
  }
  gradient[axes_] = 0.5 * (misfit - n) - of_noise - of_own_noise;
  gradient[axes_ + 1] = of_noise;
  return -0.5 * misfit - log_determinant - 0.5 * n * std::log(2.0 * M_PI * variance);
}

}  // namespace probewise
