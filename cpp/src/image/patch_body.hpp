// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <math.h>
#include <stddef.h>

#include "probewise/portable.hpp"

namespace probewise {

/// Where a window of an image begins; `share` of the way to the next row and column, with its four weights.
struct PatchWindow {
  bool inside;
  ptrdiff_t first[2];
  double share[2];
  float weights[4];
};

/// The window about a centre that is finite.
PROBEWISE_HD PatchWindow patch_window(double y, double x, ptrdiff_t side, bool subpixel, ptrdiff_t rows,
                                      ptrdiff_t cols) {
  const double before = subpixel ? static_cast<double>(side - 1) / 2 : static_cast<double>(side / 2);
  const double shift = subpixel ? 0.0 : 0.5;
  const double centre[2] = {y, x};
  const ptrdiff_t length[2] = {rows, cols};
  PatchWindow window{true, {0, 0}, {0.0, 0.0}, {0, 0, 0, 0}};
  for (int axis = 0; axis < 2; ++axis) {
    const double corner = centre[axis] + shift - before;
    const double whole = floor(corner);
    window.share[axis] = subpixel ? corner - whole : 0.0;
    const double end = whole + static_cast<double>(side) + (window.share[axis] > 0 ? 1 : 0);
    window.inside = window.inside && whole >= 0 && end <= static_cast<double>(length[axis]);
    if (window.inside) window.first[axis] = static_cast<ptrdiff_t>(whole);
  }
  const double down = window.share[0], right = window.share[1];
  window.weights[0] = static_cast<float>((1 - down) * (1 - right));
  window.weights[1] = static_cast<float>((1 - down) * right);
  window.weights[2] = static_cast<float>(down * (1 - right));
  window.weights[3] = static_cast<float>(down * right);
  return window;
}

/// Columns of a window's row that lie outside the disc of its side, on either end.
PROBEWISE_HD ptrdiff_t disc_margin(ptrdiff_t side, ptrdiff_t row) {
  const double middle = static_cast<double>(side - 1) / 2, radius = static_cast<double>(side) / 2;
  const double offset = static_cast<double>(row) - middle;
  return static_cast<ptrdiff_t>(ceil(middle - sqrt(radius * radius - offset * offset)));
}

}  // namespace probewise
