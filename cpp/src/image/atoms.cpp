// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/atoms.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>

#include "image/pixel_body.hpp"
#include "image/pixel_table.hpp"

namespace probewise {

namespace {

struct Run {
  std::int32_t begin, end;  // columns
  std::uint32_t part;
};

/// Sums over the pixels of what was one component when it was met; parents lead to the earliest part.
struct Part {
  double weight = 0, weighted_row = 0, weighted_col = 0;
  std::int64_t pixels = 0;
  std::uint32_t parent = 0;
};

std::uint32_t root(std::vector<Part>& parts, std::uint32_t part) {
  while (parts[part].parent != part) {
    parts[part].parent = parts[parts[part].parent].parent;
    part = parts[part].parent;
  }
  return part;
}

/// Runs of set bytes (0 or 1) of a row whose length is a multiple of 8 and whose last byte is 0.
void find_runs(std::span<const std::uint8_t> mask, std::vector<Run>& runs) {
  static_assert(std::endian::native == std::endian::little);
  runs.clear();
  std::uint64_t carry = 0;
  bool open = false;
  for (std::size_t start = 0; start < mask.size(); start += 8) {
    std::uint64_t word;
    std::memcpy(&word, mask.data() + start, 8);
    std::uint64_t changes = word ^ (word << 8 | carry);
    carry = word >> 56;
    for (; changes != 0; changes &= changes - 1, open = !open) {
      const auto col = static_cast<std::int32_t>(start) + std::countr_zero(changes) / 8;
      if (open) {
        runs.back().end = col;
      } else {
        runs.push_back({col, col, 0});
      }
    }
  }
}

/// Gives each run the part of a run above that it touches, or a new one, and merges parts that meet.
void connect(const std::vector<Run>& above, std::vector<Run>& here, std::vector<Part>& parts) {
  auto next = above.begin();
  for (Run& run : here) {
    while (next != above.end() && next->end <= run.begin) ++next;
    bool connected = false;
    for (auto touching = next; touching != above.end() && touching->begin < run.end; ++touching) {
      const std::uint32_t met = root(parts, touching->part);
      if (!connected) {
        run.part = met;
        connected = true;
      } else if (met != run.part) {
        parts[std::max(met, run.part)].parent = std::min(met, run.part);
        run.part = std::min(met, run.part);
      }
    }
    if (!connected) {
      run.part = static_cast<std::uint32_t>(parts.size());
      parts.emplace_back().parent = run.part;
    }
  }
}

}  // namespace

void find_atoms(Image2d<const float> probability, float threshold, std::int64_t label, FoundAtoms& atoms) {
  const PixelTable& table = pixel_table();
  const auto cols = static_cast<std::size_t>(probability.cols);
  std::vector<std::uint8_t> mask(cols / 8 * 8 + 8, 0);
  std::vector<Run> above, here;
  std::vector<Part> parts;
  for (std::ptrdiff_t row = 0; row < probability.rows; ++row) {
    const float* values = &probability(row, 0);
    if (!table.above(values, cols, threshold, probability_slack, mask.data())) {
      throw std::invalid_argument("probability holds values outside 0 to 1 in row " + std::to_string(row) +
                                  " of class " + std::to_string(label));
    }
    find_runs(mask, here);
    connect(above, here, parts);
    for (const Run& run : here) {
      double weight = 0, offset = 0;
      for (std::int32_t col = run.begin; col < run.end; ++col) {
        const auto value = static_cast<double>(values[col]);
        weight += value;
        offset += value * (col - run.begin);
      }
      Part& part = parts[run.part];
      part.weight += weight;
      part.weighted_row += weight * static_cast<double>(row);
      part.weighted_col += weight * run.begin + offset;
      part.pixels += run.end - run.begin;
    }
    std::swap(above, here);
  }
  for (std::uint32_t i = static_cast<std::uint32_t>(parts.size()); i-- > 0;) {
    const Part& part = parts[i];
    if (part.parent == i) continue;
    Part& whole = parts[part.parent];  // an earlier one, which hands on in its turn
    whole.weight += part.weight;
    whole.weighted_row += part.weighted_row;
    whole.weighted_col += part.weighted_col;
    whole.pixels += part.pixels;
  }
  for (std::uint32_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    if (part.parent != i) continue;
    atoms.yx.push_back(part.weighted_row / part.weight);
    atoms.yx.push_back(part.weighted_col / part.weight);
    atoms.label.push_back(label);
    atoms.score.push_back(std::min(1.0, part.weight / static_cast<double>(part.pixels)));
  }
}

void label_atoms(std::span<const double> yx, const float* maps, std::size_t classes, std::ptrdiff_t rows,
                 std::ptrdiff_t cols, double stride, std::span<std::int64_t> label, std::span<double> share) {
  for (std::size_t i = 0; i < label.size(); ++i) {
    const double y = std::clamp((yx[2 * i] + 0.5) / stride - 0.5, 0.0, static_cast<double>(rows - 1));
    const double x = std::clamp((yx[2 * i + 1] + 0.5) / stride - 0.5, 0.0, static_cast<double>(cols - 1));
    const auto row = static_cast<std::ptrdiff_t>(y), col = static_cast<std::ptrdiff_t>(x);
    const std::ptrdiff_t down = row + 1 < rows ? cols : 0, right = col + 1 < cols ? 1 : 0;
    const double low = y - static_cast<double>(row), far = x - static_cast<double>(col);
    double* const here = share.data() + i * classes;
    for (std::size_t k = 0; k < classes; ++k) {
      const float* pixel = maps + (static_cast<std::ptrdiff_t>(k) * rows + row) * cols + col;
      here[k] = (1 - low) * ((1 - far) * static_cast<double>(pixel[0]) + far * static_cast<double>(pixel[right])) +
                low * ((1 - far) * static_cast<double>(pixel[down]) + far * static_cast<double>(pixel[down + right]));
    }
    label[i] = std::max_element(here, here + classes) - here;
  }
}

void rescale_points(std::span<const double> yx, const double (&scale)[2], std::ptrdiff_t rows, std::ptrdiff_t cols,
                    std::span<double> out) {
  const double edge[2]{static_cast<double>(rows) - 0.5, static_cast<double>(cols) - 0.5};
  for (std::size_t i = 0; i < yx.size(); ++i) {
    out[i] = std::clamp((yx[i] + 0.5) * scale[i % 2] - 0.5, -0.5, edge[i % 2]);
  }
}

}  // namespace probewise
