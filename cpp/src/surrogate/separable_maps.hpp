// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <array>
#include <cstdlib>

#include "surrogate/axis_tables.hpp"
#include "surrogate/map_state.hpp"

namespace probewise {

/// On a lattice a separable kernel is k(r - r') k(c - c'), so that w^T K(X, G) for weights w on told sites X is
/// A (W B): W B gathers the told sites of each lattice row into one line, and A, one column per row that holds a
/// told site, spreads the lines. A row of V costs candidates x min(told rows, lattice rows), however many are told,
/// and V itself is never stored.
template <class T>
class SeparableMaps final : public Maps {
 public:
  SeparableMaps(const Candidates& candidates, Kernel kernel)
      : candidates_(candidates),
        kernel_(kernel),
        exact_(candidates, kernel),
        rows_(candidates.rows()),
        cols_(candidates.cols()),
        width_(padded_columns(cols_)),
        stride_(width_ + 64 / sizeof(T)),
        state_(candidates.size()),
        line_of_row_(rows_, -1),
        spread_(rows_ * rows_),
        lines_(rows_ * stride_),
        explained_(rows_ * stride_) {
    for (std::size_t axis : {std::size_t{0}, std::size_t{1}}) table_[axis].resize(exact_.values(axis).size());
    if constexpr (!LoopsOf<T>::wide) narrow_lines_.resize(lines_.size());
  }

  std::unique_ptr<Maps> clone() const override { return std::make_unique<SeparableMaps>(*this); }

  void restart(std::span<const double> lengthscale, double constant, double amplitude) override {
    exact_.tabulate(lengthscale);
    lengthscale_.assign(lengthscale.begin(), lengthscale.end());
    constant_ = constant;
    for (std::size_t axis : {std::size_t{0}, std::size_t{1}}) {
      std::transform(exact_.values(axis).begin(), exact_.values(axis).end(), table_[axis].begin(),
                     [](double value) { return static_cast<T>(value); });
    }
    std::fill(line_of_row_.begin(), line_of_row_.end(), -1);
    row_of_line_.clear();
    first_use_.clear();
    state_.restart(constant, amplitude);
  }

  void covariance(std::span<const std::int64_t> told, std::int64_t index, std::span<double> out) override {
    exact_.covariance(told, index, out);
  }

  bool wants_backward_solve() const noexcept override { return true; }

  void append(std::span<const std::int64_t> told, std::int64_t index, std::span<const double> weight, double diagonal,
              double z) override {
    const std::size_t row = row_of(index), col = col_of(index);
    const T* along_rows = table_[0].data() + (rows_ - 1 - row);
    const T* along_cols = table_[1].data() + (cols_ - 1 - col);
    explain(told, weight, [&](std::size_t r) {
      LoopsOf<T>::absorb_product(cols_, along_rows[r], along_cols, explained_.data() + r * stride_, 1.0 / diagonal, z,
                                 state_.variance.data() + r * cols_, state_.mean.data() + r * cols_);
    });
    add_line(row, told.size());
  }

  void append_all(std::span<const std::int64_t> told, std::span<const double>, std::span<const double> inverse,
                  std::size_t order, std::span<const double> z) override {
    if constexpr (LoopsOf<T>::wide) {
      append_by_inverse(*this, told, inverse, order, z);
    } else {  // in float64, so that a rebuild leaves the rounding of one conversion
      SeparableMaps<double> wide(candidates_, kernel_);
      wide.restart(lengthscale_, constant_, 1.0);
      append_by_inverse(wide, told, inverse, order, z);
      for (std::size_t i = 0; i < told.size(); ++i) add_line(row_of(told[i]), i);
      for (std::size_t j = 0; j < state_.mean.size(); ++j) {
        double mean = 0.0, variance = 0.0;
        wide.stored_at(static_cast<std::int64_t>(j), mean, variance);
        state_.mean[j] = static_cast<T>(mean);
        state_.variance[j] = static_cast<T>(variance);
      }
    }
  }

  void set_mean(std::span<const std::int64_t> told, std::span<const double> alpha, std::span<const double>,
                double constant) override {
    explain(told, alpha, [&](std::size_t r) {
      for (std::size_t c = 0; c < cols_; ++c) {
        state_.mean[r * cols_ + c] = static_cast<T>(constant) + explained_[r * stride_ + c];
      }
    });
  }

  void add_covariances(std::span<const std::int64_t> told, std::span<const double> alpha,
                       std::span<double> out) override {
    std::vector<double> lines(row_of_line_.size() * stride_);
    gather(told, alpha, lines);
    for (std::size_t r = 0; r < rows_; ++r) {
      for (std::size_t line = 0; line < row_of_line_.size(); ++line) {
        surrogate_loops().axpy(cols_, exact_.from(0, row_of_line_[line])[r], lines.data() + line * stride_,
                               out.data() + r * cols_);
      }
    }
  }

  void update_deviation(double amplitude) override { state_.update_deviation(amplitude); }

  void reserve(std::size_t) override {
    row_of_line_.reserve(rows_);
    first_use_.reserve(rows_);
  }

  void remember() override { state_.remember(); }

  void rewind(std::size_t rows) override {
    state_.rewind();
    while (!first_use_.empty() && first_use_.back() >= rows) {
      line_of_row_[row_of_line_.back()] = -1;
      row_of_line_.pop_back();
      first_use_.pop_back();
    }
  }

  bool stored_at(std::int64_t index, double& mean, double& variance) const noexcept override {
    return state_.at(index, mean, variance);
  }

  MapView mean() override { return state_.view(state_.mean); }
  MapView deviation() override { return state_.view(state_.deviation); }

 private:
  std::size_t row_of(std::int64_t index) const noexcept { return static_cast<std::size_t>(index) / cols_; }
  std::size_t col_of(std::int64_t index) const noexcept { return static_cast<std::size_t>(index) % cols_; }

  void add_line(std::size_t row, std::size_t told_before) {
    if (line_of_row_[row] >= 0) return;
    const std::size_t line = row_of_line_.size();
    line_of_row_[row] = static_cast<std::ptrdiff_t>(line);
    row_of_line_.push_back(row);
    first_use_.push_back(told_before);
    for (std::size_t r = 0; r < rows_; ++r) spread_[r * rows_ + line] = table_[0][rows_ - 1 + r - row];
  }

  /// W B: one line for every lattice row that holds a told site.
  void gather(std::span<const std::int64_t> told, std::span<const double> weight, std::span<double> lines) const {
    std::fill_n(lines.begin(), row_of_line_.size() * stride_, 0.0);
    const auto axpy = surrogate_loops().axpy;
    // Two billion entries a second: the lines stay in the second-level cache.
    for_pieces(
        (cols_ + piece_cols - 1) / piece_cols, static_cast<double>(told.size() * cols_) / 2e3, [&](std::size_t piece) {
          const std::size_t first = piece * piece_cols, count = std::min(piece_cols, cols_ - first);
          for (std::size_t i = 0; i < told.size(); ++i) {
            const auto line = static_cast<std::size_t>(line_of_row_[row_of(told[i])]);
            axpy(count, weight[i], exact_.from(1, col_of(told[i])) + first, lines.data() + line * stride_ + first);
          }
        });
  }

  /// explained_ = weight^T K(told, G); `take(r)` is called once for each lattice row when it is there.
  template <class Take>
  void explain(std::span<const std::int64_t> told, std::span<const double> weight, const Take& take) {
    gather(told, weight, lines_);
    const std::size_t depth = row_of_line_.size();
    const T* lines = nullptr;
    if constexpr (LoopsOf<T>::wide) {
      lines = lines_.data();
    } else {
      std::transform(lines_.begin(), lines_.begin() + static_cast<std::ptrdiff_t>(depth * stride_),
                     narrow_lines_.begin(), [](double value) { return static_cast<T>(value); });
      lines = narrow_lines_.data();
    }
    // 40 billion products a second in float32, half as many in float64.
    for_pieces((rows_ + piece_rows - 1) / piece_rows, static_cast<double>(rows_ * width_ * depth * sizeof(T)) / 160e3,
               [&](std::size_t piece) {
                 const std::size_t first = piece * piece_rows, count = std::min(piece_rows, rows_ - first);
                 LoopsOf<T>::multiply(count, width_, depth, spread_.data() + first * rows_, rows_, lines, stride_,
                                      explained_.data() + first * stride_, stride_);
                 for (std::size_t r = first; r < first + count; ++r) take(r);
               });
  }

  static constexpr std::size_t piece_rows = 64, piece_cols = 256;

  Candidates candidates_;
  Kernel kernel_;
  std::vector<double> lengthscale_;
  double constant_ = 0.0;
  AxisTables exact_;
  // One cache line more than the width: at a power of two all lines of a column would share a few cache sets.
  std::size_t rows_, cols_, width_, stride_;
  MapState<T> state_;
  std::array<std::vector<T>, 2> table_;  // `exact_` in the precision of the maps
  std::vector<std::ptrdiff_t> line_of_row_;
  std::vector<std::size_t> row_of_line_, first_use_;
  std::vector<T> spread_;
  std::vector<double> lines_;
  std::vector<T> narrow_lines_, explained_;
};

}  // namespace probewise
