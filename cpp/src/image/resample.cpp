// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/resample.hpp"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "image/pixel_table.hpp"

namespace probewise {

namespace {

/// The pixels that make up each new pixel of an axis: weight[offset[i]..offset[i + 1]) from pixel first[i] on; at most
/// `most` of them.
struct Taps {
  std::vector<std::ptrdiff_t> first;
  std::vector<std::size_t> offset{0};
  std::vector<float> weight;
  std::size_t most = 1;
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
    found.most = std::max(found.most, found.weight.size() - *(found.offset.end() - 2));
  }
  return found;
}

/// The same number of weights for each new pixel, those that it lacks 0.
std::vector<float> padded(const Taps& taps) {
  std::vector<float> weight(taps.first.size() * taps.most, 0.0f);
  for (std::size_t i = 0; i < taps.first.size(); ++i) {
    for (std::size_t tap = taps.offset[i]; tap < taps.offset[i + 1]; ++tap) {
      weight[i * taps.most + tap - taps.offset[i]] = taps.weight[tap];
    }
  }
  return weight;
}

template <std::size_t most>
void mix(const float* line, std::span<const std::ptrdiff_t> first, const float* weight, float* out) {
  for (std::size_t col = 0; col < first.size(); ++col, weight += most) {
    const float* const pixel = line + first[col];
    float sum = 0;
    for (std::size_t tap = 0; tap < most; ++tap) sum += weight[tap] * pixel[tap];
    out[col] = sum;
  }
}

void mix(const float* line, std::span<const std::ptrdiff_t> first, std::size_t most, const float* weight, float* out) {
  for (std::size_t col = 0; col < first.size(); ++col, weight += most) {
    const float* const pixel = line + first[col];
    float sum = 0;
    for (std::size_t tap = 0; tap < most; ++tap) sum += weight[tap] * pixel[tap];
    out[col] = sum;
  }
}

}  // namespace

void resample(Image2d<const float> image, Image2d<float> out) {
  const PixelTable& table = pixel_table();
  const Taps down = taps(image.rows, out.rows), across = taps(image.cols, out.cols);
  const std::vector<float> weight = padded(across);
  const auto cols = static_cast<std::size_t>(image.cols);
  std::vector<float> line(cols + across.most, 0.0f);
  for (std::ptrdiff_t row = 0; row < out.rows; ++row) {
    const auto r = static_cast<std::size_t>(row);
    std::fill_n(line.begin(), cols, 0.0f);
    std::ptrdiff_t source = down.first[r];
    for (std::size_t tap = down.offset[r]; tap < down.offset[r + 1]; ++tap, ++source) {
      table.add(&image(source, 0), cols, down.weight[tap], line.data());
    }
    // The taps of most frames are two or three: without a loop of unknown length a pixel takes half as long.
    if (across.most == 2) {
      mix<2>(line.data(), across.first, weight.data(), &out(row, 0));
    } else if (across.most == 3) {
      mix<3>(line.data(), across.first, weight.data(), &out(row, 0));
    } else {
      mix(line.data(), across.first, across.most, weight.data(), &out(row, 0));
    }
  }
}

}  // namespace probewise
