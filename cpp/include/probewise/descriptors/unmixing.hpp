// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <span>

namespace probewise::descriptors {

enum class Constraint { non_negative, fully_constrained };

/// Products of `n` spectra (n, f) with `k` basis rows (k, f), in double, to `products` (n, k), and the squared norm
/// of each spectrum to `norms` (n). The order of summation depends on f alone, so that a spectrum gives the same
/// bits alone and in a batch.
void project(std::span<const float> spectra, std::span<const double> basis, std::size_t features,
             std::span<double> products, std::span<double> norms);

/// For each of n rows b of `products` (n, k): the minimiser of a'Ga - 2b'a, with a >= 0 (non_negative), or with
/// a >= 0 and sum a = 1 (fully_constrained), by a primal active-set method (Lawson and Hanson 1974, chapter 23;
/// with one equality, Heinz and Chang 2001). `gram` is (k, k), k at most 64. Throws std::invalid_argument when G is
/// not positive definite (a basis with dependent rows).
void solve_abundances(std::span<const double> gram, std::span<const double> products, Constraint constraint,
                      std::span<double> abundances);

}  // namespace probewise::descriptors
