// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/factor.hpp"

#include "surrogate/level.hpp"

namespace probewise {

void Factor::truncate(std::size_t rows) {
  entries_.resize(rows * (rows + 1) / 2);
  size_ = rows;
}

void Factor::append(std::span<const double> l, double diagonal) {
  entries_.insert(entries_.end(), l.begin(), l.end());
  entries_.push_back(diagonal);
  ++size_;
}

void Factor::solve_forward(std::span<double> x) const {
  const auto dot = surrogate_loops().dot;
  const double* row = entries_.data();
  for (std::size_t i = 0; i < size_; row += ++i) x[i] = (x[i] - dot(i, row, x.data())) / row[i];
}

void Factor::solve_backward(std::span<double> x) const {
  const auto axpy = surrogate_loops().axpy;
  for (std::size_t i = size_; i-- > 0;) {
    const double* row = entries_.data() + i * (i + 1) / 2;
    x[i] /= row[i];
    axpy(i, -x[i], row, x.data());
  }
}

void Factor::multiply(std::span<const double> x, std::span<double> out) const {
  const auto dot = surrogate_loops().dot;
  for (std::size_t i = 0; i < size_; ++i) out[i] = dot(i + 1, row(i).data(), x.data());
}

}  // namespace probewise
