// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include "surrogate/map_state.hpp"
#include "surrogate/row_store.hpp"

namespace probewise {

/// Keeps V = L^-1 K(X, G) and appends one row per told value: one pass over V, bound by memory. V is kept as Stored;
/// sums, and what is absorbed in the maps, are T.
template <class T, class Stored = T>
class CachedMaps final : public Maps {
 public:
  CachedMaps(const Candidates& candidates, Kernel kernel, double alpha)
      : candidates_(candidates), kernel_(kernel), alpha_(alpha), size_(candidates.size()), state_(size_) {
    for (std::size_t first = 0; first < size_; first += strip) {
      strips_.emplace_back(std::min(strip, size_ - first));
    }
    row_.resize(size_);
    fresh_.resize(strips_.size() * strip);
    point_.resize(candidates.axes());
  }

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
    for (RowStore<Stored>& part : strips_) part.resize(0);
    state_.restart(constant, amplitude);
  }

  void covariance(std::span<const std::int64_t> told, std::int64_t index, std::span<double> out) override {
    if (candidates_.is_lattice()) {
      for (std::size_t i = 0; i < told.size(); ++i) out[i] = tabulated(index, told[i]);
      return;
    }
    const std::size_t axes = candidates_.axes();
    locate(index, point_);
    points_.resize(axes * told.size());
    for (std::size_t axis = 0; axis < axes; ++axis) {
      for (std::size_t i = 0; i < told.size(); ++i) {
        points_[axis * told.size() + i] = scaled_[axis * size_ + static_cast<std::size_t>(told[i])];
      }
    }
    surrogate_loops().kernel_row(static_cast<int>(kernel_), alpha_, axes, told.size(), points_.data(), told.size(),
                                 point_.data(), out.data(), nullptr);
  }

  bool wants_backward_solve() const noexcept override { return false; }

  void append(std::span<const std::int64_t> told, std::int64_t index, std::span<const double> weight, double diagonal,
              double z) override {
    const std::size_t n = told.size();
    locate(index, point_);
    weight_.resize(n);
    std::transform(weight.begin(), weight.end(), weight_.begin(), [](double value) { return static_cast<T>(value); });
    for (RowStore<Stored>& part : strips_) part.resize(n + 1);
    for_pieces(strips_.size(), microseconds(n), [&](std::size_t s) {
      const std::size_t first = s * strip, width = width_of(s);
      RowStore<Stored>& part = strips_[s];
      T* fresh = fresh_.data() + first;
      covariance_part(index, point_, first, width, row_.data() + first);
      for (std::size_t j = 0; j < width; ++j) fresh[j] = static_cast<T>(row_[first + j]);
      for (std::size_t t = 0; t < part.tiles(); ++t) {
        LoopsOf<T>::subtract_rows(n, weight_.data(), part.row(t, 0), fresh + t * column_tile);
      }
      LoopsOf<T>::absorb(width, 1.0 / diagonal, z, fresh, state_.variance.data() + first, state_.mean.data() + first);
      for (std::size_t t = 0; t < part.tiles(); ++t) LoopsOf<T>::keep(fresh + t * column_tile, part.row(t, n));
    });
  }

  /// V of all told values: blocked forward substitution in float64, whatever is kept, over as many columns at a time
  /// as stay in the second-level cache.
  void append_all(std::span<const std::int64_t> told, std::span<const double> lower, std::span<const double> inverse,
                  std::size_t order, std::span<const double> z) override {
    constexpr std::size_t block = column_padding, columns = column_tile, ld = columns + 8;
    static_assert(strip % columns == 0);
    const auto multiply = surrogate_loops().multiply_f64;
    const std::size_t stride = row_stride(order);
    for (RowStore<Stored>& part : strips_) part.resize(told.size());
    const auto form_tile = [&](std::size_t s, std::size_t t, std::vector<double>& v) {
      std::vector<double> solved(block * columns), variance(columns), mean(columns), point(candidates_.axes());
      std::vector<T> line(columns);
      const std::size_t first = s * strip + t * columns, width = std::min(columns, size_ - first);
      std::fill(v.begin(), v.end(), 0.0);
      for (std::size_t i = 0; i < told.size(); ++i) {
        locate(told[i], point);
        covariance_part(told[i], point, first, width, v.data() + i * ld);
      }
      for (std::size_t i = 0; i < order; i += block) {
        double* rows = v.data() + i * ld;
        if (i > 0)
          multiply(block, columns, i, lower.data() + i * stride, stride, v.data(), ld, rows, ld, Store::subtract);
        multiply(block, columns, block, inverse.data() + i * stride + i, stride, rows, ld, solved.data(), columns,
                 Store::set);
        for (std::size_t r = 0; r < block; ++r) std::copy_n(solved.data() + r * columns, columns, rows + r * ld);
      }
      std::fill(variance.begin(), variance.end(), 1.0);
      std::fill(mean.begin(), mean.end(), 0.0);
      for (std::size_t i = 0; i < told.size(); ++i) {
        const double* row = v.data() + i * ld;
        for (std::size_t j = 0; j < columns; ++j) line[j] = static_cast<T>(row[j]);
        LoopsOf<T>::keep(line.data(), strips_[s].row(t, i));
        for (std::size_t j = 0; j < width; ++j) {
          variance[j] -= row[j] * row[j];
          mean[j] += z[i] * row[j];
        }
      }
      for (std::size_t j = 0; j < width; ++j) {
        state_.variance[first + j] = static_cast<T>(variance[j]);
        state_.mean[first + j] = static_cast<T>(static_cast<double>(state_.mean[first + j]) + mean[j]);
      }
    };
    const double products = static_cast<double>(order * order) / 2.0 * static_cast<double>(size_);
    for_pieces(strips_.size(), products / 20e3, [&](std::size_t s) {  // 20 billion products a second
      std::vector<double> v(order * ld);
      for (std::size_t t = 0; t < strips_[s].tiles(); ++t) form_tile(s, t, v);
    });
  }

  void set_mean(std::span<const std::int64_t> told, std::span<const double> alpha, std::span<const double> z,
                double constant) override {
    if constexpr (std::is_same_v<Stored, Half>) {  // from the covariances: z^T V would add up what V has lost
      std::vector<double> mean(size_, constant);
      add_covariances(told, alpha, mean);
      std::transform(mean.begin(), mean.end(), state_.mean.begin(), [](double value) { return static_cast<T>(value); });
      return;
    }
    std::vector<T> negative(z.size());
    std::transform(z.begin(), z.end(), negative.begin(), [](double value) { return static_cast<T>(-value); });
    for_pieces(strips_.size(), microseconds(z.size()), [&](std::size_t s) {
      std::vector<T> line(column_tile);
      for (std::size_t t = 0; t < strips_[s].tiles(); ++t) {
        std::fill(line.begin(), line.end(), static_cast<T>(constant));
        LoopsOf<T>::subtract_rows(z.size(), negative.data(), strips_[s].row(t, 0), line.data());
        const std::size_t first = s * strip + t * column_tile;
        std::copy_n(line.begin(), std::min(column_tile, size_ - first),
                    state_.mean.begin() + static_cast<std::ptrdiff_t>(first));
      }
    });
  }

  void add_covariances(std::span<const std::int64_t> told, std::span<const double> alpha,
                       std::span<double> out) override {
    for_pieces(strips_.size(), microseconds(told.size()), [&](std::size_t s) {
      const std::size_t first = s * strip, width = width_of(s);
      std::vector<double> row(width), point(candidates_.axes());
      for (std::size_t i = 0; i < told.size(); ++i) {
        locate(told[i], point);
        covariance_part(told[i], point, first, width, row.data());
        surrogate_loops().axpy(width, alpha[i], row.data(), out.data() + first);
      }
    });
  }

  void update_deviation(double amplitude) override { state_.update_deviation(amplitude); }

  void reserve(std::size_t rows) override {
    for (RowStore<Stored>& part : strips_) part.reserve(rows);
    weight_.reserve(rows);
    points_.reserve(candidates_.axes() * rows);
  }

  void remember() override { state_.remember(); }

  void rewind(std::size_t rows) override {
    state_.rewind();
    for (RowStore<Stored>& part : strips_) part.resize(rows);
  }

  bool stored_at(std::int64_t index, double& mean, double& variance) const noexcept override {
    return state_.at(index, mean, variance);
  }

  MapView mean() override { return state_.view(state_.mean); }
  MapView deviation() override { return state_.view(state_.deviation); }

 private:
  // A strip's new row, variance and mean fit in the first-level cache; one strip is a piece of work.
  static constexpr std::size_t strip = 2048;

  std::size_t width_of(std::size_t s) const noexcept { return std::min(strip, size_ - s * strip); }

  /// Of one pass over `rows` rows of V, at the 16 GB/s that one core reads.
  double microseconds(std::size_t rows) const noexcept {
    return static_cast<double>(rows * size_ * sizeof(Stored)) / 16e3;
  }

  /// point = scaled coordinates of a candidate; not needed on a lattice.
  void locate(std::int64_t index, std::span<double> point) const noexcept {
    if (candidates_.is_lattice()) return;
    for (std::size_t axis = 0; axis < point.size(); ++axis) {
      point[axis] = scaled_[axis * size_ + static_cast<std::size_t>(index)];
    }
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

  /// out[j] = covariance of candidate `index`, which is at `point`, and candidate first + j, j < count.
  void covariance_part(std::int64_t index, std::span<const double> point, std::size_t first, std::size_t count,
                       double* out) const {
    if (!candidates_.is_lattice()) {
      surrogate_loops().kernel_row(static_cast<int>(kernel_), alpha_, candidates_.axes(), count, scaled_.data() + first,
                                   size_, point.data(), out, nullptr);
      return;
    }
    const std::size_t cols = candidates_.cols();
    const std::size_t row = static_cast<std::size_t>(index) / cols, col = static_cast<std::size_t>(index) % cols;
    for (std::size_t j = first; j < first + count;) {
      const std::size_t r = j / cols, c = j % cols, length = std::min(cols - c, first + count - j);
      const double* line = table_.data() + (r < row ? row - r : r - row) * (2 * cols - 1) + (cols - 1 - col);
      std::copy_n(line + c, length, out + (j - first));
      j += length;
    }
  }

  Candidates candidates_;
  Kernel kernel_;
  double alpha_;
  std::size_t size_;
  MapState<T> state_;
  std::vector<double> table_;             // lattice: covariance by offset
  std::vector<double> scaled_;            // points: coordinates over lengthscale, axis by axis
  std::vector<RowStore<Stored>> strips_;  // V
  std::vector<double> row_, points_, point_;
  std::vector<T> fresh_, weight_;  // the new row, zero beyond the last candidate; what of each row it is made of
};

}  // namespace probewise
