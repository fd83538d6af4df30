// SPDX-License-Identifier: BSD-3-Clause
#include "image/refine_table.hpp"

namespace probewise::PROBEWISE_LEVEL {

namespace {

void spread(float* __restrict out, size_t stride, size_t rows, size_t cols, const float* __restrict a,
            const float* __restrict across, const float* __restrict b, const float* __restrict bend) {
  for (size_t row = 0; row < rows; ++row) {
    float* __restrict line = out + row * stride;
    for (size_t col = 0; col < cols; ++col) line[col] += a[row] * across[col] + b[row] * bend[col];
  }
}

void collect(const float* __restrict image, size_t stride, size_t rows, size_t cols, const float* __restrict down,
             size_t pitch, float* __restrict sums) {
  const float* __restrict first = down + pitch;
  const float* __restrict second = down + 2 * pitch;
  float* __restrict sum0 = sums;
  float* __restrict sum1 = sums + cols;
  float* __restrict sum2 = sums + 2 * cols;
  for (size_t col = 0; col < 3 * cols; ++col) sums[col] = 0;
  size_t row = 0;
  for (; row + 4 <= rows; row += 4) {  // four rows to one update of the sums, which live in memory
    const float* __restrict l0 = image + row * stride;
    const float* __restrict l1 = l0 + stride;
    const float* __restrict l2 = l1 + stride;
    const float* __restrict l3 = l2 + stride;
    for (size_t col = 0; col < cols; ++col) {
      const float p = l0[col], q = l1[col], r = l2[col], s = l3[col];
      sum0[col] += (down[row] * p + down[row + 1] * q) + (down[row + 2] * r + down[row + 3] * s);
      sum1[col] += (first[row] * p + first[row + 1] * q) + (first[row + 2] * r + first[row + 3] * s);
      sum2[col] += (second[row] * p + second[row + 1] * q) + (second[row + 2] * r + second[row + 3] * s);
    }
  }
  for (; row < rows; ++row) {
    const float* __restrict line = image + row * stride;
    for (size_t col = 0; col < cols; ++col) {
      sum0[col] += down[row] * line[col];
      sum1[col] += first[row] * line[col];
      sum2[col] += second[row] * line[col];
    }
  }
}

float product(const float* __restrict a, const float* __restrict b, size_t cols) {
  float sum[window_lanes] = {};
  for (size_t col = 0; col < cols; col += window_lanes) {
    for (size_t lane = 0; lane < window_lanes; ++lane) sum[lane] += a[col + lane] * b[col + lane];
  }
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

void project(const float* sums, const float* across, size_t cols, float* total) {
  total[0] = product(sums, across, cols);
  total[1] = product(sums + cols, across, cols);
  total[2] = product(sums, across + cols, cols);
  total[3] = product(sums + 2 * cols, across, cols);
  total[4] = product(sums + cols, across + cols, cols);
  total[5] = product(sums, across + 2 * cols, cols);
}

void mix(const float* __restrict a, float u, const float* __restrict b, float v, size_t cols, float* __restrict out) {
  for (size_t col = 0; col < cols; ++col) out[col] = u * a[col] + v * b[col];
}

void share(const float* __restrict values, size_t cols, float u, float v, float* __restrict upper,
           float* __restrict lower) {
  for (size_t col = 0; col < cols; ++col) {
    upper[col] += u * values[col];
    lower[col] += v * values[col];
  }
}

void weigh(const float* __restrict data, const float* __restrict support, size_t cols, float constant, float slope,
           float least, float* __restrict model, float* __restrict weight) {
  for (size_t col = 0; col < cols; ++col) {
    const float variance = constant + slope * model[col];
    weight[col] = support[col] / (variance > least ? variance : least);
    model[col] = weight[col] * (data[col] - model[col]);
  }
}

void scale(float* __restrict values, const float* __restrict weight, size_t cols) {
  for (size_t col = 0; col < cols; ++col) values[col] *= weight[col];
}

float energy(const float* __restrict values, const float* __restrict weight, size_t cols) {
  float sum[window_lanes] = {};
  for (size_t col = 0; col < cols; col += window_lanes) {
    for (size_t lane = 0; lane < window_lanes; ++lane) {
      sum[lane] += values[col + lane] * values[col + lane] * weight[col + lane];
    }
  }
  return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

}  // namespace

const RefineTable& refine_table() noexcept {
  static constexpr RefineTable table{&spread, &collect, &project, &mix, &share, &weigh, &scale, &energy};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
