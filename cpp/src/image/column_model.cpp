// SPDX-License-Identifier: BSD-3-Clause
#include "image/column_model.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace probewise {

namespace {

std::size_t rounded_up(std::size_t count, std::size_t multiple) { return (count + multiple - 1) / multiple * multiple; }

std::size_t node_count(std::size_t length, double spacing) {
  return std::max<std::size_t>(2, static_cast<std::size_t>(std::lround(static_cast<double>(length - 1) / spacing)) + 1);
}

/// Way of each of `shares.size()` pixels, the first of them `margin` before the image, from the node before it to the
/// next; begin[k] is the first pixel behind node k.
void lay_nodes(std::size_t length, std::size_t margin, std::vector<std::size_t>& begin, std::vector<float>& shares) {
  const std::size_t nodes = begin.size();
  const double step = static_cast<double>(length - 1) / static_cast<double>(nodes - 1);
  std::fill(begin.begin() + 1, begin.end(), shares.size());
  for (std::size_t i = shares.size(); i-- > 0;) {
    const double inside =
        std::clamp(static_cast<double>(i) - static_cast<double>(margin), 0.0, static_cast<double>(length - 1)) / step;
    const std::size_t node = std::min(static_cast<std::size_t>(inside), nodes - 2);
    shares[i] = static_cast<float>(inside - static_cast<double>(node));
    begin[node] = i;
  }
  for (std::size_t k = nodes - 1; k-- > 0;) begin[k] = std::min(begin[k], begin[k + 1]);  // of a node without pixels
}

}  // namespace

ColumnModel::ColumnModel(std::ptrdiff_t rows, std::ptrdiff_t cols, std::span<const double> yx, std::ptrdiff_t half,
                         double node_spacing, Tables& tables)
    : rows_(static_cast<std::size_t>(rows)),
      cols_(static_cast<std::size_t>(cols)),
      half_(static_cast<std::size_t>(half)),
      width_(rounded_up(2 * half_ + 1, window_lanes)),
      stride_(rounded_up(cols_ + width_ - 1, stride_lanes)),
      node_rows_(node_count(rows_, node_spacing)),
      node_cols_(node_count(cols_, node_spacing)),
      tables_(tables),
      row_begin_(node_rows_),
      col_begin_(node_cols_),
      row_share_(rows_),
      col_share_(stride_),
      node_lines_(node_rows_ * stride_) {
  const std::size_t count = yx.size() / 2;
  tables_.down.resize(count * 3 * width_ + window_lanes);
  tables_.across.resize(count * 3 * width_);
  for (std::vector<float>* each : {&offset_, &slope_, &bend_}) each->resize(count);
  for (std::vector<std::ptrdiff_t>* each : {&row_, &col_}) each->reserve(count);
  for (std::vector<std::uint16_t>* each : {&window_rows_, &skip_, &lead_}) each->reserve(count);
  // A window begins at a multiple of what fits beside its columns: its rows then lie across fewer lines of the cache.
  const std::size_t grid = std::bit_floor(width_ - 2 * half_);
  start_.reserve(count);
  lay_nodes(rows_, 0, row_begin_, row_share_);
  lay_nodes(cols_, half_, col_begin_, col_share_);
  for (std::size_t i = 0; i < count; ++i) {
    const std::ptrdiff_t row = std::clamp<std::ptrdiff_t>(std::lround(yx[2 * i]), 0, rows - 1);
    const std::ptrdiff_t col = std::clamp<std::ptrdiff_t>(std::lround(yx[2 * i + 1]), 0, cols - 1);
    const std::ptrdiff_t first = std::max<std::ptrdiff_t>(0, row - half), last = std::min(rows, row + half + 1);
    row_.push_back(row);
    col_.push_back(col);
    lead_.push_back(static_cast<std::uint16_t>(static_cast<std::size_t>(col) % grid));
    start_.push_back(static_cast<std::uint32_t>(static_cast<std::size_t>(first) * stride_ +
                                                static_cast<std::size_t>(col) - lead_.back()));
    window_rows_.push_back(static_cast<std::uint16_t>(last - first));
    skip_.push_back(static_cast<std::uint16_t>(first - (row - half)));
  }
}

void ColumnModel::lay_out(Image2d<const float> image, Field& field) const {
  field.assign(rows_ * stride_, std::numeric_limits<float>::quiet_NaN());
  const auto half = static_cast<std::ptrdiff_t>(half_);
  for (std::size_t i = 0; i < atoms(); ++i) {
    const std::ptrdiff_t left = std::max<std::ptrdiff_t>(0, col_[i] - half);
    const std::ptrdiff_t right = std::min<std::ptrdiff_t>(image.cols, col_[i] + half + 1);
    const std::ptrdiff_t first = std::max<std::ptrdiff_t>(0, row_[i] - half);
    for (std::ptrdiff_t row = first; row < first + window_rows_[i]; ++row) {
      std::copy(&image(row, left), &image(row, left) + (right - left),
                field.data() + static_cast<std::size_t>(row) * stride_ + half_ + static_cast<std::size_t>(left));
    }
  }
}

ColumnWindows ColumnModel::windows() const {
  return {atoms(),
          stride_,
          width_,
          start_.data(),
          window_rows_.data(),
          skip_.data(),
          tables_.down.data(),
          tables_.across.data(),
          slope_.data(),
          bend_.data()};
}

void ColumnModel::place(std::span<const double> point, std::span<const std::uint8_t> moving) {
  const std::size_t n = atoms(), used = 2 * half_ + 1;
  const double width = point.back(), half = static_cast<double>(half_);
  const auto factor = static_cast<float>(0.5 / (width * width));
  for (std::size_t i = 0; i < n; ++i) {
    slope_[i] = moving[i] ? static_cast<float>(point[i] / (width * width)) : 0.0f;
    bend_[i] = static_cast<float>(point[i] / (width * width * width));
  }
  for (std::size_t i = 0; i < n; ++i) {
    offset_[i] = static_cast<float>(static_cast<double>(row_[i]) - half - point[n + i]);
  }
  refine_table().tabulate(offset_.data(), nullptr, n, used, width_, factor, tables_.down.data());
  for (std::size_t i = 0; i < n; ++i) {
    offset_[i] = static_cast<float>(static_cast<double>(col_[i] - lead_[i]) - half - point[2 * n + i]);
  }
  refine_table().tabulate(offset_.data(), lead_.data(), n, used, width_, factor, tables_.across.data());
}

void ColumnModel::forward(std::span<const float> step, std::span<float> field) {
  const RefineTable& table = refine_table();
  const float* node = step.data() + 3 * atoms();
  for (std::size_t r = 0; r < node_rows_; ++r, node += node_cols_) {
    float* line = node_lines_.data() + r * stride_;
    for (std::size_t k = 0; k + 1 < node_cols_; ++k) {
      const float left = node[k], more = node[k + 1] - node[k];
      for (std::size_t col = col_begin_[k]; col < col_begin_[k + 1]; ++col) line[col] = left + more * col_share_[col];
    }
  }
  for (std::size_t r = 0; r + 1 < node_rows_; ++r) {
    const float* line = node_lines_.data() + r * stride_;
    const std::size_t begin = row_begin_[r];
    table.mix(line, line + stride_, row_share_.data() + begin, row_begin_[r + 1] - begin, stride_,
              field.data() + begin * stride_);
  }
  table.spread(windows(), step.data(), step.back(), field.data());
}

void ColumnModel::background_backward(std::span<float> field, const float* weight, std::span<float> gradient) {
  const RefineTable& table = refine_table();
  std::fill(node_lines_.begin(), node_lines_.end(), 0.0f);
  for (std::size_t r = 0; r + 1 < node_rows_; ++r) {
    float* line = node_lines_.data() + r * stride_;
    const std::size_t begin = row_begin_[r], place = begin * stride_;
    table.share(field.data() + place, weight == nullptr ? nullptr : weight + place, row_share_.data() + begin,
                row_begin_[r + 1] - begin, stride_, line, line + stride_);
  }
  float* node = gradient.data() + 3 * atoms();
  for (std::size_t r = 0; r < node_rows_; ++r, node += node_cols_) {
    const float* line = node_lines_.data() + r * stride_;
    double carried = 0;  // what the interval before gave to its right end
    for (std::size_t k = 0; k + 1 < node_cols_; ++k) {
      double all = 0, right = 0;
      for (std::size_t col = col_begin_[k]; col < col_begin_[k + 1]; ++col) {
        all += static_cast<double>(line[col]);
        right += static_cast<double>(line[col] * col_share_[col]);
      }
      node[k] = static_cast<float>(carried + (all - right));
      carried = right;
    }
    node[node_cols_ - 1] = static_cast<float>(carried);
  }
}

void ColumnModel::backward(std::span<float> field, const float* weight, std::span<float> gradient) {
  background_backward(field, weight, gradient);
  gradient.back() = static_cast<float>(refine_table().collect(windows(), field.data(), gradient.data()));
}

void ColumnModel::blocks(std::span<const float> weight, std::span<double> block) const {
  refine_table().blocks(windows(), weight.data(), block.data());
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
