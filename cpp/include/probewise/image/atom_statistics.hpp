// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <array>
#include <cstddef>
#include <span>

#include "probewise/image2d.hpp"

namespace probewise {

/// What a picture looks like, whatever is in it.
struct InputStatistics {
  double mean = 0, deviation = 0, skewness = 0;
  std::array<double, 4> correlation{};  ///< with the pixel one column, one row, four columns, four rows on
  double rows = 0;                      ///< variance of the steps between rows' means over that between columns'
};

InputStatistics input_statistics(Image2d<const float> image);

/// What a network answers, on the pixels of its input.
struct Answer {
  Image2d<const float> input, presence;
  const float* classes;  ///< (class_count, rows, cols) on a grid `stride` times coarser
  std::size_t class_count;
  std::ptrdiff_t rows, cols;
  double stride;
};

struct AnswerStatistics {
  double doubt = 0;      ///< pixels with a presence between 0.1 and 0.9 over those above 0.5, at least 1
  double certainty = 0;  ///< mean over the atoms of the largest class map
  double height = 0;     ///< mean of the input at the atoms
  /// Distances to the nearest, 2nd, 3rd, 4th and 6th nearest atom, medians over 20 to 40 atoms, or all where they are
  /// fewer, and of the nearest the quartiles.
  std::array<double, 5> distance{};
  double low_quartile = 0, high_quartile = 0;
};

/// Of atoms `yx` (n, 2) inside the input, n at least 7.
AnswerStatistics answer_statistics(const Answer& answer, std::span<const double> yx);

}  // namespace probewise
