// SPDX-License-Identifier: BSD-3-Clause
#include "image/refine_table.hpp"

namespace probewise::PROBEWISE_LEVEL {

namespace {

constexpr size_t lanes = window_lanes;

void spread(float* out, size_t stride, size_t rows, size_t cols, const float* a, const float* across, const float* b,
            const float* bend) {
  for (size_t start = 0; start < cols; start += lanes) {
    float first[lanes], second[lanes];
    for (size_t lane = 0; lane < lanes; ++lane) {
      first[lane] = across[start + lane];
      second[lane] = bend[start + lane];
    }
    float* line = out + start;
    for (size_t row = 0; row < rows; ++row, line += stride) {
      for (size_t lane = 0; lane < lanes; ++lane) line[lane] += a[row] * first[lane] + b[row] * second[lane];
    }
  }
}

void collect(const float* image, size_t stride, size_t rows, size_t cols, const float* down, size_t pitch,
             float* sums) {
  for (size_t start = 0; start < cols; start += lanes) {
    float zeroth[lanes] = {}, first[lanes] = {}, second[lanes] = {};
    const float* line = image + start;
    for (size_t row = 0; row < rows; ++row, line += stride) {
      for (size_t lane = 0; lane < lanes; ++lane) {
        zeroth[lane] += down[row] * line[lane];
        first[lane] += down[pitch + row] * line[lane];
        second[lane] += down[2 * pitch + row] * line[lane];
      }
    }
    for (size_t lane = 0; lane < lanes; ++lane) {
      sums[start + lane] = zeroth[lane];
      sums[cols + start + lane] = first[lane];
      sums[2 * cols + start + lane] = second[lane];
    }
  }
}

void mix(const float* a, float u, const float* b, float v, size_t cols, float* out) {
  for (size_t col = 0; col < cols; ++col) out[col] = u * a[col] + v * b[col];
}

void share(const float* values, size_t cols, float u, float v, float* upper, float* lower) {
  for (size_t col = 0; col < cols; ++col) {
    upper[col] += u * values[col];
    lower[col] += v * values[col];
  }
}

void weigh(const float* data, const float* support, size_t cols, float constant, float slope, float least,
           float* model, float* weight) {
  for (size_t col = 0; col < cols; ++col) {
    const float variance = constant + slope * model[col];
    weight[col] = support[col] / (variance > least ? variance : least);
    model[col] = weight[col] * (data[col] - model[col]);
  }
}

float scale(float* values, const float* weight, size_t cols) {
  float sum[lanes] = {};
  size_t col = 0;
  for (; col + lanes <= cols; col += lanes) {
    for (size_t lane = 0; lane < lanes; ++lane) {
      const float value = values[col + lane], product = value * weight[col + lane];
      sum[lane] += value * product;
      values[col + lane] = product;
    }
  }
  for (; col < cols; ++col) {
    const float product = values[col] * weight[col];
    sum[0] += values[col] * product;
    values[col] = product;
  }
  float total = 0;
  for (size_t lane = 0; lane < lanes; ++lane) total += sum[lane];
  return total;
}

}  // namespace

const RefineTable& refine_table() noexcept {
  static constexpr RefineTable table{&spread, &collect, &mix, &share, &weigh, &scale};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
