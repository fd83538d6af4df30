// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/surrogate/factor.hpp"

#include <algorithm>

#include "runtime/pool.hpp"
#include "surrogate/level.hpp"

namespace probewise {

namespace {

constexpr std::size_t block = 512;             // rows of a triangle that are solved one after another
constexpr std::size_t piece_rows = 64;         // of what the rows of a block take from what is solved
constexpr std::size_t piece_columns = 1024;    // of what a block gives to what is not; less would break up the reading
constexpr double entries_per_us = 16e3 / 8.0;  // of 16 GB/s, the memory bandwidth of one core

}  // namespace

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
  for (std::size_t first = 0; first < size_; first += block) {
    const std::size_t last = std::min(first + block, size_);
    for_pieces((last - first + piece_rows - 1) / piece_rows,
               static_cast<double>((last - first) * first) / entries_per_us, [&](std::size_t piece) {
                 const std::size_t from = first + piece * piece_rows, to = std::min(from + piece_rows, last);
                 for (std::size_t i = from; i < to; ++i) x[i] -= dot(first, entries(i), x.data());
               });
    for (std::size_t i = first; i < last; ++i) {
      const double* row = entries(i);
      x[i] = (x[i] - dot(i - first, row + first, x.data() + first)) / row[i];
    }
  }
}

void Factor::solve_backward(std::span<double> x) const {
  const auto axpy = surrogate_loops().axpy;
  for (std::size_t last = size_; last > 0;) {
    const std::size_t first = (last - 1) / block * block;
    for (std::size_t i = last; i-- > first;) {
      const double* row = entries(i);
      x[i] /= row[i];
      axpy(i - first, -x[i], row + first, x.data() + first);
    }
    for_pieces((first + piece_columns - 1) / piece_columns,
               static_cast<double>((last - first) * first) / entries_per_us, [&](std::size_t piece) {
                 const std::size_t from = piece * piece_columns, to = std::min(from + piece_columns, first);
                 for (std::size_t i = last; i-- > first;) axpy(to - from, -x[i], entries(i) + from, x.data() + from);
               });
    last = first;
  }
}

void Factor::multiply(std::span<const double> x, std::span<double> out) const {
  const auto dot = surrogate_loops().dot;
  for (std::size_t i = 0; i < size_; ++i) out[i] = dot(i + 1, entries(i), x.data());
}

}  // namespace probewise
