// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace probewise {

/// Columns fitted to one image, as by `refine_atoms`.
struct FittedColumns {
  std::span<const double> yx, amplitude, error;  ///< (n, 2), (n,), (n,): the error by the noise alone
  double growth;                                 ///< of error^2 with the amplitude: a column's own counts are noisy
  double width_px;
  std::ptrdiff_t rows, cols;  ///< of the image
};

/// A class of like columns of so many like atoms each.
struct HostClass {
  std::int64_t label;
  int atoms;
};

/// The classes that the test tells apart; vacancy or dopant below 0 where there is none.
struct ColumnClasses {
  std::vector<HostClass> hosts;
  std::int64_t vacancy, dopant;
};

/// Names again what the amplitudes say are hosts, vacancies and dopants, by Bayes' rule.
///
/// The columns of one host class scatter about the local median of their amplitudes, by the error of the fit times a
/// factor found from their own scatter, and a few by three times that. A column of n atoms lacks 1 to n of them at a
/// vacancy; a dopant's amplitude is anything from 2 to 8 times the host's. Prior: fixed rates of defects times `share`
/// (n, classes), what a network makes of the same counts, to the power 3/4, as that is no independent evidence. A
/// vacancy or a dopant belongs to the host class with the largest share. Columns of other classes, of host classes with
/// fewer than 30 columns, and at the rim keep their label.
void judge_columns(const FittedColumns& columns, std::span<const double> share, const ColumnClasses& classes,
                   std::span<std::int64_t> label);

}  // namespace probewise
