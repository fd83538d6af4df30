// SPDX-License-Identifier: BSD-3-Clause
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "probewise/simd.hpp"

namespace probewise {

SimdLevel best_simd_level() noexcept {
#if defined(__x86_64__) && defined(__GNUC__)
  if (__builtin_cpu_supports("x86-64-v4")) return SimdLevel::avx512;
  if (__builtin_cpu_supports("x86-64-v3")) return SimdLevel::avx2;
#endif
  return SimdLevel::base;
}

std::string_view simd_level_name(SimdLevel level) noexcept {
  switch (level) {
    case SimdLevel::avx512:
      return "avx512";
    case SimdLevel::avx2:
      return "avx2";
    case SimdLevel::base:
      break;
  }
  return "base";
}

SimdLevel active_simd_level() {
  static const SimdLevel chosen = [] {
    const SimdLevel best = best_simd_level();
    const char* wanted = std::getenv("PROBEWISE_SIMD");
    if (wanted == nullptr || *wanted == '\0') return best;
    for (const SimdLevel level : {SimdLevel::base, SimdLevel::avx2, SimdLevel::avx512}) {
      if (simd_level_name(level) != wanted) continue;
      if (level > best) {
        throw std::invalid_argument("PROBEWISE_SIMD=" + std::string(wanted) + ", but the best level of this CPU is " +
                                    std::string(simd_level_name(best)));
      }
      return level;
    }
    throw std::invalid_argument("PROBEWISE_SIMD=" + std::string(wanted) + ", expected base, avx2 or avx512");
  }();
  return chosen;
}

}  // namespace probewise
