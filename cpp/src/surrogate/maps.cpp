// SPDX-License-Identifier: BSD-3-Clause
#include "surrogate/maps.hpp"

#include <stdexcept>

#include "surrogate/cached_maps.hpp"
#include "surrogate/lazy_maps.hpp"
#include "surrogate/separable_maps.hpp"

namespace probewise {

namespace {

// From here on a step's pass over all candidates costs more than the search over tiles (bench/gp_engine.py).
constexpr std::size_t lazy_from = std::size_t{1} << 17;

template <class T>
std::unique_ptr<Maps> make(const Candidates& candidates, Kernel kernel, double alpha, Plan plan) {
  if (plan == Plan::cached) return std::make_unique<CachedMaps<T>>(candidates, kernel, alpha);
  if (!candidates.is_lattice() || !is_separable(kernel)) {
    throw std::invalid_argument("plan is separable or lazy, expected cached for these candidates and this kernel");
  }
  if (plan == Plan::lazy) return std::make_unique<LazyMaps<T>>(candidates, kernel);
  return std::make_unique<SeparableMaps<T>>(candidates, kernel);
}

}  // namespace

Plan plan_for(const Candidates& candidates, Kernel kernel) noexcept {
  if (!candidates.is_lattice() || !is_separable(kernel)) return Plan::cached;
  return candidates.size() < lazy_from ? Plan::separable : Plan::lazy;
}

std::unique_ptr<Maps> make_maps(const Candidates& candidates, Kernel kernel, double alpha, Precision precision,
                                Plan plan) {
  if (precision == Precision::float16) {
    if (plan != Plan::cached) {
      throw std::invalid_argument(
          "precision is float16, expected float32 or float64: with a separable kernel on a lattice no V is stored");
    }
    return std::make_unique<CachedMaps<float, Half>>(candidates, kernel, alpha);
  }
  return precision == Precision::float64 ? make<double>(candidates, kernel, alpha, plan)
                                         : make<float>(candidates, kernel, alpha, plan);
}

}  // namespace probewise
