// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include "surrogate/map_state.hpp"

namespace probewise {

/// Keeps V = L^-1 K(X, G) and appends one row per told value: one pass over V, bound by memory.
template <class T>
class CachedMaps final : public Maps {
 public:
  CachedMaps(const Candidates& candidates, Kernel kernel, double alpha)
      : candidates_(candidates), kernel_(kernel), alpha_(alpha), size_(candidates.size()), state_(size_) {}

  std::unique_ptr<Maps> clone() const override { return std::make_unique<CachedMaps>(*this); }

  void restart(std::span<const double> lengthscale, double constant, double amplitude) override {
    if (candidates_.is_lattice()) {
      tabulate(lengthscale);
    } else {
      scaled_.resize(candidates_.axes() * size_);
      for (std::size_t axis = 0; axis < candidates_.axes(); ++axis) {
        for (std::size_t i = 0; i < size_; ++i) {
          scaled_[axis * size_ + i] = candidates_.coordinate(i, axis) / lengthscale[axis];
        }
      }
    }
    v_.clear();
    state_.restart(constant, amplitude);
  }

  void covariance(std::span<const std::int64_t> told, std::int64_t index, std::span<double> out) const override {
    if (candidates_.is_lattice()) {
      for (std::size_t i = 0; i < told.size(); ++i) out[i] = tabulated(index, told[i]);
      return;
    }
    const std::size_t axes = candidates_.axes();
    const std::vector<double> origin = scaled_point(index);
    std::vector<double> points(axes * told.size());
    for (std::size_t axis = 0; axis < axes; ++axis) {
      for (std::size_t i = 0; i < told.size(); ++i) {
        points[axis * told.size() + i] = scaled_[axis * size_ + static_cast<std::size_t>(told[i])];
      }
    }
    surrogate_loops().kernel_row(static_cast<int>(kernel_), alpha_, axes, told.size(), points.data(), told.size(),
                                 origin.data(), out.data(), nullptr);
  }

  bool wants_backward_solve() const noexcept override { return false; }

  void append(std::span<const std::int64_t> told, std::int64_t index, std::span<const double> weight, double diagonal,
              double z) override {
    const std::size_t first = v_.size();
    v_.resize(first + size_);
    T* row = v_.data() + first;
    covariance_row(index, [row](std::size_t j, double value) { row[j] = static_cast<T>(value); });
    LoopsOf<T>::subtract_rows(size_, told.size(), weight.data(), v_.data(), size_, row);
    LoopsOf<T>::absorb(size_, 1.0 / diagonal, z, row, state_.variance.data(), state_.mean.data());
  }

  void set_mean(std::span<const std::int64_t>, std::span<const double>, std::span<const double> z,
                double constant) override {
    std::vector<double> negative(z.size());
    std::transform(z.begin(), z.end(), negative.begin(), [](double value) { return -value; });
    std::fill(state_.mean.begin(), state_.mean.end(), static_cast<T>(constant));
    LoopsOf<T>::subtract_rows(size_, z.size(), negative.data(), v_.data(), size_, state_.mean.data());
  }

  void add_covariances(std::span<const std::int64_t> told, std::span<const double> alpha,
                       std::span<double> out) override {
    for (std::size_t i = 0; i < told.size(); ++i) {
      covariance_row(told[i], [&](std::size_t j, double value) { out[j] += alpha[i] * value; });
    }
  }

  void update_deviation(double amplitude) override { state_.update_deviation(amplitude); }

  void reserve(std::size_t rows) override { v_.reserve(rows * size_); }

  void remember() override { state_.remember(); }

  void rewind(std::size_t rows) override {
    state_.rewind();
    v_.resize(rows * size_);
  }

  MapView mean() override { return state_.view(state_.mean); }
  MapView deviation() override { return state_.view(state_.deviation); }

 private:
  std::vector<double> scaled_point(std::int64_t index) const {
    std::vector<double> point(candidates_.axes());
    for (std::size_t axis = 0; axis < point.size(); ++axis) {
      point[axis] = scaled_[axis * size_ + static_cast<std::size_t>(index)];
    }
    return point;
  }

  /// Covariance over a lattice depends on the offset alone: rows of row offset >= 0, columns of col offset from
  /// -(cols - 1) to cols - 1.
  void tabulate(std::span<const double> lengthscale) {
    const std::size_t rows = candidates_.rows(), cols = candidates_.cols(), width = 2 * cols - 1;
    table_.resize(rows * width);
    std::vector<double> offset(2 * width);
    for (std::size_t c = 0; c < width; ++c) {
      offset[width + c] =
          (static_cast<double>(c) - static_cast<double>(cols - 1)) * candidates_.spacing(1) / lengthscale[1];
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const double origin[2] = {static_cast<double>(r) * candidates_.spacing(0) / lengthscale[0], 0.0};
      surrogate_loops().kernel_row(static_cast<int>(kernel_), alpha_, 2, width, offset.data(), width, origin,
                                   table_.data() + r * width, nullptr);
    }
  }

  double tabulated(std::int64_t a, std::int64_t b) const noexcept {
    const auto cols = static_cast<std::int64_t>(candidates_.cols());
    const std::int64_t dr = a / cols - b / cols, dc = a % cols - b % cols;
    return table_[static_cast<std::size_t>((dr < 0 ? -dr : dr) * (2 * cols - 1) + dc + cols - 1)];
  }

  template <class Sink>
  void covariance_row(std::int64_t index, Sink sink) const {
    if (!candidates_.is_lattice()) {
      const std::vector<double> origin = scaled_point(index);
      std::vector<double> row(size_);
      surrogate_loops().kernel_row(static_cast<int>(kernel_), alpha_, candidates_.axes(), size_, scaled_.data(), size_,
                                   origin.data(), row.data(), nullptr);
      for (std::size_t j = 0; j < size_; ++j) sink(j, row[j]);
      return;
    }
    const std::size_t rows = candidates_.rows(), cols = candidates_.cols();
    const std::size_t row = static_cast<std::size_t>(index) / cols, col = static_cast<std::size_t>(index) % cols;
    for (std::size_t r = 0; r < rows; ++r) {
      const double* line = table_.data() + (r < row ? row - r : r - row) * (2 * cols - 1) + (cols - 1 - col);
      for (std::size_t c = 0; c < cols; ++c) sink(r * cols + c, line[c]);
    }
  }

  Candidates candidates_;
  Kernel kernel_;
  double alpha_;
  std::size_t size_;
  MapState<T> state_;
  std::vector<double> table_;   // lattice: covariance by offset
  std::vector<double> scaled_;  // points: coordinates over lengthscale, axis by axis
  std::vector<T> v_;
};

}  // namespace probewise
