// SPDX-License-Identifier: BSD-3-Clause
#include "image/column_model.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "image/refine_table.hpp"

namespace probewise {

namespace {

std::size_t node_count(std::size_t length, double spacing) {
  return std::max<std::size_t>(2, static_cast<std::size_t>(std::lround(static_cast<double>(length - 1) / spacing)) + 1);
}

/// Node before each of `shares.size()` pixels, the first of them `margin` before the image, and the way to the next.
void lay_nodes(std::size_t length, std::size_t nodes, std::size_t margin, std::vector<std::size_t>& node,
               std::vector<float>& shares) {
  const double step = static_cast<double>(length - 1) / static_cast<double>(nodes - 1);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    const double inside =
        std::clamp(static_cast<double>(i) - static_cast<double>(margin), 0.0, static_cast<double>(length - 1)) / step;
    node[i] = std::min(static_cast<std::size_t>(inside), nodes - 2);
    shares[i] = static_cast<float>(inside - static_cast<double>(node[i]));
  }
}

/// g, g * d, g * d^2 of a Gaussian about `centre` at whole pixels from `first` on, `used` of them.
void tabulate(double centre, std::ptrdiff_t first, std::size_t used, double width, float* table, std::size_t pitch) {
  // exp(-(d + k)^2 / 2 w^2) by recurrence: two products a pixel instead of an exponential.
  const double d = static_cast<double>(first) - centre, inverse = 1 / (width * width);
  double value = std::exp(-0.5 * d * d * inverse), ratio = std::exp(-(d + 0.5) * inverse);
  const double change = std::exp(-inverse);
  for (std::size_t i = 0; i < used; ++i, value *= ratio, ratio *= change) {
    const double offset = d + static_cast<double>(i);
    table[i] = static_cast<float>(value);
    table[pitch + i] = static_cast<float>(value * offset);
    table[2 * pitch + i] = static_cast<float>(value * offset * offset);
  }
}

}  // namespace

ColumnModel::ColumnModel(std::ptrdiff_t rows, std::ptrdiff_t cols, std::span<const double> yx, std::ptrdiff_t half,
                         double node_spacing)
    : rows_(static_cast<std::size_t>(rows)),
      cols_(static_cast<std::size_t>(cols)),
      half_(static_cast<std::size_t>(half)),
      width_((2 * half_ + window_lanes) / window_lanes * window_lanes),
      stride_((cols_ + width_ + 14) / 16 * 16),
      pitch_(2 * half_ + 1),
      node_rows_(node_count(rows_, node_spacing)),
      node_cols_(node_count(cols_, node_spacing)),
      row_node_(rows_),
      col_node_(stride_),
      row_share_(rows_),
      col_share_(stride_),
      node_lines_(node_rows_ * stride_),
      support_(rows_ * stride_, 0.0f) {
  const std::size_t count = yx.size() / 2;
  down_.assign(count * 3 * pitch_, 0.0f);
  across_.assign(count * 3 * width_, 0.0f);
  slope_.resize(count);
  bend_.resize(count);
  lay_nodes(rows_, node_rows_, 0, row_node_, row_share_);
  lay_nodes(cols_, node_cols_, half_, col_node_, col_share_);
  for (std::size_t i = 0; i < count; ++i) {
    row_.push_back(std::clamp<std::ptrdiff_t>(std::lround(yx[2 * i]), 0, rows - 1));
    col_.push_back(std::clamp<std::ptrdiff_t>(std::lround(yx[2 * i + 1]), 0, cols - 1));
    const Window here = window(i);
    const std::ptrdiff_t left = std::max<std::ptrdiff_t>(0, col_[i] - half);
    const std::ptrdiff_t right = std::min<std::ptrdiff_t>(cols, col_[i] + half + 1);
    for (std::size_t row = here.first; row < here.first + here.count; ++row) {
      std::fill_n(support_.data() + row * stride_ + half_ + static_cast<std::size_t>(left),
                  static_cast<std::size_t>(right - left), 1.0f);
    }
  }
}

ColumnModel::Window ColumnModel::window(std::size_t atom) const {
  const auto half = static_cast<std::ptrdiff_t>(half_);
  const std::ptrdiff_t first = std::max<std::ptrdiff_t>(0, row_[atom] - half);
  const std::ptrdiff_t last = std::min(static_cast<std::ptrdiff_t>(rows_), row_[atom] + half + 1);
  return {static_cast<std::size_t>(first), static_cast<std::size_t>(last - first),
          static_cast<std::size_t>(first - (row_[atom] - half))};
}

void ColumnModel::place(std::span<const double> point, std::span<const std::uint8_t> moving) {
  const double width = point.back();
  const auto half = static_cast<std::ptrdiff_t>(half_);
  for (std::size_t i = 0; i < atoms(); ++i) {
    tabulate(point[3 * i + 1], row_[i] - half, pitch_, width, down_.data() + i * 3 * pitch_, pitch_);
    tabulate(point[3 * i + 2], col_[i] - half, pitch_, width, across_.data() + i * 3 * width_, width_);
    slope_[i] = moving[i] ? point[3 * i] / (width * width) : 0;
    bend_[i] = point[3 * i] / (width * width * width);
  }
}

void ColumnModel::forward(std::span<const double> step, std::span<float> field) {
  const RefineTable& table = refine_table();
  const double* node = step.data() + 3 * atoms();
  for (std::size_t r = 0; r < node_rows_; ++r, node += node_cols_) {
    float* line = node_lines_.data() + r * stride_;
    for (std::size_t col = 0; col < stride_; ++col) {
      const double left = node[col_node_[col]], right = node[col_node_[col] + 1];
      line[col] = static_cast<float>(left + (right - left) * static_cast<double>(col_share_[col]));
    }
  }
  for (std::size_t row = 0; row < rows_; ++row) {
    const float* line = node_lines_.data() + row_node_[row] * stride_;
    table.mix(line, 1 - row_share_[row], line + stride_, row_share_[row], stride_, field.data() + row * stride_);
  }
  std::vector<float> a(pitch_), bend(width_);
  for (std::size_t i = 0; i < atoms(); ++i) {
    const Window here = window(i);
    const float* down = down_.data() + i * 3 * pitch_;
    const float* across = across_.data() + i * 3 * width_;
    const auto amplitude = static_cast<float>(step[3 * i]), y = static_cast<float>(step[3 * i + 1] * slope_[i]);
    const auto x = static_cast<float>(step[3 * i + 2] * slope_[i]), wide = static_cast<float>(step.back() * bend_[i]);
    for (std::size_t r = 0; r < pitch_; ++r) {
      a[r] = amplitude * down[r] + y * down[pitch_ + r] + wide * down[2 * pitch_ + r];
    }
    for (std::size_t c = 0; c < width_; ++c) bend[c] = x * across[width_ + c] + wide * across[2 * width_ + c];
    table.spread(field.data() + here.first * stride_ + static_cast<std::size_t>(col_[i]), stride_, here.count, width_,
                 a.data() + here.skip, across, down + here.skip, bend.data());
  }
}

void ColumnModel::background_backward(std::span<const float> field, std::span<double> gradient) {
  const RefineTable& table = refine_table();
  std::fill(node_lines_.begin(), node_lines_.end(), 0.0f);
  for (std::size_t row = 0; row < rows_; ++row) {
    float* line = node_lines_.data() + row_node_[row] * stride_;
    table.share(field.data() + row * stride_, stride_, 1 - row_share_[row], row_share_[row], line, line + stride_);
  }
  double* node = gradient.data() + 3 * atoms();
  for (std::size_t r = 0; r < node_rows_; ++r, node += node_cols_) {
    const float* line = node_lines_.data() + r * stride_;
    for (std::size_t col = 0; col < stride_; ++col) {
      const double value = static_cast<double>(line[col]), right = value * static_cast<double>(col_share_[col]);
      node[col_node_[col]] += value - right;
      node[col_node_[col] + 1] += right;
    }
  }
}

void ColumnModel::backward(std::span<const float> field, std::span<double> gradient) {
  const RefineTable& table = refine_table();
  std::fill(gradient.begin(), gradient.end(), 0.0);
  background_backward(field, gradient);
  std::vector<float> sums(3 * width_);
  for (std::size_t i = 0; i < atoms(); ++i) {
    const Window here = window(i);
    table.collect(field.data() + here.first * stride_ + static_cast<std::size_t>(col_[i]), stride_, here.count, width_,
                  down_.data() + i * 3 * pitch_ + here.skip, pitch_, sums.data());
    std::array<float, 6> total{};
    table.project(sums.data(), across_.data() + i * 3 * width_, width_, total.data());
    gradient[3 * i] = static_cast<double>(total[0]);
    gradient[3 * i + 1] = static_cast<double>(total[1]) * slope_[i];
    gradient[3 * i + 2] = static_cast<double>(total[2]) * slope_[i];
    gradient.back() += static_cast<double>(total[3] + total[5]) * bend_[i];
  }
}

void ColumnModel::blocks(std::span<const float> weight, std::span<double> block) {
  const RefineTable& table = refine_table();
  std::vector<float> sums(3 * width_), squared(3 * pitch_), square(3 * width_);
  for (std::size_t i = 0; i < atoms(); ++i) {
    const Window here = window(i);
    const float* down = down_.data() + i * 3 * pitch_;
    const float* across = across_.data() + i * 3 * width_;
    for (std::size_t k = 0; k < 3; ++k) {
      for (std::size_t r = 0; r < pitch_; ++r) squared[k * pitch_ + r] = down[k * pitch_ + r] * down[r];
    }
    table.collect(weight.data() + here.first * stride_ + static_cast<std::size_t>(col_[i]), stride_, here.count, width_,
                  squared.data() + here.skip, pitch_, sums.data());
    for (std::size_t k = 0; k < 3; ++k) {
      for (std::size_t c = 0; c < width_; ++c) square[k * width_ + c] = across[k * width_ + c] * across[c];
    }
    std::array<float, 6> total{};
    table.project(sums.data(), square.data(), width_, total.data());
    const double s = slope_[i];
    const std::array<double, 6> factor{1, s, s, s * s, s * s, s * s};
    for (std::size_t k = 0; k < 6; ++k) block[6 * i + k] = static_cast<double>(total[k]) * factor[k];
  }
}

double ColumnModel::background(std::span<const double> point, double y, double x) const {
  const double* node = point.data() + 3 * atoms();
  const double v = std::clamp(y, 0.0, static_cast<double>(rows_ - 1)) * static_cast<double>(node_rows_ - 1) /
                   static_cast<double>(rows_ - 1);
  const double u = std::clamp(x, 0.0, static_cast<double>(cols_ - 1)) * static_cast<double>(node_cols_ - 1) /
                   static_cast<double>(cols_ - 1);
  const std::size_t row = std::min(static_cast<std::size_t>(v), node_rows_ - 2);
  const std::size_t col = std::min(static_cast<std::size_t>(u), node_cols_ - 2);
  const double low = v - static_cast<double>(row), far = u - static_cast<double>(col);
  const double* corner = node + row * node_cols_ + col;
  return (1 - low) * ((1 - far) * corner[0] + far * corner[1]) +
         low * ((1 - far) * corner[node_cols_] + far * corner[node_cols_ + 1]);
}

}  // namespace probewise
