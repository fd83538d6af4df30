// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>

namespace probewise {

/// Values at fractions `at` (0 to 1, ascending) of the sorted `values`, interpolated between neighbours in rank, into
/// `found`. `low` and `high` are the range of `values`, which are finite and at least one.
void quantiles(std::span<const float> values, float low, float high, std::span<const double> at,
               std::span<double> found);

}  // namespace probewise
