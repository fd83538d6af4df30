// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <span>

#include "cuda/runtime.hpp"
#include "probewise/instrument/microscope.hpp"

namespace probewise::cuda {

/// As instrument::Renderer::fractions, points and result in host memory: the host enumerates the columns, a thread of
/// the device sums each point. The same to the last bit as long as products are rounded alike.
class RenderSums {
 public:
  void operator()(instrument::Renderer& renderer, std::span<const float> y, std::span<const float> x,
                  std::span<float> out, Stream stream);

 private:
  Buffer<float> floats_;
  Buffer<int> integers_;
};

}  // namespace probewise::cuda
