// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "arrays.hpp"
#include "probewise/acquisition/policies.hpp"

namespace probewise::bindings {

/// Numbers by name as PolicyParameters; the Python side has refused names that a policy does not take.
inline PolicyParameters to_parameters(const py::dict& given) {
  PolicyParameters parameters;
  for (const auto& [key, value] : given) {
    const auto name = key.cast<std::string>();
    const auto number = value.cast<double>();
    if (name == "beta") {
      parameters.beta = number;
    } else if (name == "best") {
      parameters.best = number;
    } else if (name == "xi") {
      parameters.xi = number;
    } else if (name == "threshold") {
      parameters.threshold = number;
    } else if (name == "low") {
      parameters.low = number;
    } else if (name == "high") {
      parameters.high = number;
    } else {
      throw std::invalid_argument("'" + name + "' is not a parameter of an acquisition");
    }
  }
  return parameters;
}

/// A boolean array as bytes.
inline std::span<const std::uint8_t> mask_view(const py::array& mask, const char* name) {
  const std::span<const bool> view = read_view<bool>(mask, name, 1, "(c,)");
  return {reinterpret_cast<const std::uint8_t*>(view.data()), view.size()};
}

}  // namespace probewise::bindings
