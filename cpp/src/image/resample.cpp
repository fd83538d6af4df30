// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/resample.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "image/pixel_table.hpp"

namespace probewise {

namespace {

/// The pixels that make up each new pixel of an axis: weight[offset[i]..offset[i + 1]) from pixel first[i] on.
struct Taps {
  std::vector<std::ptrdiff_t> first;
  std::vector<std::size_t> offset{0};
  std::vector<float> weight;
};

Taps taps(std::ptrdiff_t from, std::ptrdiff_t to) {
  Taps found;
  const double step = static_cast<double>(from) / static_cast<double>(to);
  for (std::ptrdiff_t i = 0; i < to; ++i) {
    if (to < from) {
      const double low = static_cast<double>(i) * step;
      const double high = std::min(static_cast<double>(from), static_cast<double>(i + 1) * step);
      const auto first = static_cast<std::ptrdiff_t>(low);
      found.first.push_back(first);
      for (std::ptrdiff_t pixel = first; static_cast<double>(pixel) < high; ++pixel) {
        const double inside =
            std::min(high, static_cast<double>(pixel + 1)) - std::max(low, static_cast<double>(pixel));
        found.weight.push_back(static_cast<float>(inside / (high - low)));
      }
    } else {
      const double last = static_cast<double>(from - 1);
      const double place = std::clamp((static_cast<double>(i) + 0.5) * step - 0.5, 0.0, last);
      const auto first = static_cast<std::ptrdiff_t>(place);
      const double share = place - static_cast<double>(first);
      found.first.push_back(first);
      found.weight.push_back(static_cast<float>(1 - share));
      if (share > 0) found.weight.push_back(static_cast<float>(share));
    }
    found.offset.push_back(found.weight.size());
  }
  return found;
}

}  // namespace

void resample(Image2d<const float> image, Image2d<float> out) {
  const PixelTable& table = pixel_table();
  const Taps down = taps(image.rows, out.rows), across = taps(image.cols, out.cols);
  std::vector<float> line(static_cast<std::size_t>(image.cols));
  for (std::ptrdiff_t row = 0; row < out.rows; ++row) {
    const auto r = static_cast<std::size_t>(row);
    std::fill(line.begin(), line.end(), 0.0f);
    std::ptrdiff_t source = down.first[r];
    for (std::size_t tap = down.offset[r]; tap < down.offset[r + 1]; ++tap, ++source) {
      table.add(&image(source, 0), line.size(), down.weight[tap], line.data());
    }
    for (std::ptrdiff_t col = 0; col < out.cols; ++col) {
      const auto c = static_cast<std::size_t>(col);
      const float* pixel = line.data() + across.first[c];
      float sum = 0;
      for (std::size_t tap = across.offset[c]; tap < across.offset[c + 1]; ++tap) sum += across.weight[tap] * *pixel++;
      out(row, col) = sum;
    }
  }
}

}  // namespace probewise
