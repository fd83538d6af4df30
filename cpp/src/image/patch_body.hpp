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

/// One axis of a window: where it begins, and whether it ends within `length`.
PROBEWISE_HD bool window_axis(double centre, ptrdiff_t side, bool subpixel, ptrdiff_t length, ptrdiff_t& first,
                              double& share) {
  const double before = subpixel ? static_cast<double>(side - 1) / 2 : static_cast<double>(side / 2);
  const double corner = centre + (subpixel ? 0.0 : 0.5) - before;
  const double whole = floor(corner);
  share = subpixel ? corner - whole : 0.0;
  const bool inside =
      whole >= 0 && whole + static_cast<double>(side) + (share > 0 ? 1 : 0) <= static_cast<double>(length);
  first = inside ? static_cast<ptrdiff_t>(whole) : 0;
  return inside;
}

/// The window about a centre that is finite.
PROBEWISE_HD PatchWindow patch_window(double y, double x, ptrdiff_t side, bool subpixel, ptrdiff_t rows,
                                      ptrdiff_t cols) {
  PatchWindow window;
  const bool down_inside = window_axis(y, side, subpixel, rows, window.first[0], window.share[0]);
  const bool across_inside = window_axis(x, side, subpixel, cols, window.first[1], window.share[1]);
  window.inside = down_inside && across_inside;
  const double down = window.share[0], across = window.share[1];
  window.weights[0] = static_cast<float>((1 - down) * (1 - across));
  window.weights[1] = static_cast<float>((1 - down) * across);
  window.weights[2] = static_cast<float>(down * (1 - across));
  window.weights[3] = static_cast<float>(down * across);
  return window;
}

/// Columns of a window's row that lie outside the disc of its side, on either end.
PROBEWISE_HD ptrdiff_t disc_margin(ptrdiff_t side, ptrdiff_t row) {
  const double middle = static_cast<double>(side - 1) / 2, radius = static_cast<double>(side) / 2;
  const double offset = static_cast<double>(row) - middle;
  return static_cast<ptrdiff_t>(ceil(middle - sqrt(radius * radius - offset * offset)));
}

}  // namespace probewise
