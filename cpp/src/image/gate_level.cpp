// SPDX-License-Identifier: BSD-3-Clause
#include "image/gate_table.hpp"

namespace probewise::PROBEWISE_LEVEL {

namespace {

void add(const float* values, size_t count, float shift, float saturation, GateSums* sums) {
  GateSums running = *sums;
  for (size_t start = 0; start < count; start += gate_lanes) {
    for (int lane = 0; lane < gate_lanes; ++lane) {
      const float value = values[start + static_cast<size_t>(lane)];
      const uint32_t bits = __builtin_bit_cast(uint32_t, value);
      const bool finite = (bits & 0x7f800000u) != 0x7f800000u;  // the exponent of inf and NaN is all ones
      const float kept = finite ? value : shift;
      const double offset = static_cast<double>(kept) - static_cast<double>(shift);
      running.sum[lane] += offset;
      running.square[lane] += offset * offset;
      running.minimum[lane] = finite && value < running.minimum[lane] ? value : running.minimum[lane];
      running.maximum[lane] = finite && value > running.maximum[lane] ? value : running.maximum[lane];
      running.finite[lane] += finite;
      running.saturated[lane] += finite && value >= saturation;
      running.digest[lane] = (running.digest[lane] ^ bits) * 0x01000193u;  // FNV-1a, a word at a time
    }
  }
  *sums = running;
}

}  // namespace

const GateTable& gate_table() noexcept {
  static constexpr GateTable table{&add};
  return table;
}

}  // namespace probewise::PROBEWISE_LEVEL
