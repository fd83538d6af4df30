// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <string_view>

namespace probewise {

/// The instruction sets that hot loops are compiled for, slowest first.
enum class SimdLevel { base, avx2, avx512 };

/// The best level that this CPU and this build can run.
SimdLevel best_simd_level() noexcept;

/// The level in use: the best one, or the one named by the environment variable PROBEWISE_SIMD.
/// Throws std::invalid_argument when the variable names an unknown level or one that this CPU lacks.
SimdLevel active_simd_level();

std::string_view simd_level_name(SimdLevel level) noexcept;

}  // namespace probewise
