// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/refine.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <string>

#include "image/atom_profile.hpp"
#include "image/column_model.hpp"
#include "image/pixel_table.hpp"
#include "image/refine_table.hpp"
#include "probewise/image/resample.hpp"

namespace probewise {

namespace {

constexpr double reach_widths = 3;  // half-side of a window: 1 % of the peak beyond
constexpr double fitted_width =
    1.5;  // pixels are averaged down to it at most: 4 % of the precision for most of the time
constexpr double limit_spacings = 1.0 / 3;  // farthest move
constexpr double node_spacings = 4;         // between nodes of the background, in distances between atoms
constexpr double least_variance = 0.02;     // of the mean variance: a pixel without counts is not known exactly
constexpr int most_rounds = 8, most_iterations = 12;
constexpr double solved = 0.1;             // relative residual of a step, in the norm of the preconditioner
constexpr double settled = 0.02;           // or squared error per unknown, in squared errors that the noise leaves
constexpr double converged_errors = 0.5;   // rms move of the last round, in rms errors that the noise leaves
constexpr double converged_widths = 0.01;  // or in widths, where there is hardly any noise
constexpr double largest_step_widths = 0.5;

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

class Fit {
 public:
  Fit(Image2d<const float> image, std::span<const double> yx, const AtomProfile& profile, double spacing,
      const NoiseModel& noise, double limit)
      : start_(yx.begin(), yx.end()),
        noise_(noise),
        limit_(limit),
        width_(profile.width_px),
        model_(image.rows, image.cols, yx,
               std::max<std::ptrdiff_t>(2, static_cast<std::ptrdiff_t>(std::ceil(reach_widths * width_))),
               node_spacings * (spacing > 0 ? spacing : static_cast<double>(image.rows + image.cols))),
        point_(model_.coefficients(), profile.background),
        moving_(model_.atoms(), 1),
        data_(model_.support().size(), 0.0f),
        weight_(data_.size()),
        field_(data_.size()),
        inverse_(6 * model_.atoms()) {
    double total = 0;
    for (std::size_t row = 0; row < model_.rows(); ++row) {
      const float* from = &image(static_cast<std::ptrdiff_t>(row), 0);
      std::copy_n(from, image.cols, data_.data() + row * model_.stride() + model_.margin());
      for (std::ptrdiff_t col = 0; col < image.cols; ++col) total += static_cast<double>(from[col]);
    }
    const double mean = total / static_cast<double>(image.rows * image.cols);
    least_ = least_variance * std::max(noise.constant + noise.slope * mean, 1e-30);
    const auto half = static_cast<std::ptrdiff_t>(std::lround(0.7 * width_));
    double above = 0;
    for (std::size_t i = 0; i < model_.atoms(); ++i) {
      point_[3 * i] = box_mean(image, yx[2 * i], yx[2 * i + 1], half) - profile.background;
      point_[3 * i + 1] = yx[2 * i];
      point_[3 * i + 2] = yx[2 * i + 1];
      above += point_[3 * i] / static_cast<double>(model_.atoms());
    }
    // Neighbours reach into the boxes: the mean amplitude is that of the profile.
    const double share = above > 0 && profile.amplitude > 0 ? profile.amplitude / above : 1.0;
    for (std::size_t i = 0; i < model_.atoms(); ++i) point_[3 * i] *= share;
    point_.back() = width_;
  }

  RefinedAtoms run() {
    for (int round = 0; round < most_rounds; ++round) {
      const double move = advance();
      if (move <= std::max(converged_errors * expected_error(), converged_widths * width_)) break;
    }
    RefinedAtoms found;
    for (std::size_t i = 0; i < model_.atoms(); ++i) {
      const double y = point_[3 * i + 1], x = point_[3 * i + 2];
      found.yx.insert(found.yx.end(), {y, x});
      found.amplitude.push_back(point_[3 * i]);
      found.amplitude_error.push_back(std::sqrt(std::max(0.0, inverse_[6 * i])));
      found.background.push_back(model_.background(point_, y, x));
    }
    found.fitted = moving_;
    found.width_px = point_.back();
    found.limit_px = limit_;
    return found;
  }

 private:
  static double box_mean(Image2d<const float> image, double y, double x, std::ptrdiff_t half) {
    const auto row = static_cast<std::ptrdiff_t>(std::lround(y)), col = static_cast<std::ptrdiff_t>(std::lround(x));
    double sum = 0, count = 0;
    for (std::ptrdiff_t r = std::max<std::ptrdiff_t>(0, row - half); r <= std::min(image.rows - 1, row + half); ++r) {
      for (std::ptrdiff_t c = std::max<std::ptrdiff_t>(0, col - half); c <= std::min(image.cols - 1, col + half); ++c) {
        sum += static_cast<double>(image(r, c));
        count += 1;
      }
    }
    return sum / std::max(count, 1.0);
  }

  /// One round; returns the rms move of the atoms.
  double advance() {
    const RefineTable& table = refine_table();
    model_.place(point_, moving_);
    Vector values = point_;
    for (std::size_t i = 0; i < model_.atoms(); ++i) values[3 * i + 1] = values[3 * i + 2] = 0;
    values.back() = 0;
    model_.forward(values, field_);
    table.weigh(data_.data(), model_.support().data(), data_.size(), static_cast<float>(noise_.constant),
                static_cast<float>(noise_.slope), static_cast<float>(least_), field_.data(), weight_.data());
    Vector gradient(point_.size());
    model_.backward(field_, gradient);
    prepare();
    return take(solve(gradient));
  }

  /// The preconditioner: the inverse block of each atom, the diagonal of the background and of the width, which
  /// hardly change from round to round.
  void prepare() {
    if (diagonal_.empty()) {
      Vector unit(point_.size(), 0.0);
      diagonal_.assign(point_.size(), 0.0);
      unit.back() = 1;
      model_.forward(unit, field_);
      for (std::size_t i = 0; i < field_.size(); i += model_.stride()) {
        diagonal_.back() += static_cast<double>(refine_table().energy(&field_[i], &weight_[i], model_.stride()));
      }
      model_.background_backward(weight_, diagonal_);  // an upper bound: the shares of a pixel add up to 1
    }
    model_.blocks(weight_, inverse_);
    for (std::size_t i = 0; i < model_.atoms(); ++i) invert(std::span(inverse_).subspan(6 * i).first<6>());
  }

  /// Rms error of y and x by the blocks alone, after `prepare`.
  double expected_error() const {
    double sum = 0;
    for (std::size_t i = 0; i < inverse_.size(); i += 6) sum += inverse_[i + 3] + inverse_[i + 5];
    return std::sqrt(sum / static_cast<double>(model_.atoms()));
  }

  static void invert(std::span<double, 6> m) {
    const auto [a, b, c, d, e, f] = std::array{m[0], m[1], m[2], m[3], m[4], m[5]};
    const double first = d * f - e * e, second = c * e - b * f, third = b * e - c * d;
    const double determinant = a * first + b * second + c * third;
    if (determinant > 1e-6 * a * d * f) {
      const std::array inverse{first, second, third, a * f - c * c, b * c - a * e, a * d - b * b};
      std::transform(inverse.begin(), inverse.end(), m.begin(), [&](double value) { return value / determinant; });
    } else {  // the position is held, or nothing tells it
      std::fill(m.begin(), m.end(), 0.0);
      m[0] = a > 0 ? 1 / a : 0;
    }
  }

  void precondition(const Vector& from, Vector& to) const {
    for (std::size_t i = 0; i < model_.atoms(); ++i) {
      const double* m = inverse_.data() + 6 * i;
      const double* v = from.data() + 3 * i;
      to[3 * i] = m[0] * v[0] + m[1] * v[1] + m[2] * v[2];
      to[3 * i + 1] = m[1] * v[0] + m[3] * v[1] + m[4] * v[2];
      to[3 * i + 2] = m[2] * v[0] + m[4] * v[1] + m[5] * v[2];
    }
    for (std::size_t i = 3 * model_.atoms(); i < from.size(); ++i)
      to[i] = diagonal_[i] > 0 ? from[i] / diagonal_[i] : 0;
  }

  /// Preconditioned conjugate gradients for (derivatives^T weight derivatives) step = gradient.
  Vector solve(Vector residual) {
    Vector step(residual.size(), 0.0), z(residual.size()), product(residual.size());
    precondition(residual, z);
    Vector direction = z;
    double size = dot(residual, z);
    const double enough = std::max(solved * solved * size, settled * static_cast<double>(step.size()));
    for (int iteration = 0; iteration < most_iterations && size > enough; ++iteration) {
      model_.forward(direction, field_);
      refine_table().scale(field_.data(), weight_.data(), field_.size());
      model_.backward(field_, product);
      const double curvature = dot(direction, product);
      if (!(curvature > 0)) break;
      const double length = size / curvature;
      for (std::size_t i = 0; i < step.size(); ++i) {
        step[i] += length * direction[i];
        residual[i] -= length * product[i];
      }
      precondition(residual, z);
      const double next = dot(residual, z);
      for (std::size_t i = 0; i < step.size(); ++i) direction[i] = z[i] + next / size * direction[i];
      size = next;
    }
    return step;
  }

  /// Applies a step within its limits; an atom that leaves its own goes back to its start and stays there.
  double take(const Vector& step) {
    double moves = 0;
    for (std::size_t i = 0; i < model_.atoms(); ++i) {
      double* atom = point_.data() + 3 * i;
      atom[0] += step[3 * i];
      const double length = std::sqrt(step[3 * i + 1] * step[3 * i + 1] + step[3 * i + 2] * step[3 * i + 2]);
      const double share = length > largest_step_widths * width_ ? largest_step_widths * width_ / length : 1.0;
      atom[1] += share * step[3 * i + 1];
      atom[2] += share * step[3 * i + 2];
      const double moved = std::hypot(atom[1] - start_[2 * i], atom[2] - start_[2 * i + 1]);
      if (moving_[i] && !(moved <= limit_ && atom[0] > 0)) {
        moving_[i] = 0;
        atom[1] = start_[2 * i];
        atom[2] = start_[2 * i + 1];
      }
      moves += share * share * length * length;
    }
    for (std::size_t i = 3 * model_.atoms(); i + 1 < step.size(); ++i) point_[i] += step[i];
    point_.back() =
        std::clamp(point_.back() + std::clamp(step.back(), -0.2 * width_, 0.2 * width_), 0.7 * width_, 1.5 * width_);
    return std::sqrt(moves / static_cast<double>(model_.atoms()));
  }

  Vector start_;
  NoiseModel noise_;
  double limit_, width_, least_ = 0;
  ColumnModel model_;
  Vector point_;
  std::vector<std::uint8_t> moving_;
  std::vector<float> data_, weight_, field_;
  Vector inverse_, diagonal_;
};

}  // namespace

RefinedAtoms refine_atoms(Image2d<const float> image, std::span<const double> yx, const RefineSettings& settings) {
  if (image.rows < 3 || image.cols < 3) throw std::invalid_argument("image is smaller than 3 x 3 pixels");
  if (!pixel_table().range(image.data, static_cast<std::size_t>(image.rows * image.cols)).finite) {
    throw std::invalid_argument("image holds values that are not finite, expected none");
  }
  for (std::size_t i = 0; i < yx.size(); ++i) {
    const auto length = static_cast<double>(i % 2 == 0 ? image.rows : image.cols);
    if (yx[i] >= -0.5 && yx[i] <= length - 0.5) continue;
    throw std::invalid_argument("yx holds " + std::to_string(yx[i]) + " at row " + std::to_string(i / 2) +
                                ", expected a point inside the image");
  }
  if (yx.empty()) return {};
  const double spacing = median_spacing(yx);
  const double side = static_cast<double>(std::min(image.rows, image.cols));
  const double reach = settings.width_px > 0 ? 3 * settings.width_px
                       : spacing > 0         ? 0.6 * spacing
                                             : std::min(24.0, side / 3);
  AtomProfile profile = atom_profile(image, yx, std::max(2.0, reach));
  if (settings.width_px > 0) profile.width_px = settings.width_px;
  profile.width_px = std::max(profile.width_px, 0.5);
  const double limit = settings.limit_px > 0 ? settings.limit_px
                       : spacing > 0         ? limit_spacings * spacing
                                             : profile.width_px;

  const auto factor = static_cast<std::ptrdiff_t>(profile.width_px / fitted_width);
  if (factor < 2) return Fit(image, yx, profile, spacing, settings.noise, limit).run();
  const std::ptrdiff_t rows = image.rows / factor, cols = image.cols / factor;
  std::vector<float> means(static_cast<std::size_t>(rows * cols));
  resample(image, {means.data(), rows, cols, cols});
  const std::array scale{static_cast<double>(image.rows) / static_cast<double>(rows),
                         static_cast<double>(image.cols) / static_cast<double>(cols)};
  const double pixels = scale[0] * scale[1], mean_scale = std::sqrt(pixels);
  Vector coarse(yx.begin(), yx.end());
  for (std::size_t i = 0; i < coarse.size(); ++i) coarse[i] = (yx[i] + 0.5) / scale[i % 2] - 0.5;
  profile.width_px /= mean_scale;
  const NoiseModel noise{settings.noise.constant / pixels, settings.noise.slope / pixels};
  RefinedAtoms found = Fit({means.data(), rows, cols, cols}, coarse, profile, spacing / mean_scale, noise,
                           limit / std::max(scale[0], scale[1]))
                           .run();
  for (std::size_t i = 0; i < coarse.size(); ++i) {
    found.yx[i] = found.fitted[i / 2] ? (found.yx[i] + 0.5) * scale[i % 2] - 0.5 : yx[i];
  }
  found.width_px *= mean_scale;
  found.limit_px = limit;
  return found;
}

}  // namespace probewise
