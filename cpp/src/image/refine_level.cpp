// SPDX-License-Identifier: BSD-3-Clause
#include "image/refine_table.hpp"
#include "probewise/portable.hpp"
#include "simd/lanes.hpp"

namespace probewise::PROBEWISE_LEVEL {

namespace {

typedef float Four __attribute__((vector_size(16)));

// Two Fours or up to three Eights hold the columns of a window: what is loaded for a row is used for all of them.
#if defined(__AVX__)
typedef float Eight __attribute__((vector_size(32)));
typedef Eight Lanes;
constexpr size_t most_vectors = 3;
#else
typedef Four Lanes;
constexpr size_t most_vectors = 2;
#endif
constexpr size_t lane_count = sizeof(Lanes) / sizeof(float);

template <size_t COUNT>
struct Vectors {
  Lanes lanes[COUNT] = {};
};

/// Calls part(first column, Vectors of the columns from there) until all columns of a window have been met.
template <class Part>
PROBEWISE_HD void by_columns(size_t width, Part part) {
  size_t col = 0;
  for (; col + most_vectors * lane_count <= width; col += most_vectors * lane_count) part(col, Vectors<most_vectors>{});
#if defined(__AVX__)
  if (width - col > lane_count) {
    part(col, Vectors<2>{});
  } else if (width > col) {
    part(col, Vectors<1>{});
  }
#endif
}

PROBEWISE_HD Four folded(Four lanes) { return lanes; }

#if defined(__AVX__)
PROBEWISE_HD Four folded(Eight lanes) {
  Four parts[2];
  __builtin_memcpy(parts, &lanes, sizeof lanes);
  return parts[0] + parts[1];
}
#endif

/// {sum of a, sum of b, sum of c, sum of d}
PROBEWISE_HD Four sums(Four a, Four b, Four c, Four d) {
  typedef int Order __attribute__((vector_size(16)));
  constexpr Order even{0, 4, 1, 5}, odd{2, 6, 3, 7}, low{0, 1, 4, 5}, high{2, 3, 6, 7};
  const Four ab = __builtin_shuffle(a, b, even) + __builtin_shuffle(a, b, odd);
  const Four cd = __builtin_shuffle(c, d, even) + __builtin_shuffle(c, d, odd);
  return __builtin_shuffle(ab, cd, low) + __builtin_shuffle(ab, cd, high);
}

/// exp(x) for -80 <= x <= 0 to 2e-7: x = n log 2 + r (Cody and Waite), exp(r) by its Taylor series to r^7, 2^n through
/// the exponent bits, read off the mantissa of x log2(e) + 1.5 * 2^23.
PROBEWISE_HD float exponential(float x) {
  const float bounded = x < -80.0f ? -80.0f : x;
  const float shifted = bounded * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (bounded - n * 0.693359375f) + n * 2.12194440e-4f;
  float sum = 1.0f / 5040;
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  return sum * __builtin_bit_cast(float, (__builtin_bit_cast(uint32_t, shifted) + 127u) << 23);
}

void tabulate(const float* offset, const uint16_t* lead, size_t atoms, size_t used, size_t count, float factor,
              float* table) {
  for (size_t i = 0; i < atoms; ++i, table += 3 * count) {
    const float first = offset[i];
    const size_t before = lead == nullptr ? 0 : lead[i], end = before + used;
    for (size_t start = 0; start < count; start += window_lanes) {
      for (size_t k = 0; k < window_lanes; ++k) {
        const float d = first + static_cast<float>(static_cast<int32_t>(start + k));
        const float g = start + k >= before && start + k < end ? exponential(-factor * d * d) : 0.0f;
        table[start + k] = g;
        table[count + start + k] = g * d;
        table[2 * count + start + k] = g * d * d;
      }
    }
  }
}

void spread(const ColumnWindows& windows, const float* step, float wide, float* field) {
  const size_t n = windows.atoms, width = windows.width, stride = windows.stride;
  for (size_t i = 0; i < n; ++i) {
    const float amplitude = step[i], y = step[n + i] * windows.slope[i];
    const float x = step[2 * n + i] * windows.slope[i], bend = wide * windows.bend[i];
    const float* down = windows.down + 3 * i * width + windows.skip[i];
    const float* across = windows.across + 3 * i * width;
    float* window = field + windows.start[i];
    for (size_t start = 0; start < windows.rows[i]; start += window_lanes) {
      const size_t rows = windows.rows[i] - start < window_lanes ? windows.rows[i] - start : window_lanes;
      float height[window_lanes];
      for (size_t k = 0; k < window_lanes; k += lane_count) {
        const float* place = down + start + k;
        store(height + k,
              amplitude * load<Lanes>(place) + y * load<Lanes>(place + width) + bend * load<Lanes>(place + 2 * width));
      }
      by_columns(width, [=](size_t col, auto g) __attribute__((always_inline)) {
        constexpr size_t count = sizeof g / sizeof(Lanes);
        auto turned = g;
#pragma GCC unroll 3
        for (size_t k = 0; k < count; ++k) {
          const float* place = across + col + k * lane_count;
          g.lanes[k] = load<Lanes>(place);
          turned.lanes[k] = x * load<Lanes>(place + width) + bend * load<Lanes>(place + 2 * width);
        }
        float* line = window + start * stride + col;
        for (size_t row = 0; row < rows; ++row, line += stride) {
#pragma GCC unroll 3
          for (size_t k = 0; k < count; ++k) {
            float* place = line + k * lane_count;
            store(place, load<Lanes>(place) + height[row] * g.lanes[k] + down[start + row] * turned.lanes[k]);
          }
        }
      });
    }
  }
}

double collect(const ColumnWindows& windows, const float* field, float* gradient) {
  const size_t n = windows.atoms, width = windows.width, stride = windows.stride;
  double wide = 0;
  for (size_t i = 0; i < n; ++i) {
    const float* down = windows.down + 3 * i * width + windows.skip[i];
    const float* across = windows.across + 3 * i * width;
    const float* window = field + windows.start[i];
    const size_t rows = windows.rows[i];
    Four total{};
    by_columns(width, [=, &total](size_t col, auto sum0) __attribute__((always_inline)) {
      constexpr size_t count = sizeof sum0 / sizeof(Lanes);
      auto sum1 = sum0, sum2 = sum0;
      const float* line = window + col;
      for (size_t row = 0; row < rows; ++row, line += stride) {
#pragma GCC unroll 3
        for (size_t k = 0; k < count; ++k) {
          const Lanes pixels = load<Lanes>(line + k * lane_count);
          sum0.lanes[k] += down[row] * pixels;
          sum1.lanes[k] += down[width + row] * pixels;
          sum2.lanes[k] += down[2 * width + row] * pixels;
        }
      }
      Lanes part[4] = {};
#pragma GCC unroll 3
      for (size_t k = 0; k < count; ++k) {
        const float* place = across + col + k * lane_count;
        const Lanes g = load<Lanes>(place);
        part[0] += sum0.lanes[k] * g;
        part[1] += sum1.lanes[k] * g;
        part[2] += sum0.lanes[k] * load<Lanes>(place + width);
        part[3] += sum2.lanes[k] * g + sum0.lanes[k] * load<Lanes>(place + 2 * width);
      }
      total += sums(folded(part[0]), folded(part[1]), folded(part[2]), folded(part[3]));
    });
    gradient[i] = total[0];
    gradient[n + i] = total[1] * windows.slope[i];
    gradient[2 * n + i] = total[2] * windows.slope[i];
    wide += static_cast<double>(total[3] * windows.bend[i]);
  }
  return wide;
}

void blocks(const ColumnWindows& windows, const float* weight, double* block) {
  const size_t n = windows.atoms, width = windows.width, stride = windows.stride;
  for (size_t i = 0; i < n; ++i) {
    const float* down = windows.down + 3 * i * width + windows.skip[i];
    const float* across = windows.across + 3 * i * width;
    const float* window = weight + windows.start[i];
    const size_t rows = windows.rows[i];
    Four low{}, high{};
    by_columns(width, [=, &low, &high](size_t col, auto sum0) __attribute__((always_inline)) {
      constexpr size_t count = sizeof sum0 / sizeof(Lanes);
      auto sum1 = sum0, sum2 = sum0;
      const float* line = window + col;
      for (size_t row = 0; row < rows; ++row, line += stride) {
        const float g = down[row], square = g * g, first = g * down[width + row], second = g * down[2 * width + row];
#pragma GCC unroll 3
        for (size_t k = 0; k < count; ++k) {
          const Lanes pixels = load<Lanes>(line + k * lane_count);
          sum0.lanes[k] += square * pixels;
          sum1.lanes[k] += first * pixels;
          sum2.lanes[k] += second * pixels;
        }
      }
      Lanes part[6] = {};
#pragma GCC unroll 3
      for (size_t k = 0; k < count; ++k) {
        const float* place = across + col + k * lane_count;
        const Lanes g = load<Lanes>(place), square = g * g, turned = g * load<Lanes>(place + width);
        part[0] += sum0.lanes[k] * square;
        part[1] += sum1.lanes[k] * square;
        part[2] += sum0.lanes[k] * turned;
        part[3] += sum2.lanes[k] * square;
        part[4] += sum1.lanes[k] * turned;
        part[5] += sum0.lanes[k] * g * load<Lanes>(place + 2 * width);
      }
      low += sums(folded(part[0]), folded(part[1]), folded(part[2]), folded(part[3]));
      high += sums(folded(part[4]), folded(part[5]), Four{}, Four{});
    });
    const double s = static_cast<double>(windows.slope[i]);
    block[i] = static_cast<double>(low[0]);
    block[n + i] = s * static_cast<double>(low[1]);
    block[2 * n + i] = s * static_cast<double>(low[2]);
    block[3 * n + i] = s * s * static_cast<double>(low[3]);
    block[4 * n + i] = s * s * static_cast<double>(high[0]);
    block[5 * n + i] = s * s * static_cast<double>(high[1]);
  }
}

void invert(size_t atoms, double* block) {
  double* const m0 = block;
  double* const m1 = m0 + atoms;
  double* const m2 = m1 + atoms;
  double* const m3 = m2 + atoms;
  double* const m4 = m3 + atoms;
  double* const m5 = m4 + atoms;
#pragma GCC ivdep
  for (size_t i = 0; i < atoms; ++i) {
    const double a = m0[i], b = m1[i], c = m2[i], d = m3[i], e = m4[i], f = m5[i];
    const double first = d * f - e * e, second = c * e - b * f, third = b * e - c * d;
    const double determinant = a * first + b * second + c * third;
    const bool regular = determinant > 1e-6 * a * d * f;  // else the position is held, or nothing tells it
    const double scale = regular ? 1 / determinant : 0;
    const double alone = a > 0 ? 1 / a : 0;
    m0[i] = regular ? first * scale : alone;
    m1[i] = second * scale;
    m2[i] = third * scale;
    m3[i] = (a * f - c * c) * scale;
    m4[i] = (b * c - a * e) * scale;
    m5[i] = (a * d - b * b) * scale;
  }
}

void mix(const float* __restrict a, const float* __restrict b, const float* share, size_t rows, size_t cols,
         float* __restrict field) {
  for (size_t row = 0; row < rows; ++row, field += cols) {
    const float u = 1 - share[row], v = share[row];
    for (size_t col = 0; col < cols; ++col) field[col] = u * a[col] + v * b[col];
  }
}

template <bool weighted, size_t count>
PROBEWISE_HD void share_columns(float* field, const float* weight, const float* share, size_t rows, size_t cols,
                                float* upper, float* lower) {
  Vectors<count> all, below;
  for (size_t row = 0; row < rows; ++row, field += cols) {
#pragma GCC unroll 8
    for (size_t k = 0; k < count; ++k) {
      Lanes values = load<Lanes>(field + k * lane_count);
      if constexpr (weighted) {
        values *= load<Lanes>(weight + row * cols + k * lane_count);
        store(field + k * lane_count, values);
      }
      all.lanes[k] += values;
      below.lanes[k] += share[row] * values;
    }
  }
#pragma GCC unroll 8
  for (size_t k = 0; k < count; ++k) {
    const size_t col = k * lane_count;
    store(upper + col, load<Lanes>(upper + col) + (all.lanes[k] - below.lanes[k]));
    store(lower + col, load<Lanes>(lower + col) + below.lanes[k]);
  }
}

template <bool weighted>
PROBEWISE_HD void share_rows(float* field, const float* weight, const float* share, size_t rows, size_t cols,
                             float* upper, float* lower) {
  constexpr size_t part = stride_lanes / lane_count;
  size_t col = 0;
  for (; col + 2 * stride_lanes <= cols; col += 2 * stride_lanes) {
    share_columns<weighted, 2 * part>(field + col, weight + col, share, rows, cols, upper + col, lower + col);
  }
  if (col < cols) share_columns<weighted, part>(field + col, weight + col, share, rows, cols, upper + col, lower + col);
}

void share(float* field, const float* weight, const float* shares, size_t rows, size_t cols, float* upper,
           float* lower) {
  if (weight == nullptr) {
    share_rows<false>(field, field, shares, rows, cols, upper, lower);
  } else {
    share_rows<true>(field, weight, shares, rows, cols, upper, lower);
  }
}

void weigh(const float* __restrict data, size_t count, float constant, float slope, float least,
           float* __restrict model, float* __restrict weight) {
  for (size_t i = 0; i < count; ++i) {
    const bool known = data[i] == data[i];
    const float variance = constant + slope * model[i];
    const float here = known ? 1 / (variance > least ? variance : least) : 0.0f;
    weight[i] = here;
    model[i] = known ? here * (data[i] - model[i]) : 0.0f;
  }
}

PROBEWISE_HD double total(Lanes sum) {
  double all = 0;
  for (size_t lane = 0; lane < lane_count; ++lane) all += static_cast<double>(sum[lane]);
  return all;
}

double energy(const float* values, const float* weight, size_t rows, size_t cols) {
  double found = 0;
  for (size_t row = 0; row < rows; ++row, values += cols, weight += cols) {
    Lanes sum{};
    for (size_t i = 0; i < cols; i += lane_count)
      sum += load<Lanes>(values + i) * load<Lanes>(values + i) * load<Lanes>(weight + i);
    found += total(sum);
  }
  return found;
}

void add(float factor, const float* __restrict x, size_t count, float* __restrict y) {
  for (size_t i = 0; i < count; ++i) y[i] += factor * x[i];
}

void turn(float factor, const float* __restrict z, size_t count, float* __restrict direction) {
  for (size_t i = 0; i < count; ++i) direction[i] = z[i] + factor * direction[i];
}

void precondition(const float* __restrict block, size_t atoms, const float* __restrict from, float* __restrict to) {
  const float* m[6];
  for (size_t k = 0; k < 6; ++k) m[k] = block + k * atoms;
  const float *v0 = from, *v1 = from + atoms, *v2 = from + 2 * atoms;
  float *t0 = to, *t1 = to + atoms, *t2 = to + 2 * atoms;
#pragma GCC ivdep
  for (size_t i = 0; i < atoms; ++i) {
    t0[i] = m[0][i] * v0[i] + m[1][i] * v1[i] + m[2][i] * v2[i];
    t1[i] = m[1][i] * v0[i] + m[3][i] * v1[i] + m[4][i] * v2[i];
    t2[i] = m[2][i] * v0[i] + m[4][i] * v1[i] + m[5][i] * v2[i];
  }
}

}  // namespace

const RefineTable& refine_table() noexcept {
  static constexpr RefineTable table{&tabulate, &spread, &collect, &blocks, &invert, &mix,
                                     &share,    &weigh,  &energy,  &add,    &turn,   &precondition};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
