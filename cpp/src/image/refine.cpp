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

constexpr double reach_widths = 3;          // half-side of a window: 1 % of the peak beyond
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

/// What a fit writes to: the image, its weights, a field of the model, the model's tables. A thread keeps it for its
/// next fit, as fresh pages cost a quarter of the time of one.
struct Memory {
  Field data, weight, field;
  ColumnModel::Tables tables;
};
constexpr std::ptrdiff_t most_kept = 1 << 20;  // pixels of a frame whose memory is kept

class Fit {
 public:
  Fit(Image2d<const float> image, std::span<const double> yx, const AtomProfile& profile, double spacing,
      const NoiseModel& noise, double limit, Memory& memory)
      : start_(yx.begin(), yx.end()),
        noise_(noise),
        limit_(limit),
        width_(profile.width_px),
        model_(image.rows, image.cols, yx,
               std::max<std::ptrdiff_t>(2, static_cast<std::ptrdiff_t>(std::ceil(reach_widths * width_))),
               node_spacings * (spacing > 0 ? spacing : static_cast<double>(image.rows + image.cols)), memory.tables),
        point_(model_.coefficients(), profile.background),
        moving_(model_.atoms(), 1),
        data_(memory.data),
        weight_(memory.weight),
        field_(memory.field),
        inverse_(6 * model_.atoms()),
        blocks_(inverse_.size()) {
    const std::size_t n = model_.atoms();
    model_.lay_out(image, data_);
    weight_.resize(data_.size());
    field_.resize(data_.size());
    const auto pixels = static_cast<std::size_t>(image.rows * image.cols);
    const double mean = pixel_table().moments(image.data, pixels).plain / static_cast<double>(pixels);
    least_ = least_variance * std::max(noise.constant + noise.slope * mean, 1e-30);
    const auto half = static_cast<std::ptrdiff_t>(std::lround(0.7 * width_));
    double above = 0;
    for (std::size_t i = 0; i < n; ++i) {
      point_[i] = box_mean(image, yx[2 * i], yx[2 * i + 1], half) - profile.background;
      point_[n + i] = yx[2 * i];
      point_[2 * n + i] = yx[2 * i + 1];
      above += point_[i] / static_cast<double>(n);
    }
    // Neighbours reach into the boxes: the mean amplitude is that of the profile.
    const double share = above > 0 && profile.amplitude > 0 ? profile.amplitude / above : 1.0;
    for (std::size_t i = 0; i < n; ++i) point_[i] *= share;
    point_.back() = width_;
  }

  RefinedAtoms run() {
    for (int round = 0; round < most_rounds; ++round) {
      const double move = advance();
      if (move <= std::max(converged_errors * expected_error(), converged_widths * width_)) break;
    }
    const std::size_t n = model_.atoms();
    RefinedAtoms found;
    found.amplitude.assign(point_.begin(), point_.begin() + static_cast<std::ptrdiff_t>(n));
    found.yx.reserve(2 * n);
    found.amplitude_error.reserve(n);
    found.background.reserve(n);
    for (std::size_t i = 0; i < n; ++i) {
      const double y = point_[n + i], x = point_[2 * n + i];
      found.yx.insert(found.yx.end(), {y, x});
      found.amplitude_error.push_back(std::sqrt(std::max(0.0, inverse_[i])));
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
    model_.place(point_, moving_);
    std::vector<float> values(point_.begin(), point_.end());
    std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(model_.atoms()), 2 * model_.atoms(), 0.0f);
    values.back() = 0;
    model_.forward(values, field_);
    refine_table().weigh(data_.data(), data_.size(), static_cast<float>(noise_.constant),
                         static_cast<float>(noise_.slope), static_cast<float>(least_), field_.data(), weight_.data());
    model_.backward(field_, nullptr, values);
    prepare();
    return take(solve(std::move(values)));
  }

  /// The preconditioner: the inverse block of each atom, the diagonal of the background and of the width, which
  /// hardly change from round to round.
  void prepare() {
    if (diagonal_.empty()) {
      std::vector<float> unit(point_.size(), 0.0f);
      unit.back() = 1;
      model_.forward(unit, field_);
      diagonal_.assign(point_.size(), 0.0f);
      model_.background_backward(weight_, nullptr, diagonal_);  // an upper bound: the shares of a pixel add up to 1
      diagonal_.back() =
          static_cast<float>(refine_table().energy(field_.data(), weight_.data(), model_.rows(), model_.stride()));
    }
    model_.blocks(weight_, inverse_);
    refine_table().invert(model_.atoms(), inverse_.data());
    std::transform(inverse_.begin(), inverse_.end(), blocks_.begin(), [](double v) { return static_cast<float>(v); });
  }

  /// Rms error of y and x by the blocks alone, after `prepare`.
  double expected_error() const {
    const std::size_t n = model_.atoms();
    double sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += inverse_[3 * n + i] + inverse_[5 * n + i];
    return std::sqrt(sum / static_cast<double>(n));
  }

  void precondition(const std::vector<float>& from, std::vector<float>& to) const {
    refine_table().precondition(blocks_.data(), model_.atoms(), from.data(), to.data());
    for (std::size_t i = 3 * model_.atoms(); i < from.size(); ++i)
      to[i] = diagonal_[i] > 0 ? from[i] / diagonal_[i] : 0;
  }

  /// Preconditioned conjugate gradients for (derivatives^T weight derivatives) step = gradient.
  std::vector<float> solve(std::vector<float> residual) {
    const RefineTable& table = refine_table();
    const PixelTable& pixels = pixel_table();
    const std::size_t count = residual.size();
    std::vector<float> step(count, 0.0f), z(count), product(count);
    precondition(residual, z);
    std::vector<float> direction = z;
    double size = pixels.dot(residual.data(), z.data(), count);
    const double enough = std::max(solved * solved * size, settled * static_cast<double>(count));
    for (int iteration = 0; iteration < most_iterations && size > enough; ++iteration) {
      model_.forward(direction, field_);
      model_.backward(field_, weight_.data(), product);
      const double curvature = pixels.dot(direction.data(), product.data(), count);
      if (!(curvature > 0)) break;
      const auto length = static_cast<float>(size / curvature);
      table.add(length, direction.data(), count, step.data());
      table.add(-length, product.data(), count, residual.data());
      precondition(residual, z);
      const double next = pixels.dot(residual.data(), z.data(), count);
      table.turn(static_cast<float>(next / size), z.data(), count, direction.data());
      size = next;
    }
    return step;
  }

  /// Applies a step within its limits; an atom that leaves its own goes back to its start and stays there.
  double take(const std::vector<float>& step) {
    const std::size_t n = model_.atoms();
    double moves = 0;
    for (std::size_t i = 0; i < n; ++i) {
      point_[i] += static_cast<double>(step[i]);
      const double dy = static_cast<double>(step[n + i]), dx = static_cast<double>(step[2 * n + i]);
      const double length = std::sqrt(dy * dy + dx * dx);
      const double share = length > largest_step_widths * width_ ? largest_step_widths * width_ / length : 1.0;
      double &y = point_[n + i], &x = point_[2 * n + i];
      y += share * dy;
      x += share * dx;
      const double y_off = y - start_[2 * i], x_off = x - start_[2 * i + 1];
      if (moving_[i] && !(std::sqrt(y_off * y_off + x_off * x_off) <= limit_ && point_[i] > 0)) {
        moving_[i] = 0;
        y = start_[2 * i];
        x = start_[2 * i + 1];
      }
      moves += share * share * length * length;
    }
    for (std::size_t i = 3 * n; i + 1 < step.size(); ++i) point_[i] += static_cast<double>(step[i]);
    const double wider = std::clamp(static_cast<double>(step.back()), -0.2 * width_, 0.2 * width_);
    point_.back() = std::clamp(point_.back() + wider, 0.7 * width_, 1.5 * width_);
    return std::sqrt(moves / static_cast<double>(n));
  }

  Vector start_;
  NoiseModel noise_;
  double limit_, width_, least_ = 0;
  ColumnModel model_;
  Vector point_;
  std::vector<std::uint8_t> moving_;
  Field &data_, &weight_, &field_;
  Vector inverse_;                        // of the blocks, (6, atoms)
  std::vector<float> blocks_, diagonal_;  // the same for the preconditioner, and what it has of nodes and width
};

/// Fits the image, averaged down where its columns are wide.
RefinedAtoms fit(Image2d<const float> image, std::span<const double> yx, AtomProfile profile, double spacing,
                 const NoiseModel& noise, double limit, double least_width_px, Memory& memory) {
  const auto factor = static_cast<std::ptrdiff_t>(profile.width_px / least_width_px);
  if (factor < 2) return Fit(image, yx, profile, spacing, noise, limit, memory).run();
  const std::ptrdiff_t rows = image.rows / factor, cols = image.cols / factor;
  std::vector<float> means(static_cast<std::size_t>(rows * cols));
  resample(image, {means.data(), rows, cols, cols});
  const std::array scale{static_cast<double>(image.rows) / static_cast<double>(rows),
                         static_cast<double>(image.cols) / static_cast<double>(cols)};
  const double pixels = scale[0] * scale[1], mean_scale = std::sqrt(pixels);
  Vector coarse(yx.begin(), yx.end());
  for (std::size_t i = 0; i < coarse.size(); ++i) coarse[i] = (yx[i] + 0.5) / scale[i % 2] - 0.5;
  profile.width_px /= mean_scale;
  const NoiseModel coarse_noise{noise.constant / pixels, noise.slope / pixels};
  RefinedAtoms found = Fit({means.data(), rows, cols, cols}, coarse, profile, spacing / mean_scale, coarse_noise,
                           limit / std::max(scale[0], scale[1]), memory)
                           .run();
  for (std::size_t i = 0; i < coarse.size(); ++i) {
    found.yx[i] = found.fitted[i / 2] ? (found.yx[i] + 0.5) * scale[i % 2] - 0.5 : yx[i];
  }
  found.width_px *= mean_scale;
  found.limit_px = limit;
  return found;
}

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

  static thread_local Memory memory;
  Memory once;
  Memory& taken = image.rows * image.cols > most_kept ? once : memory;
  return fit(image, yx, profile, spacing, settings.noise, limit, settings.least_width_px, taken);
}

}  // namespace probewise
