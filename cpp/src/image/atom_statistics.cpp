// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/atom_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "image/pixel_table.hpp"
#include "points/nearest.hpp"

namespace probewise {

namespace {

constexpr std::ptrdiff_t coarse = 4;
constexpr std::size_t asked_atoms = 40;                 // whose neighbours are looked up
constexpr std::size_t near = 7;                         // of each, itself the first of them
constexpr double no_variance = 1e-12, no_steps = 1e-8;  // what a constant picture has

/// Variance of the differences of neighbouring values.
double variance_of_steps(std::span<const double> values) {
  const auto count = static_cast<double>(values.size() - 1);
  const double mean = (values.back() - values.front()) / count;
  double sum = 0;
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    const double off = values[i + 1] - values[i] - mean;
    sum += off * off;
  }
  return sum / count;
}

}  // namespace

InputStatistics input_statistics(Image2d<const float> image) {
  const PixelTable& table = pixel_table();
  const auto rows = static_cast<std::size_t>(image.rows), cols = static_cast<std::size_t>(image.cols);
  const std::size_t size = rows * cols;
  const double pixels = static_cast<double>(size);
  InputStatistics found;
  found.mean = table.moments(image.data, size).plain / pixels;
  std::vector<float> off(size);
  table.affine(image.data, size, static_cast<float>(found.mean), 1, off.data());
  const PixelMoments moments = table.moments(off.data(), size);
  const double variance = moments.square / pixels + no_variance;
  found.deviation = std::sqrt(variance);
  found.skewness = moments.cube / pixels / (variance * found.deviation);
  // End to end: the last pixel of a row is next to the first of the next.
  const std::size_t steps[4]{1, cols, static_cast<std::size_t>(coarse), static_cast<std::size_t>(coarse) * cols};
  for (std::size_t k = 0; k < 4; ++k) {
    const std::size_t pairs = size - steps[k];
    found.correlation[k] = table.dot(off.data() + steps[k], off.data(), pairs) / static_cast<double>(pairs) / variance;
  }
  std::vector<double> of_row(rows), of_col(cols);
  std::vector<float> sums(cols, 0.0f);
  for (std::size_t row = 0; row < rows; ++row) {
    of_row[row] = table.moments(off.data() + row * cols, cols).plain / static_cast<double>(cols);
    table.add(off.data() + row * cols, cols, 1, sums.data());
  }
  for (std::size_t col = 0; col < cols; ++col) of_col[col] = static_cast<double>(sums[col]) / static_cast<double>(rows);
  found.rows = (variance_of_steps(of_row) + no_steps) / (variance_of_steps(of_col) + no_steps);
  return found;
}

AnswerStatistics answer_statistics(const Answer& answer, std::span<const double> yx) {
  const std::size_t n = yx.size() / 2;
  AnswerStatistics found;
  const std::span presence(answer.presence.data, static_cast<std::size_t>(answer.presence.rows * answer.presence.cols));
  const auto [doubtful, sure] = pixel_table().doubt(presence.data(), presence.size());
  found.doubt = static_cast<double>(doubtful) / static_cast<double>(std::max<std::uint64_t>(sure, 1));
  double height = 0, certainty = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double row = std::nearbyint(yx[2 * i]), col = std::nearbyint(yx[2 * i + 1]);
    height += static_cast<double>(answer.input(static_cast<std::ptrdiff_t>(row), static_cast<std::ptrdiff_t>(col)));
    const std::ptrdiff_t place =
        std::min(static_cast<std::ptrdiff_t>(row / answer.stride), answer.rows - 1) * answer.cols +
        std::min(static_cast<std::ptrdiff_t>(col / answer.stride), answer.cols - 1);
    float most = answer.classes[place];
    for (std::size_t k = 1; k < answer.class_count; ++k) {
      most = std::max(most, answer.classes[static_cast<std::ptrdiff_t>(k) * answer.rows * answer.cols + place]);
    }
    certainty += static_cast<double>(most);
  }
  found.height = height / static_cast<double>(n);
  found.certainty = certainty / static_cast<double>(n);

  const std::size_t step = (n + asked_atoms - 1) / asked_atoms, asked = (n + step - 1) / step;
  const NearestPoints points(yx, near);
  std::array<std::vector<double>, 6> distance;
  for (std::size_t i = 0; i < n; i += step) {
    std::array<double, near> squared;
    std::array<std::uint32_t, near> number;
    points.find(yx[2 * i], yx[2 * i + 1], NearestPoints::none, squared, number);
    for (std::size_t k = 0; k < distance.size(); ++k) distance[k].push_back(std::sqrt(squared[k + 1]));
  }
  for (std::vector<double>& one : distance) std::sort(one.begin(), one.end());
  found.low_quartile = distance[0][asked / 4];
  found.high_quartile = distance[0][3 * asked / 4];
  constexpr std::size_t kept[5]{0, 1, 2, 3, 5};
  for (std::size_t k = 0; k < 5; ++k) found.distance[k] = distance[kept[k]][asked / 2];
  return found;
}

}  // namespace probewise
