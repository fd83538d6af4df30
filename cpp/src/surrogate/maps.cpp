// SPDX-License-Identifier: BSD-3-Clause
#include "surrogate/maps.hpp"

#include "surrogate/cached_maps.hpp"
#include "surrogate/separable_maps.hpp"

namespace probewise {

namespace {

template <class T>
std::unique_ptr<Maps> make(const Candidates& candidates, Kernel kernel, double alpha) {
  if (plan_for(candidates, kernel) == Plan::separable) return std::make_unique<SeparableMaps<T>>(candidates, kernel);
  return std::make_unique<CachedMaps<T>>(candidates, kernel, alpha);
}

}  // namespace

Plan plan_for(const Candidates& candidates, Kernel kernel) noexcept {
  return candidates.is_lattice() && is_separable(kernel) ? Plan::separable : Plan::cached;
}

std::unique_ptr<Maps> make_maps(const Candidates& candidates, Kernel kernel, double alpha, Precision precision) {
  return precision == Precision::float64 ? make<double>(candidates, kernel, alpha)
                                         : make<float>(candidates, kernel, alpha);
}

}  // namespace probewise
