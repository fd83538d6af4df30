// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <vector>

#include "cuda/launch.hpp"
#include "cuda/maps.hpp"
#include "surrogate/kernel_body.hpp"

// On a lattice a separable kernel is k(r - r') k(c - c'): w^T K(X, G) = A (W B), where W B gathers the told candidates
// of each lattice row into one line and A spreads the lines. V is never stored.
namespace probewise::cuda {

namespace {

constexpr int micro = 4;                 // candidates of a thread along either axis
constexpr int tile = micro * tile_side;  // of a block
constexpr int depth_step = tile_side;    // lines in shared memory at once

/// What the host sends for one product: told columns and weights sorted by line, where each line starts, its row.
struct Lines {
  const double* weight;
  const int *col, *start, *row;
  int count;
};

/// What becomes of the product.
struct Absorb {
  int row, col;
  double scale, z, amplitude;  // scale 0: mean = z + product
};

/// line[k][c] = sum over its told candidates of weight * kernel(c - col)
template <class T>
PROBEWISE_KERNEL gather_lines(Lines lines, const double* along_cols, int cols, T* line) {
  const auto c = static_cast<int>(thread_number());
  if (c >= cols) return;
  double sum = 0;
  for (int i = lines.start[blockIdx.y]; i < lines.start[blockIdx.y + 1]; ++i) {
    sum += lines.weight[i] * along_cols[cols - 1 - lines.col[i] + c];
  }
  line[static_cast<std::size_t>(blockIdx.y) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(c)] =
      static_cast<T>(sum);
}

/// One block for tile x tile candidates: the product in registers, then absorbed.
template <class T>
PROBEWISE_KERNEL spread_lines(Lines lines, const T* line, const T* along_rows, const T* along_cols, int rows, int cols,
                              Absorb how, T* mean, T* variance, T* deviation) {
  PROBEWISE_SHARED T spread[depth_step][tile];
  PROBEWISE_SHARED T part[depth_step][tile];
  const int thread = static_cast<int>(threadIdx.x);
  const int down = thread / tile_side, across = thread % tile_side;
  const int row0 = static_cast<int>(blockIdx.y) * tile, col0 = static_cast<int>(blockIdx.x) * tile;
  T sum[micro][micro] = {};
  for (int first = 0; first < lines.count; first += depth_step) {
    for (int i = thread; i < depth_step * tile; i += tile_side * tile_side) {
      const int k = first + i / tile, row = row0 + i % tile, col = col0 + i % tile;
      const bool there = k < lines.count;
      spread[i / tile][i % tile] = there && row < rows ? along_rows[rows - 1 + row - lines.row[k]] : T{0};
      part[i / tile][i % tile] =
          there && col < cols
              ? line[static_cast<std::size_t>(k) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(col)]
              : T{0};
    }
    __syncthreads();
    for (int k = 0; k < depth_step; ++k) {
      T left[micro], right[micro];
      for (int i = 0; i < micro; ++i) {
        left[i] = spread[k][down + i * tile_side];
        right[i] = part[k][across + i * tile_side];
      }
      for (int i = 0; i < micro; ++i) {
        for (int j = 0; j < micro; ++j) sum[i][j] += left[i] * right[j];
      }
    }
    __syncthreads();
  }
  for (int i = 0; i < micro; ++i) {
    const int row = row0 + down + i * tile_side;
    for (int j = 0; j < micro; ++j) {
      const int col = col0 + across + j * tile_side;
      if (row >= rows || col >= cols) continue;
      const std::size_t at =
          static_cast<std::size_t>(row) * static_cast<std::size_t>(cols) + static_cast<std::size_t>(col);
      if (how.scale == 0) {
        mean[at] = static_cast<T>(how.z) + sum[i][j];
        continue;
      }
      const T prior = along_rows[rows - 1 + row - how.row] * along_cols[cols - 1 + col - how.col];
      const T value = (prior - sum[i][j]) * static_cast<T>(how.scale);
      const T left_over = variance[at] - value * value;
      variance[at] = left_over;
      mean[at] += static_cast<T>(how.z) * value;
      deviation[at] = static_cast<T>(how.amplitude) * sqrt(left_over > T{0} ? left_over : T{0});
    }
  }
}

template <class T>
class SeparableMaps final : public PosteriorMaps<T> {
 public:
  SeparableMaps(const Candidates& candidates, Kernel kernel)
      : PosteriorMaps<T>(candidates.size()),
        candidates_(candidates),
        kernel_(static_cast<int>(kernel)),
        rows_(candidates.rows()),
        cols_(candidates.cols()),
        exact_(2 * cols_ - 1),
        table_(2 * (rows_ + cols_) - 2),
        line_(rows_ * cols_) {}

  void restart(std::span<const double> lengthscale, double constant, double amplitude, Stream stream) override {
    std::vector<T> table;
    for (const std::size_t axis : {std::size_t{0}, std::size_t{1}}) {
      const std::size_t length = axis == 0 ? rows_ : cols_;
      std::vector<double> exact(2 * length - 1);
      for (std::size_t i = 0; i < exact.size(); ++i) {
        const double steps = static_cast<double>(i) - static_cast<double>(length - 1);
        const double apart = steps * candidates_.spacing(axis) / lengthscale[axis];
        exact[i] = kernel_body::covariance(kernel_, 1.0, kernel_body::along_axis(kernel_, apart));
      }
      std::transform(exact.begin(), exact.end(), std::back_inserter(table), [](double v) { return static_cast<T>(v); });
      if (axis == 1) to_device(exact_.data(), exact.data(), exact.size() * sizeof(double), stream);
    }
    to_device(table_.data(), table.data(), table.size() * sizeof(T), stream);
    PosteriorMaps<T>::restart(lengthscale, constant, amplitude, stream);
  }

  bool wants_backward_solve() const noexcept override { return true; }

  void append(std::span<const std::int64_t> told, std::span<const double> weight, const NewRow& row,
              Stream stream) override {
    const auto index = static_cast<std::size_t>(row.index);
    product(
        told, weight,
        {static_cast<int>(index / cols_), static_cast<int>(index % cols_), 1.0 / row.diagonal, row.z, row.amplitude},
        stream);
  }

  void set_mean(std::span<const std::int64_t> told, std::span<const double> weight, double constant,
                Stream stream) override {
    product(told, weight, {0, 0, 0.0, constant, 0.0}, stream);
  }

 private:
  void product(std::span<const std::int64_t> told, std::span<const double> weight, const Absorb& how, Stream stream) {
    const Lines lines = send(told, weight, stream);
    const int rows = static_cast<int>(rows_), cols = static_cast<int>(cols_);
    if (lines.count > 0) {
      dim3 grid = blocks_for(cols_);
      grid.y = static_cast<unsigned>(lines.count);
      launch("gather_lines", gather_lines<T>, grid, block_threads, stream, lines, exact_.data(), cols, line_.data());
    }
    dim3 tiles = blocks_for(cols_, tile);
    tiles.y = blocks_for(rows_, tile).x;
    launch("spread_lines", spread_lines<T>, tiles, tile_side * tile_side, stream, lines, line_.data(), table_.data(),
           table_.data() + 2 * rows_ - 1, rows, cols, how, this->mean_.data(), this->variance_.data(),
           this->deviation_.data());
  }

  /// Told candidates sorted by row, in one copy to the device.
  Lines send(std::span<const std::int64_t> told, std::span<const double> weight, Stream stream) {
    const std::size_t n = told.size();
    start_.assign(rows_ + 1, 0);
    for (const std::int64_t index : told) ++start_[static_cast<std::size_t>(index) / cols_ + 1];
    for (std::size_t row = 0; row < rows_; ++row) start_[row + 1] += start_[row];
    std::size_t count = 0;
    for (std::size_t row = 0; row < rows_; ++row) count += start_[row + 1] > start_[row] ? 1 : 0;
    packed_.resize(n * sizeof(double) + (n + 2 * count + 1) * sizeof(int));
    sent_.reserve(packed_.size());
    auto* const sorted = reinterpret_cast<double*>(packed_.data());
    int* const col = reinterpret_cast<int*>(sorted + n);
    int* const start = col + n;
    int* const row_of_line = start + count + 1;
    std::size_t line = 0;
    for (std::size_t row = 0; row < rows_; ++row) {
      if (start_[row + 1] == start_[row]) continue;
      start[line] = static_cast<int>(start_[row]);
      row_of_line[line++] = static_cast<int>(row);
    }
    start[count] = static_cast<int>(n);
    for (std::size_t i = 0; i < n; ++i) {
      const auto index = static_cast<std::size_t>(told[i]);
      const std::size_t place = start_[index / cols_]++;
      sorted[place] = weight[i];
      col[place] = static_cast<int>(index % cols_);
    }
    if (packed_.empty()) return {nullptr, nullptr, nullptr, nullptr, 0};
    to_device(sent_.data(), packed_.data(), packed_.size(), stream);
    auto* const weights = reinterpret_cast<const double*>(sent_.data());
    const int* const cols = reinterpret_cast<const int*>(weights + n);
    return {weights, cols, cols + n, cols + n + count + 1, static_cast<int>(count)};
  }

  Candidates candidates_;
  int kernel_;
  std::size_t rows_, cols_;
  Buffer<double> exact_;  // kernel along the columns at offsets -(cols - 1) .. cols - 1
  Buffer<T> table_;       // along the rows, then along the columns
  Buffer<T> line_;
  Buffer<std::byte> sent_;
  std::vector<std::byte> packed_;
  std::vector<std::size_t> start_;
};

}  // namespace

template <class T>
std::unique_ptr<PosteriorMaps<T>> separable_maps(const Candidates& candidates, Kernel kernel) {
  return std::make_unique<SeparableMaps<T>>(candidates, kernel);
}

template std::unique_ptr<PosteriorMaps<double>> separable_maps(const Candidates&, Kernel);
template std::unique_ptr<PosteriorMaps<float>> separable_maps(const Candidates&, Kernel);

}  // namespace probewise::cuda
