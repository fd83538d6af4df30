// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/image/column_test.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace probewise {

namespace {

constexpr std::size_t least_columns = 30;  // for a median and a scatter
constexpr double columns_in_cell = 8;      // the median is over three by three cells
constexpr double rim_widths = 3;           // half-side of a column's window: nearer to the edge it is cut
constexpr double ratio_spread = 0.06;      // of what is left of a column, in whole columns: windows, tails, focus
constexpr double stray = 0.03, stray_widths = 3;  // columns that scatter more than the rest: share, how much more
constexpr double least_dopant = 2, most_dopant = 8;
// Chosen on simulated monolayers for at most one false defect in 1,000 atoms:
constexpr double lost_rate = 0.07, dopant_rate = 0.03;  // a priori, for each number of atoms that may be missing
constexpr double least_share = 1e-3;                    // a network is not surer than this
constexpr double least_share_of_variance = 0.25;        // that a weaker column keeps

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double normal(double distance, double variance) {
  return std::exp(-0.5 * distance * distance / variance) / std::sqrt(2 * std::numbers::pi * variance);
}

/// Chance that a normal deviate of standard deviation 1 is below z.
double below(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

/// The columns of one host class, with its vacancies and dopants.
class Sublattice {
 public:
  Sublattice(const FittedColumns& columns, const HostClass& host, std::vector<std::size_t> members,
             std::span<const std::int64_t> label)
      : columns_(columns), host_(host), members_(std::move(members)), level_(members_.size()) {
    for (std::size_t k = 0; k < members_.size(); ++k) {
      if (label[members_[k]] == host.label) whole_.push_back(k);
    }
    if (whole_.size() < least_columns) return;
    find_levels();
    std::vector<double> scatter;
    scatter.reserve(whole_.size());
    for (const std::size_t k : whole_) scatter.push_back(std::abs(amplitude(k) - level_[k]) / error(k));
    excess_ = std::max(1.0, median(scatter) / 0.6745);  // median of |z| of a normal deviate
  }

  bool known() const { return excess_ > 0; }
  const std::vector<std::size_t>& members() const { return members_; }

  /// What whole columns about column k have; nothing can be said of it unless that is positive.
  double level(std::size_t k) const { return level_[k]; }

  double host(std::size_t k) const {
    const double whole = level_[k], off = bounded(k) - whole, own = variance(k, whole);
    const double far = off * off / (2 * stray_widths * stray_widths * own);
    return ((1 - stray) * std::exp(-stray_widths * stray_widths * far) + stray / stray_widths * std::exp(-far)) /
           std::sqrt(2 * std::numbers::pi * own);
  }

  /// Summed over the numbers of atoms left.
  double vacancy(std::size_t k) const {
    const double whole = level_[k], spread = ratio_spread * whole;
    double sum = 0;
    for (int left = 0; left < host_.atoms; ++left) {
      const double height = whole * left / host_.atoms;
      sum += normal(bounded(k) - height, variance(k, height) + spread * spread);
    }
    return sum;
  }

  /// At least what `vacancy` is.
  double most_vacancy(std::size_t k) const {
    const double spread = ratio_spread * level_[k];
    return host_.atoms * normal(0, excess_ * excess_ * least_share_of_variance * error(k) * error(k) + spread * spread);
  }

  double dopant(std::size_t k) const {
    const double whole = level_[k], a = bounded(k), deviation = std::sqrt(variance(k, a));
    return most_of_dopants(k) *
           (below((a - least_dopant * whole) / deviation) - below((a - most_dopant * whole) / deviation));
  }

  /// At least what `dopant` is.
  double most_of_dopants(std::size_t k) const { return 1 / ((most_dopant - least_dopant) * level_[k]); }

 private:
  double amplitude(std::size_t k) const { return columns_.amplitude[members_[k]]; }
  double bounded(std::size_t k) const { return std::clamp(amplitude(k), 0.0, most_dopant * level_[k]); }
  double error(std::size_t k) const { return columns_.error[members_[k]]; }

  /// Of the fitted amplitude, were the column's own `level`.
  double variance(std::size_t k, double level) const {
    const double now = error(k) * error(k);
    return excess_ * excess_ * std::max(now + columns_.growth * (level - amplitude(k)), least_share_of_variance * now);
  }

  /// level_[k] = median amplitude of the whole columns in the three by three cells about column k.
  void find_levels() {
    double low[2], high[2];
    for (std::size_t axis = 0; axis < 2; ++axis) {
      low[axis] = high[axis] = columns_.yx[2 * members_[0] + axis];
      for (const std::size_t i : members_) {
        low[axis] = std::min(low[axis], columns_.yx[2 * i + axis]);
        high[axis] = std::max(high[axis], columns_.yx[2 * i + axis]);
      }
    }
    const double area = (high[0] - low[0]) * (high[1] - low[1]);
    const double side = std::max(1.0, std::sqrt(area * columns_in_cell / static_cast<double>(whole_.size())));
    const auto rows = static_cast<std::size_t>((high[0] - low[0]) / side) + 1;
    const auto cols = static_cast<std::size_t>((high[1] - low[1]) / side) + 1;
    const auto cell = [&](std::size_t k) {
      const std::size_t i = members_[k];
      return std::pair(static_cast<std::size_t>((columns_.yx[2 * i] - low[0]) / side),
                       static_cast<std::size_t>((columns_.yx[2 * i + 1] - low[1]) / side));
    };
    std::vector<std::size_t> own(whole_.size()), start(rows * cols + 1, 0);  // cell of each, first place of each cell
    for (std::size_t i = 0; i < whole_.size(); ++i) {
      const auto [row, col] = cell(whole_[i]);
      own[i] = row * cols + col;
      ++start[own[i] + 1];
    }
    for (std::size_t c = 1; c < start.size(); ++c) start[c] += start[c - 1];
    std::vector<double> heights(whole_.size());  // cell after cell
    std::vector<std::size_t> next(start.begin(), start.end() - 1);
    for (std::size_t i = 0; i < whole_.size(); ++i) heights[next[own[i]]++] = amplitude(whole_[i]);
    std::vector<double> some = heights;
    const double overall = median(some);
    std::vector<double> middle(rows * cols);
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t col = 0; col < cols; ++col) {
        some.clear();
        for (std::size_t r = row - std::min<std::size_t>(row, 1); r <= std::min(rows - 1, row + 1); ++r) {
          const std::size_t left = col - std::min<std::size_t>(col, 1), right = std::min(cols - 1, col + 1);
          some.insert(some.end(), heights.begin() + static_cast<std::ptrdiff_t>(start[r * cols + left]),
                      heights.begin() + static_cast<std::ptrdiff_t>(start[r * cols + right + 1]));
        }
        middle[row * cols + col] = some.size() < least_columns ? overall : median(some);
      }
    }
    for (std::size_t k = 0; k < members_.size(); ++k) {
      const auto [row, col] = cell(k);
      level_[k] = middle[row * cols + col];
    }
  }

  const FittedColumns& columns_;
  HostClass host_;
  std::vector<std::size_t> members_, whole_;
  std::vector<double> level_;
  double excess_ = 0;
};

}  // namespace

void judge_columns(const FittedColumns& columns, std::span<const double> share, const ColumnClasses& classes,
                   std::span<std::int64_t> label) {
  if (label.empty() || classes.hosts.empty()) return;
  const std::size_t count = label.size(), width = share.size() / count;
  std::vector<std::vector<std::size_t>> members(classes.hosts.size());
  const double rim = rim_widths * columns.width_px;
  for (std::size_t i = 0; i < count; ++i) {
    const double y = columns.yx[2 * i], x = columns.yx[2 * i + 1];
    if (!(y >= rim && x >= rim && y <= static_cast<double>(columns.rows - 1) - rim &&
          x <= static_cast<double>(columns.cols - 1) - rim && columns.error[i] > 0)) {
      continue;
    }
    const bool defect = label[i] >= 0 && (label[i] == classes.vacancy || label[i] == classes.dopant);
    std::size_t best = classes.hosts.size();
    double most = -1;
    for (std::size_t h = 0; h < classes.hosts.size(); ++h) {
      const auto own = classes.hosts[h].label;
      const double here = share[i * width + static_cast<std::size_t>(own)];
      if (label[i] == own || (defect && here > most)) {
        best = h;
        most = here;
      }
    }
    if (best < members.size()) members[best].push_back(i);
  }
  for (std::size_t h = 0; h < members.size(); ++h) {
    if (members[h].empty()) continue;
    const Sublattice lattice(columns, classes.hosts[h], std::move(members[h]), label);
    if (!lattice.known()) continue;
    const std::int64_t kinds[3]{classes.hosts[h].label, classes.vacancy, classes.dopant};
    const double rates[3]{1 - lost_rate - dopant_rate, lost_rate, dopant_rate};
    for (std::size_t k = 0; k < lattice.members().size(); ++k) {
      const std::size_t i = lattice.members()[k];
      if (!(lattice.level(k) > 0)) continue;
      double prior[3], sum = 0, best = 0;
      for (std::size_t c = 0; c < 3; ++c) {
        prior[c] = kinds[c] < 0 ? 0 : share[i * width + static_cast<std::size_t>(kinds[c])];
        sum += prior[c];
      }
      const double unit = sum > 0 ? 1 / sum : 0;
      // Most columns are so surely whole that what a defect's likelihood is at most decides.
      const auto weigh = [&](std::size_t c, double most, auto likelihood) {
        const double known = prior[c] * unit + least_share;
        if (kinds[c] < 0 || rates[c] * most * std::max(1.0, known) <= best) return;
        const double posterior = rates[c] * std::sqrt(known * std::sqrt(known)) * likelihood();
        if (posterior <= best) return;
        best = posterior;
        label[i] = kinds[c];
      };
      weigh(0, std::numeric_limits<double>::infinity(), [&] { return lattice.host(k); });
      weigh(1, lattice.most_vacancy(k), [&] { return lattice.vacancy(k); });
      weigh(2, lattice.most_of_dopants(k), [&] { return lattice.dopant(k); });
    }
  }
}

}  // namespace probewise
