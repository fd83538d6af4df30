// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/descriptors/unmixing.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "descriptors/spectra_loops.hpp"

namespace probewise::descriptors {

void project(std::span<const float> spectra, std::span<const double> basis, std::size_t features,
             std::span<double> products, std::span<double> norms) {
  const SpectraLoops& loops = spectra_loops();
  const std::size_t n = norms.size(), k = basis.size() / features;
  for (std::size_t i = 0; i < n; ++i) {
    const float* row = spectra.data() + i * features;
    loops.dots(row, basis.data(), k, features, products.data() + i * k);
    norms[i] = loops.square(row, features);
  }
}

namespace {

/// min a'Ga - 2b'a over a >= 0 (and sum a = 1), one right-hand side at a time; a slope counts as positive
/// above rounding relative to max |G| and max |b|.
class ActiveSet {
 public:
  ActiveSet(std::span<const double> gram, std::size_t k, bool sum_to_one)
      : gram_(gram), k_(k), sum_to_one_(sum_to_one), system_((k + 1) * (k + 2)), trial_(k), free_(k) {
    for (std::size_t i = 0; i < k; ++i) largest_ = std::max(largest_, gram[i * k + i]);
  }

  void solve(const double* b, double* a) {
    std::fill(free_.begin(), free_.end(), std::uint8_t{0});
    std::fill_n(a, k_, 0.0);
    double scale = largest_;
    for (std::size_t i = 0; i < k_; ++i) scale = std::max(scale, std::abs(b[i]));
    const double tolerance = 64 * std::numeric_limits<double>::epsilon() * scale * static_cast<double>(k_);
    if (sum_to_one_) start_at_best_vertex(b, a);
    // Each pass frees one more component and strictly lowers the objective; 3k passes are Lawson and Hanson's limit.
    for (std::size_t pass = 0; pass < 3 * k_ + 3; ++pass) {
      const std::size_t entering = most_violated(b, a, tolerance);
      if (entering == k_) break;
      free_[entering] = 1;
      move_to_minimum(b, a);
    }
    if (sum_to_one_) close_the_sum(a);
  }

 private:
  double slope(const double* b, const double* a, std::size_t i) const {
    double value = b[i];
    for (std::size_t j = 0; j < k_; ++j) value -= gram_[i * k_ + j] * a[j];
    return value;
  }

  void start_at_best_vertex(const double* b, double* a) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < k_; ++i) {
      if (gram_[i * k_ + i] - 2 * b[i] < gram_[best * k_ + best] - 2 * b[best]) best = i;
    }
    a[best] = 1;
    free_[best] = 1;
    multiplier_ = slope(b, a, best);
  }

  std::size_t most_violated(const double* b, const double* a, double tolerance) const {
    std::size_t best = k_;
    double largest = tolerance;
    for (std::size_t i = 0; i < k_; ++i) {
      if (free_[i]) continue;
      const double gain = slope(b, a, i) - (sum_to_one_ ? multiplier_ : 0.0);
      if (gain > largest) {
        largest = gain;
        best = i;
      }
    }
    return best;
  }

  /// Walks from a towards the minimum over the free components, dropping those that reach zero on the way.
  void move_to_minimum(const double* b, double* a) {
    for (std::size_t drops = 0; drops <= k_; ++drops) {
      minimise_over_free(b);
      double fraction = 1;
      std::size_t blocking = k_;
      for (std::size_t i = 0; i < k_; ++i) {
        if (!free_[i] || trial_[i] > 0) continue;
        const double reachable = a[i] > 0 ? a[i] / (a[i] - trial_[i]) : 0.0;
        if (reachable < fraction || blocking == k_) {
          fraction = std::min(fraction, reachable);
          blocking = i;
        }
      }
      for (std::size_t i = 0; i < k_; ++i) {
        a[i] = free_[i] ? std::max(0.0, a[i] + fraction * (trial_[i] - a[i])) : 0.0;
      }
      if (blocking == k_) return;
      a[blocking] = 0;
      free_[blocking] = 0;
    }
  }

  /// trial_ = minimiser over the free components (and multiplier_), by elimination with partial pivoting.
  void minimise_over_free(const double* b) {
    index_.clear();
    for (std::size_t i = 0; i < k_; ++i) {
      trial_[i] = 0;
      if (free_[i]) index_.push_back(i);
    }
    const std::size_t p = index_.size(), m = p + (sum_to_one_ ? 1 : 0), width = m + 1;
    if (p == 0) return;
    double* s = system_.data();
    for (std::size_t r = 0; r < p; ++r) {
      for (std::size_t c = 0; c < p; ++c) s[r * width + c] = gram_[index_[r] * k_ + index_[c]];
      if (sum_to_one_) s[r * width + p] = 1;
      s[r * width + m] = b[index_[r]];
    }
    if (sum_to_one_) {
      for (std::size_t c = 0; c < p; ++c) s[p * width + c] = 1;
      s[p * width + p] = 0;
      s[p * width + m] = 1;
    }
    for (std::size_t c = 0; c < m; ++c) {
      std::size_t pivot = c;
      for (std::size_t r = c + 1; r < m; ++r) {
        if (std::abs(s[r * width + c]) > std::abs(s[pivot * width + c])) pivot = r;
      }
      if (std::abs(s[pivot * width + c]) <= std::numeric_limits<double>::min()) {
        throw std::invalid_argument("basis has linearly dependent rows, expected independent components");
      }
      if (pivot != c) std::swap_ranges(s + c * width, s + c * width + width, s + pivot * width);
      for (std::size_t r = c + 1; r < m; ++r) {
        const double factor = s[r * width + c] / s[c * width + c];
        for (std::size_t j = c; j < width; ++j) s[r * width + j] -= factor * s[c * width + j];
      }
    }
    for (std::size_t r = m; r-- > 0;) {
      double value = s[r * width + m];
      for (std::size_t j = r + 1; j < m; ++j) value -= s[r * width + j] * s[j * width + m];
      s[r * width + m] = value / s[r * width + r];
    }
    for (std::size_t r = 0; r < p; ++r) trial_[index_[r]] = s[r * width + m];
    if (sum_to_one_) multiplier_ = s[p * width + m];
  }

  /// Rounding leaves the sum a few ulp from one; the largest component takes the rest.
  void close_the_sum(double* a) const {
    std::size_t largest = 0;
    double others = 0;
    for (std::size_t i = 1; i < k_; ++i) {
      if (a[i] > a[largest]) largest = i;
    }
    for (std::size_t i = 0; i < k_; ++i) {
      if (i != largest) others += a[i];
    }
    a[largest] = 1 - others;
  }

  std::span<const double> gram_;
  std::size_t k_;
  bool sum_to_one_;
  double largest_ = 0, multiplier_ = 0;
  std::vector<double> system_, trial_;
  std::vector<std::uint8_t> free_;
  std::vector<std::size_t> index_;
};

void check_positive_definite(std::span<const double> gram, std::size_t k) {
  std::vector<double> l(gram.begin(), gram.end());
  for (std::size_t i = 0; i < k; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      double value = gram[i * k + j];
      for (std::size_t m = 0; m < j; ++m) value -= l[i * k + m] * l[j * k + m];
      if (i != j) {
        l[i * k + j] = value / l[j * k + j];
      } else if (value > 1e-12 * gram[i * k + i]) {
        l[i * k + i] = std::sqrt(value);
      } else {
        throw std::invalid_argument("basis row " + std::to_string(i) +
                                    " depends linearly on the rows before it, expected independent components");
      }
    }
  }
}

}  // namespace

void solve_abundances(std::span<const double> gram, std::span<const double> products, Constraint constraint,
                      std::span<double> abundances) {
  const auto k = static_cast<std::size_t>(std::llround(std::sqrt(static_cast<double>(gram.size()))));
  if (k == 0 || k > 64) {
    throw std::invalid_argument("gram is " + std::to_string(k) + " x " + std::to_string(k) +
                                ", expected 1 to 64 components");
  }
  check_positive_definite(gram, k);
  ActiveSet problem(gram, k, constraint == Constraint::fully_constrained);
  for (std::size_t i = 0; i < products.size() / k; ++i) {
    problem.solve(products.data() + i * k, abundances.data() + i * k);
  }
}

}  // namespace probewise::descriptors
