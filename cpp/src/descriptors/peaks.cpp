// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <numbers>
#include <vector>

#include "descriptors/spectra_loops.hpp"
#include "probewise/descriptors/spectra.hpp"

namespace probewise::descriptors {

namespace {

using Complex = std::complex<double>;

/// Sums of u(y, x) y^p x^q exp(-2 pi i g.r) over a window, coordinates in half sides from the window's centre.
struct Moments {
  Complex s, sy, sx, syy, sxx, sxy;
};

class WindowTransform {
 public:
  explicit WindowTransform(std::size_t side) : side_(side), table_(6 * side), rows_(6 * side) {}

  Moments at(const float* window, double gy, double gx) {
    for (std::size_t j = 0; j < side_; ++j) {
      const double x = place(j), angle = -2 * std::numbers::pi * gx * static_cast<double>(j);
      const double c = std::cos(angle), s = std::sin(angle);
      const double terms[6] = {c, s, x * c, x * s, x * x * c, x * x * s};
      for (std::size_t t = 0; t < 6; ++t) table_[t * side_ + j] = static_cast<float>(terms[t]);
    }
    spectra_loops().row_products(window, side_, table_.data(), 6, rows_.data());
    Moments m{};
    for (std::size_t i = 0; i < side_; ++i) {
      const double y = place(i), angle = -2 * std::numbers::pi * gy * static_cast<double>(i);
      const Complex phase(std::cos(angle), std::sin(angle));
      const float* row = rows_.data() + 6 * i;
      const Complex r0 = Complex(static_cast<double>(row[0]), static_cast<double>(row[1])) * phase;
      const Complex r1 = Complex(static_cast<double>(row[2]), static_cast<double>(row[3])) * phase;
      const Complex r2 = Complex(static_cast<double>(row[4]), static_cast<double>(row[5])) * phase;
      m.s += r0;
      m.sy += y * r0;
      m.syy += y * y * r0;
      m.sx += r1;
      m.sxy += y * r1;
      m.sxx += r2;
    }
    return m;
  }

  /// How far the phase of one quarter of the window lies from that of the whole, at most; radians.
  double phase_step(const float* window, double gy, double gx) {
    const std::size_t half = side_ / 2;
    for (std::size_t j = 0; j < side_; ++j) {
      const double angle = -2 * std::numbers::pi * gx * static_cast<double>(j);
      const float c = static_cast<float>(std::cos(angle)), s = static_cast<float>(std::sin(angle));
      const bool left = j < half;
      const float terms[4] = {left ? c : 0.0f, left ? s : 0.0f, left ? 0.0f : c, left ? 0.0f : s};
      for (std::size_t t = 0; t < 4; ++t) table_[t * side_ + j] = terms[t];
    }
    spectra_loops().row_products(window, side_, table_.data(), 4, rows_.data());
    Complex quarter[2][2]{};
    for (std::size_t i = 0; i < side_; ++i) {
      const double angle = -2 * std::numbers::pi * gy * static_cast<double>(i);
      const Complex phase(std::cos(angle), std::sin(angle));
      const float* row = rows_.data() + 4 * i;
      for (std::size_t x = 0; x < 2; ++x)
        quarter[i >= half][x] += Complex(static_cast<double>(row[2 * x]), static_cast<double>(row[2 * x + 1])) * phase;
    }
    const Complex whole = quarter[0][0] + quarter[0][1] + quarter[1][0] + quarter[1][1];
    double most = 0;
    for (const auto& pair : quarter)
      for (const Complex& part : pair) most = std::max(most, std::abs(std::arg(part * std::conj(whole))));
    return most;
  }

  /// Position of pixel i in half sides from the centre: keeps the moments of one size in float.
  double place(std::size_t i) const {
    return (2 * static_cast<double>(i) - static_cast<double>(side_ - 1)) / static_cast<double>(side_);
  }

 private:
  std::size_t side_;
  std::vector<float> table_, rows_;
};

double re(Complex a, Complex b) { return a.real() * b.real() + a.imag() * b.imag(); }

}  // namespace

void refine_peaks(std::span<const float> windows, std::size_t side, double reach, std::span<double> peaks,
                  std::span<double> power, std::span<double> phase_step) {
  const std::size_t count = windows.size() / (side * side), per_window = count ? peaks.size() / (2 * count) : 0;
  const double bin = 1 / static_cast<double>(side);
  // Below a thousandth of a bin the shot noise of any real frame moves the peak more.
  constexpr double close_enough = 1e-4;
  constexpr int most_steps = 12;
  WindowTransform transform(side);
  for (std::size_t n = 0; n < count; ++n) {
    for (std::size_t p = 0; p < per_window; ++p) {
      double* peak = peaks.data() + 2 * (n * per_window + p);
      const double start[2] = {peak[0], peak[1]};
      bool maximum = false;
      double strength = 0;
      for (int step = 0; step < most_steps; ++step) {
        const Moments m = transform.at(windows.data() + n * side * side, peak[0], peak[1]);
        // Derivatives of log |S|^2 by phase per half side, phi = pi g side. The logarithm of a tapered peak is nearly a
        // parabola, so that Newton converges from anywhere in the main lobe.
        strength = std::norm(m.s);
        if (!(strength > 0)) {
          maximum = false;
          break;
        }
        const double jy = 2 * (m.s.real() * m.sy.imag() - m.s.imag() * m.sy.real()) / strength;
        const double jx = 2 * (m.s.real() * m.sx.imag() - m.s.imag() * m.sx.real()) / strength;
        const double jyy = 2 * (std::norm(m.sy) - re(m.s, m.syy)) / strength - jy * jy;
        const double jxx = 2 * (std::norm(m.sx) - re(m.s, m.sxx)) / strength - jx * jx;
        const double jxy = 2 * (re(m.sy, m.sx) - re(m.s, m.sxy)) / strength - jy * jx;
        const double determinant = jyy * jxx - jxy * jxy;
        maximum = jyy < 0 && determinant > 0;
        if (!maximum) break;
        double dy = -(jxx * jy - jxy * jx) / determinant, dx = -(jyy * jx - jxy * jy) / determinant;
        dy /= std::numbers::pi;  // into bins
        dx /= std::numbers::pi;
        const double length = std::hypot(dy, dx);
        const double shorten = length > 0.5 ? 0.5 / length : 1.0;
        peak[0] += dy * shorten * bin;
        peak[1] += dx * shorten * bin;
        maximum = std::hypot(peak[0] - start[0], peak[1] - start[1]) <= reach * bin;
        if (!maximum || length < close_enough) break;
        maximum = step + 1 < most_steps;
      }
      power[n * per_window + p] = maximum ? strength : 0.0;
      if (maximum) {
        phase_step[n * per_window + p] = transform.phase_step(windows.data() + n * side * side, peak[0], peak[1]);
      } else {
        peak[0] = peak[1] = phase_step[n * per_window + p] = std::numeric_limits<double>::quiet_NaN();
      }
    }
  }
}

}  // namespace probewise::descriptors
