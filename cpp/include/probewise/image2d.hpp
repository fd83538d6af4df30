// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cassert>
#include <cstddef>

namespace probewise {

/// A row-major, possibly strided view of an image; owns nothing. The stride is in elements.
template <class T>
struct Image2d {
  T* data = nullptr;
  std::ptrdiff_t rows = 0, cols = 0, row_stride = 0;
  T& operator()(std::ptrdiff_t row, std::ptrdiff_t col) const {
    assert(row >= 0 && row < rows && col >= 0 && col < cols);
    return data[row * row_stride + col];
  }
};

}  // namespace probewise
