// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/candidates.hpp"

#include <cmath>
#include <stdexcept>
#include <string>

namespace probewise {

Candidates Candidates::lattice(std::size_t rows, std::size_t cols, double dy, double dx) {
  if (rows == 0 || cols == 0) throw std::invalid_argument("shape is empty, expected at least one row and one column");
  if (!(dy > 0.0 && dx > 0.0 && std::isfinite(dy) && std::isfinite(dx))) {
    throw std::invalid_argument("spacing is (" + std::to_string(dy) + ", " + std::to_string(dx) +
                                "), expected two positive finite numbers");
  }
  Candidates made;
  made.size_ = rows * cols;
  made.axes_ = 2;
  made.rows_ = rows;
  made.cols_ = cols;
  made.dy_ = dy;
  made.dx_ = dx;
  return made;
}

Candidates Candidates::points(std::span<const double> coordinates, std::size_t axes) {
  if (axes == 0 || coordinates.empty()) {
    throw std::invalid_argument("candidates are empty, expected at least one point of at least one coordinate");
  }
  for (const double value : coordinates) {
    if (!std::isfinite(value)) throw std::invalid_argument("candidates hold a coordinate that is not finite");
  }
  Candidates made;
  made.size_ = coordinates.size() / axes;
  made.axes_ = axes;
  made.coordinates_.assign(coordinates.begin(), coordinates.end());
  return made;
}

}  // namespace probewise
