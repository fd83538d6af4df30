// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "surrogate/axis_tables.hpp"
#include "surrogate/map_state.hpp"
#include "surrogate/tiles.hpp"

namespace probewise {

/// For lattices of very many candidates and a separable kernel: the rows of L^-1 are kept, and each tile of the
/// lattice takes the told values that it has not absorbed only when somebody looks at it.
///
/// With u the row of L^-1 of a told value, its row of V at b is u^T k(X, b), so |v(b)| is at most the sum of
/// |u_j| k(x_j, b), and at most the deviation at b. The first is summed once a told value over cells of a few
/// candidates and bounded for every tile by the cells' least distances; being separable that costs two small
/// products. The bound says how far |z v| can have moved the mean, and which rows cannot be seen in a tile's variance.
/// The mean is alpha^T K(X, G), one product however many values are outstanding.
template <class T>
class LazyMaps final : public Maps, public Tiles {
 public:
  LazyMaps(const Candidates& candidates, Kernel kernel)
      : tables_(candidates, kernel),
        rows_(candidates.rows()),
        cols_(candidates.cols()),
        tile_count_{parts(rows_, tile_rows), parts(cols_, tile_cols)},
        cell_count_{parts(rows_, cell), parts(cols_, cell)},
        bound_stride_(padded_columns(tile_count_[1])),
        state_(candidates.size()),
        tiles_(tile_count_[0] * tile_count_[1]),
        cells_(cell_count_[0] * cell_count_[1]),
        cell_to_tile_{std::vector<double>(tile_count_[0] * cell_count_[0]),
                      std::vector<double>(cell_count_[1] * bound_stride_)},
        along_(cell_count_[0] * bound_stride_),
        bound_(tile_count_[0] * bound_stride_),
        scratch_(rows_, tiles_.size()) {}

  std::unique_ptr<Maps> clone() const override { return std::make_unique<LazyMaps>(*this); }
  Tiles* tiles() noexcept override { return this; }

  void restart(std::span<const double> lengthscale, double constant, double amplitude) override {
    tables_.tabulate(lengthscale);
    for (std::size_t axis : {std::size_t{0}, std::size_t{1}}) {
      const std::size_t size = axis == 0 ? tile_rows : tile_cols;
      for (std::size_t t = 0; t < tile_count_[axis]; ++t) {
        for (std::size_t c = 0; c < cell_count_[axis]; ++c) {
          const double nearest = tables_.from(axis, 0)[gap(c * cell, cell, t * size, size)];
          (axis == 0 ? cell_to_tile_[0][t * cell_count_[0] + c] : cell_to_tile_[1][c * bound_stride_ + t]) = nearest;
        }
      }
    }
    constant_ = constant;
    amplitude_ = amplitude;
    inverse_.clear();
    bounds_.clear();
    alpha_.clear();
    told_row_.clear();
    told_col_.clear();
    state_.restart(constant, amplitude);
    const double deviation = static_cast<double>(static_cast<T>(amplitude));
    std::fill(tiles_.begin(), tiles_.end(), Tile{0, 0, 0.0, 0.0, constant, constant, 1.0, deviation});
    scratch_.tile = tiles_.size();
    ++epoch_;
  }

  void covariance(std::span<const std::int64_t> told, std::int64_t index, std::span<double> out) override {
    tables_.covariance(told, index, out);
  }

  bool wants_backward_solve() const noexcept override { return true; }

  void append(std::span<const std::int64_t> told, std::int64_t index, std::span<const double> weight, double diagonal,
              double z) override {
    const std::size_t n = told.size(), first = inverse_.size();
    inverse_.resize(first + n + 1);
    double* u = inverse_.data() + first;
    for (std::size_t j = 0; j < n; ++j) u[j] = -weight[j] / diagonal;
    u[n] = 1.0 / diagonal;
    alpha_.push_back(0.0);
    surrogate_loops().axpy(n + 1, z, u, alpha_.data());
    told_row_.push_back(static_cast<std::size_t>(index) / cols_);
    told_col_.push_back(static_cast<std::size_t>(index) % cols_);
    bound_row(u);
    double sum = 0.0;
    for (const double value : alpha_) sum += std::fabs(value);
    constexpr double rounding = 4.0 * static_cast<double>(std::numeric_limits<T>::epsilon());
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
      Tile& tile = tiles_[t];
      const double from_weights = bound_[t / tile_count_[1] * bound_stride_ + t % tile_count_[1]];
      const double bound = std::min(from_weights, std::sqrt(tile.variance_high)) * (1.0 + 1e-6);
      bounds_.push_back(static_cast<float>(bound));
      tile.drift +=
          std::fabs(z) * bound + 1e-15 * sum + rounding * std::max(std::fabs(tile.mean_low), std::fabs(tile.mean_high));
    }
  }

  void append_all(std::span<const std::int64_t> told, std::span<const double>, std::span<const double> inverse,
                  std::size_t order, std::span<const double> z) override {
    append_by_inverse(*this, told, inverse, order, z);
  }

  void set_mean(std::span<const std::int64_t>, std::span<const double> alpha, std::span<const double>,
                double constant) override {
    alpha_.assign(alpha.begin(), alpha.end());
    constant_ = constant;
    for_tiles([this](std::size_t t, Scratch& scratch) { form_mean(t, scratch); });
    ++epoch_;
  }

  void add_covariances(std::span<const std::int64_t>, std::span<const double> alpha, std::span<double> out) override {
    for_tiles([&](std::size_t t, Scratch& scratch) {
      const TileArea tile = area(t);
      combine(t, alpha.data(), alpha.size(), 0.0, scratch, scratch.spread, scratch.lines, scratch.block);
      for (std::size_t r = 0; r < tile.rows; ++r) {
        double* row = out.data() + (tile.row + r) * cols_ + tile.col;
        for (std::size_t c = 0; c < tile.cols; ++c) row[c] += scratch.block[r * tile_cols + c];
      }
    });
  }

  void update_deviation(double amplitude) override { amplitude_ = amplitude; }

  void reserve(std::size_t rows) override {
    inverse_.reserve(rows * (rows + 1) / 2);
    bounds_.reserve(rows * tiles_.size());
    alpha_.reserve(rows);
    told_row_.reserve(rows);
    told_col_.reserve(rows);
    scratch_.near.reserve(rows);
  }

  void remember() override {
    state_.remember();
    kept_tiles_ = tiles_;
    kept_alpha_ = alpha_;
  }

  void rewind(std::size_t rows) override {
    state_.rewind();
    std::copy(kept_tiles_.begin(), kept_tiles_.end(), tiles_.begin());
    alpha_.assign(kept_alpha_.begin(), kept_alpha_.end());
    inverse_.resize(rows * (rows + 1) / 2);
    bounds_.resize(rows * tiles_.size());
    told_row_.resize(rows);
    told_col_.resize(rows);
    scratch_.tile = tiles_.size();
    ++epoch_;
  }

  bool stored_at(std::int64_t, double&, double&) const noexcept override { return false; }

  MapView mean() override {
    const auto current = [this](std::size_t t) { return mean_is_current(t); };
    for_tiles_not(current, [this](std::size_t t, Scratch& scratch) { form_mean(t, scratch); });
    return stored_mean();
  }

  MapView deviation() override {
    const auto current = [this](std::size_t t) { return tiles_[t].variance_told == told_row_.size(); };
    for_tiles_not(current, [this](std::size_t t, Scratch& scratch) { absorb_rows(t, scratch); });
    return stored_deviation();
  }

  double mean_at(std::int64_t index) override {
    const auto at = static_cast<std::size_t>(index);
    refresh_mean(at / cols_ / tile_rows * tile_count_[1] + at % cols_ / tile_cols);
    return static_cast<double>(state_.mean[at]);
  }

  std::size_t count() const noexcept override { return tiles_.size(); }

  TileArea area(std::size_t tile) const noexcept override {
    const std::size_t row = tile / tile_count_[1] * tile_rows, col = tile % tile_count_[1] * tile_cols;
    return {row, col, std::min(tile_rows, rows_ - row), std::min(tile_cols, cols_ - col)};
  }

  TileLimits limits(std::size_t t) const noexcept override {
    const Tile& tile = tiles_[t];
    const double stale = tile.drift - tile.settled_drift;
    return {tile.mean_low - stale, tile.mean_high + stale, tile.deviation_high, stale, tile.drift};
  }

  bool mean_is_current(std::size_t tile) const noexcept override { return tiles_[tile].mean_told == told_row_.size(); }

  bool deviation_is_current(std::size_t tile) const noexcept override {
    for (std::size_t i = tiles_[tile].variance_told; i < told_row_.size(); ++i) {
      if (is_seen(i, tile)) return false;
    }
    return true;
  }

  void refresh_mean(std::size_t tile) override {
    if (!mean_is_current(tile)) form_mean(tile, scratch_);
  }

  void refresh_deviation(std::size_t tile) override { absorb_rows(tile, scratch_); }

  MapView stored_mean() const noexcept override { return state_.view(state_.mean); }
  MapView stored_deviation() const noexcept override { return state_.view(state_.deviation); }
  std::span<const double> weights() const noexcept override { return alpha_; }
  std::uint64_t epoch() const noexcept override { return epoch_; }

 private:
  struct Tile {
    std::size_t mean_told, variance_told;  // how many told values are in the two maps
    double drift, settled_drift;           // now, and when the mean was formed
    double mean_low, mean_high, variance_high, deviation_high;
  };

  struct Near {
    std::size_t told, line;
    double covariance;  // the largest with a candidate of the tile
  };

  /// What a tile is formed in.
  struct Scratch {
    Scratch(std::size_t rows, std::size_t no_tile)
        : tile(no_tile),
          line_of_row(rows, -1),
          row_of_line(rows),
          used(rows),
          spread(tile_rows * rows),
          narrow_spread(LoopsOf<T>::wide ? 0 : spread.size()),
          lines(rows * tile_cols),
          narrow_lines(LoopsOf<T>::wide ? 0 : lines.size()),
          block(tile_rows * tile_cols),
          narrow_block(LoopsOf<T>::wide ? 0 : block.size()) {}

    std::size_t tile, told = 0, depth = 0;  // whose told sites and lines the next three hold
    std::vector<Near> near;
    std::vector<std::ptrdiff_t> line_of_row;
    std::vector<std::size_t> row_of_line, used;
    std::vector<double> spread;
    std::vector<T> narrow_spread;
    std::vector<double> lines;
    std::vector<T> narrow_lines;
    std::vector<double> block;
    std::vector<T> narrow_block;
  };

  static constexpr std::size_t tile_rows = 16, tile_cols = 64, cell = 8;
  static_assert(tile_cols <= AxisTables::overhang && tile_cols % column_padding == 0);

  // Told sites whose covariance with all of a tile is not above this are left out of sums with weights of 1e4 or so.
  static constexpr double negligible = 1e-18;

  // Rows of V that are nowhere above this in a tile: 4096 of them move a variance by 4e-13 (float32: 4e-9), under
  // what rounding leaves.
  static constexpr double unseen = LoopsOf<T>::wide ? 1e-8 : 1e-6;

  // Terms of a row of V that are left out; a thousand of them at this size move it by 1e-13 (float32: 1e-7).
  static constexpr double left_out = LoopsOf<T>::wide ? 1e-16 : 1e-10;

  static constexpr std::size_t parts(std::size_t length, std::size_t size) { return (length + size - 1) / size; }

  /// Least distance of two runs of candidates.
  static constexpr std::size_t gap(std::size_t a, std::size_t a_size, std::size_t b, std::size_t b_size) {
    return a + a_size <= b ? b - (a + a_size - 1) : b + b_size <= a ? a - (b + b_size - 1) : 0;
  }

  bool is_seen(std::size_t told, std::size_t tile) const noexcept {
    return static_cast<double>(bounds_[told * tiles_.size() + tile]) > unseen;
  }

  /// work(tile, scratch) for all tiles.
  template <class Work>
  void for_tiles(const Work& work) {
    const double gathered = static_cast<double>(tiles_.size() * told_row_.size() * tile_cols);
    for_pieces(tile_count_[0], gathered / 4e3, [&](std::size_t piece) {  // a line of 64 numbers takes 16 ns
      Scratch scratch(rows_, tiles_.size());
      for (std::size_t t = piece * tile_count_[1]; t < (piece + 1) * tile_count_[1]; ++t) work(t, scratch);
    });
  }

  template <class Current, class Work>
  void for_tiles_not(const Current& current, const Work& work) {
    std::size_t left = 0;
    for (std::size_t t = 0; t < tiles_.size(); ++t) left += current(t) ? 0 : 1;
    if (left == 0) return;
    for_tiles([&](std::size_t t, Scratch& scratch) {
      if (!current(t)) work(t, scratch);
    });
  }

  /// bound_[tile] = sum over cells of |u| times the covariance at the least distance of cell and tile.
  void bound_row(const double* u) {
    std::fill(cells_.begin(), cells_.end(), 0.0);
    for (std::size_t j = 0; j < told_row_.size(); ++j) {
      cells_[told_row_[j] / cell * cell_count_[1] + told_col_[j] / cell] += std::fabs(u[j]);
    }
    const auto multiply = surrogate_loops().multiply_f64;
    multiply(cell_count_[0], bound_stride_, cell_count_[1], cells_.data(), cell_count_[1], cell_to_tile_[1].data(),
             bound_stride_, along_.data(), bound_stride_, Store::set);
    multiply(tile_count_[0], bound_stride_, cell_count_[0], cell_to_tile_[0].data(), cell_count_[0], along_.data(),
             bound_stride_, bound_.data(), bound_stride_, Store::set);
  }

  /// The told sites that a tile sees, and a line for each lattice row that holds one.
  void find_near(std::size_t t, Scratch& s) const {
    if (s.tile == t && s.told == told_row_.size()) return;
    s.tile = t;
    s.told = told_row_.size();
    s.near.clear();
    s.depth = 0;
    const TileArea tile = area(t);
    const double *along_rows = tables_.from(0, 0), *along_cols = tables_.from(1, 0);
    for (std::size_t j = 0; j < told_row_.size(); ++j) {
      const std::size_t row_gap = gap(told_row_[j], 1, tile.row, tile.rows);
      const std::size_t col_gap = gap(told_col_[j], 1, tile.col, tile.cols);
      const double covariance = along_rows[row_gap] * along_cols[col_gap];
      if (!(covariance > negligible)) continue;
      std::ptrdiff_t& line = s.line_of_row[told_row_[j]];
      if (line < 0) {
        line = static_cast<std::ptrdiff_t>(s.depth);
        s.row_of_line[s.depth++] = told_row_[j];
      }
      s.near.push_back({j, static_cast<std::size_t>(line), covariance});
    }
    for (std::size_t line = 0; line < s.depth; ++line) s.line_of_row[s.row_of_line[line]] = -1;
  }

  /// product = weight^T K(X, tile) over the first `told` told values, terms of at most `least` left out: the told
  /// sites of each lattice row are gathered into one line, and the lines spread.
  template <class Number>
  void combine(std::size_t t, const double* weight, std::size_t told, double least, Scratch& s,
               std::vector<Number>& spread, std::vector<Number>& lines, std::vector<Number>& product) const {
    find_near(t, s);
    const auto axpy = surrogate_loops().axpy;
    const TileArea tile = area(t);
    std::size_t depth = 0;
    for (const Near& near : s.near) {
      if (near.told >= told) break;
      const double factor = weight[near.told];
      if (!(std::fabs(factor) * near.covariance > least)) continue;
      std::ptrdiff_t& line = s.line_of_row[near.line];
      if (line < 0) {
        line = static_cast<std::ptrdiff_t>(depth);
        s.used[depth] = near.line;
        std::fill_n(s.lines.data() + depth++ * tile_cols, tile_cols, 0.0);
      }
      axpy(tile_cols, factor, tables_.from(1, told_col_[near.told]) + tile.col,
           s.lines.data() + static_cast<std::size_t>(line) * tile_cols);
    }
    for (std::size_t line = 0; line < depth; ++line) {
      s.line_of_row[s.used[line]] = -1;
      const double* along = tables_.from(0, s.row_of_line[s.used[line]]) + tile.row;
      for (std::size_t r = 0; r < tile_rows; ++r) spread[r * rows_ + line] = static_cast<Number>(along[r]);
    }
    if constexpr (!std::is_same_v<Number, double>) {
      std::transform(s.lines.begin(), s.lines.begin() + static_cast<std::ptrdiff_t>(depth * tile_cols), lines.begin(),
                     [](double value) { return static_cast<Number>(value); });
    }
    LoopsOf<Number>::multiply(tile_rows, tile_cols, depth, spread.data(), rows_, lines.data(), tile_cols,
                              product.data(), tile_cols);
  }

  void form_mean(std::size_t t, Scratch& scratch) {
    combine(t, alpha_.data(), alpha_.size(), 0.0, scratch, scratch.spread, scratch.lines, scratch.block);
    const TileArea at = area(t);
    Tile& tile = tiles_[t];
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (std::size_t r = 0; r < at.rows; ++r) {
      T* row = state_.mean.data() + (at.row + r) * cols_ + at.col;
      for (std::size_t c = 0; c < at.cols; ++c) {
        row[c] = static_cast<T>(constant_ + scratch.block[r * tile_cols + c]);
        low = std::min(low, static_cast<double>(row[c]));
        high = std::max(high, static_cast<double>(row[c]));
      }
    }
    tile.mean_low = low;
    tile.mean_high = high;
    tile.mean_told = told_row_.size();
    tile.settled_drift = tile.drift;
  }

  /// All rows of V that a tile sees and has not absorbed.
  void absorb_rows(std::size_t t, Scratch& scratch) {
    Tile& tile = tiles_[t];
    const bool current = deviation_is_current(t);
    for (std::size_t i = tile.variance_told; !current && i < told_row_.size(); ++i) {
      if (is_seen(i, t)) absorb_row(t, i, scratch);
    }
    tile.variance_told = told_row_.size();
    if (current) return;
    const TileArea at = area(t);
    T variance_high = 0, deviation_high = 0;
    for (std::size_t r = 0; r < at.rows; ++r) {
      const std::size_t first = (at.row + r) * cols_ + at.col;
      LoopsOf<T>::deviation(at.cols, amplitude_, state_.variance.data() + first, state_.deviation.data() + first);
      for (std::size_t j = first; j < first + at.cols; ++j) {
        variance_high = std::max(variance_high, state_.variance[j]);
        deviation_high = std::max(deviation_high, state_.deviation[j]);
      }
    }
    tile.variance_high = static_cast<double>(variance_high);
    tile.deviation_high = static_cast<double>(deviation_high);
  }

  /// variance -= v^2 for one row of V.
  void absorb_row(std::size_t t, std::size_t told, Scratch& scratch) {
    const double* u = inverse_.data() + told * (told + 1) / 2;
    const T* block = nullptr;
    if constexpr (LoopsOf<T>::wide) {
      combine(t, u, told + 1, left_out, scratch, scratch.spread, scratch.lines, scratch.block);
      block = scratch.block.data();
    } else {
      combine(t, u, told + 1, left_out, scratch, scratch.narrow_spread, scratch.narrow_lines, scratch.narrow_block);
      block = scratch.narrow_block.data();
    }
    const TileArea at = area(t);
    for (std::size_t r = 0; r < at.rows; ++r) {
      T* variance = state_.variance.data() + (at.row + r) * cols_ + at.col;
      for (std::size_t c = 0; c < at.cols; ++c) variance[c] -= block[r * tile_cols + c] * block[r * tile_cols + c];
    }
  }

  AxisTables tables_;
  std::size_t rows_, cols_;
  std::array<std::size_t, 2> tile_count_, cell_count_;
  std::size_t bound_stride_;
  MapState<T> state_;
  std::vector<Tile> tiles_, kept_tiles_;
  std::vector<double> inverse_;  // rows of L^-1, row i from i (i + 1) / 2 on
  std::vector<float> bounds_;    // (told, tiles): no row of V is above it in a tile
  std::vector<double> alpha_, kept_alpha_;
  std::vector<std::size_t> told_row_, told_col_;
  double constant_ = 0.0, amplitude_ = 1.0;
  std::uint64_t epoch_ = 0;

  std::vector<double> cells_;                        // sum of |u| by cell
  std::array<std::vector<double>, 2> cell_to_tile_;  // covariance at the least distance, (tiles, cells), (cells, tiles)
  std::vector<double> along_, bound_;

  Scratch scratch_;
};

}  // namespace probewise
