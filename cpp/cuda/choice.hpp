// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>

#include "cuda/runtime.hpp"
#include "probewise/acquisition/choice.hpp"
#include "probewise/acquisition/policies.hpp"

namespace probewise::cuda {

/// Maps of a posterior in device memory; `T` is float or double.
template <class T>
struct DeviceMaps {
  const T *mean, *deviation;
};

/// The candidate of the best score among those not blocked, by the CPU's rule for ties. Everything but the answer stays
/// on the device.
class Chooser {
 public:
  /// `blocked` (size,) and `cost` (size,) or null are device memory. Returns -1 when nothing is free.
  template <class T>
  std::int64_t operator()(DeviceMaps<T> maps, std::size_t size, const std::uint8_t* blocked, Policy policy,
                          const PolicyParameters& parameters, const double* cost, double cost_weight, ChoiceKey key,
                          Stream stream);

 private:
  Buffer<std::byte> best_;
};

/// blocked[index] = `value`
void block(std::uint8_t* blocked, std::int64_t index, std::uint8_t value, Stream stream);

}  // namespace probewise::cuda
