// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "probewise/surrogate/gaussian_process.hpp"

namespace probewise {

// What an engine refuses, on the CPU and on a device alike, with std::invalid_argument.

void check_prior(double mean_constant, double alpha);
void check_indices(std::span<const std::int64_t> indices, std::size_t candidates);

/// Products of values and of their squares have to stay finite in the precision of the maps.
void check_values(std::span<const double> values, Precision precision);

}  // namespace probewise
