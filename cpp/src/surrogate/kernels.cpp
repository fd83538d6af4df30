// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/kernels.hpp"

#include <array>
#include <cmath>
#include <stdexcept>
#include <utility>

namespace probewise {

namespace {

constexpr std::array<std::pair<std::string_view, Kernel>, 8> kernel_names{
    {{"rbf", Kernel::rbf},
     {"matern12", Kernel::matern12},
     {"matern32", Kernel::matern32},
     {"matern52", Kernel::matern52},
     {"rq", Kernel::rq},
     {"product-matern12", Kernel::product_matern12},
     {"product-matern32", Kernel::product_matern32},
     {"product-matern52", Kernel::product_matern52}}};

// Squares and ratios of anything inside these limits stay finite in float64.
constexpr double smallest = 1e-150, largest = 1e150;

}  // namespace

Kernel parse_kernel(std::string_view name) {
  std::string known;
  for (const auto& [text, kernel] : kernel_names) {
    if (text == name) return kernel;
    known += (known.empty() ? "" : ", ") + std::string(text);
  }
  throw std::invalid_argument("kernel is '" + std::string(name) + "', expected one of " + known);
}

bool is_separable(Kernel kernel) noexcept {
  return kernel == Kernel::rbf || kernel == Kernel::product_matern12 || kernel == Kernel::product_matern32 ||
         kernel == Kernel::product_matern52;
}

void check_hyperparameters(const Hyperparameters& hyperparameters, std::size_t axes) {
  if (hyperparameters.lengthscale.size() != axes) {
    throw std::invalid_argument("lengthscale has " + std::to_string(hyperparameters.lengthscale.size()) +
                                " entries, expected one number or " + std::to_string(axes));
  }
  for (const double scale : hyperparameters.lengthscale) {
    if (!(scale >= smallest && scale <= largest)) {
      throw std::invalid_argument("lengthscale is " + std::to_string(scale) + ", expected a positive finite number");
    }
  }
  if (!(hyperparameters.variance >= smallest && hyperparameters.variance <= largest)) {
    throw std::invalid_argument("variance is " + std::to_string(hyperparameters.variance) +
                                ", expected a positive finite number");
  }
  check_noise(hyperparameters.noise);
}

void check_noise(double noise) {
  if (!(noise >= 0.0 && noise <= largest)) {
    throw std::invalid_argument("noise is " + std::to_string(noise) +
                                ", expected a finite number that is not negative");
  }
}

}  // namespace probewise
