// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/descriptors/surroundings.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "points/nearest.hpp"

namespace probewise::descriptors {

namespace {

constexpr double deviation_of_median = 1.4826;  // 1 / median of |x| of a standard normal x

double median(std::vector<double>& values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return values.size() % 2 == 1 ? *middle : (*std::max_element(values.begin(), middle) + *middle) / 2;
}

/// Mean over the k sorted distances of their squared robust deviations from those of the median member.
void deviations(std::span<const double> distance, std::size_t k, std::span<const std::uint32_t> members,
                double least_spread, std::span<double> own) {
  std::vector<double> values(members.size());
  double least = 0;
  for (std::size_t j = 0; j < k; ++j) {
    for (std::size_t m = 0; m < members.size(); ++m) values[m] = distance[members[m] * k + j];
    const double centre = median(values);
    if (j == 0) least = least_spread * centre;
    for (double& value : values) value = std::abs(value - centre);
    const double spread = std::max(deviation_of_median * median(values), least);
    for (const std::uint32_t i : members) {
      const double off = (distance[i * k + j] - centre) / spread;
      own[i] = (j == 0 ? 0.0 : own[i]) + off * off / static_cast<double>(k);
    }
  }
}

/// Numbers of the points of each label.
std::vector<std::vector<std::uint32_t>> by_label(std::span<const std::int64_t> label) {
  std::vector<std::int64_t> known;
  std::vector<std::vector<std::uint32_t>> members;
  for (std::size_t i = 0; i < label.size(); ++i) {
    const auto place = static_cast<std::size_t>(std::find(known.begin(), known.end(), label[i]) - known.begin());
    if (place == known.size()) {
      known.push_back(label[i]);
      members.emplace_back();
    }
    members[place].push_back(static_cast<std::uint32_t>(i));
  }
  return members;
}

}  // namespace

void surroundings(std::span<const double> yx, std::span<const std::int64_t> label, double rows, double cols,
                  const Usual& usual, std::span<double> nearest, std::span<bool> inner, std::span<double> unlike) {
  const std::size_t n = label.size(), k = usual.neighbours, together = usual.together;
  std::vector<double> distance(n * k), own(n, std::numeric_limits<double>::quiet_NaN());
  std::vector<std::uint32_t> number(n * k);
  const NearestPoints points(yx, k);
  for (std::size_t i = 0; i < n; ++i) {
    const double y = yx[2 * i], x = yx[2 * i + 1];
    const std::span here(distance.data() + i * k, k);
    points.find(y, x, static_cast<std::uint32_t>(i), here, std::span(number.data() + i * k, k));
    for (double& value : here) value = std::sqrt(value);
    nearest[i] = here.front();
    inner[i] = std::min(std::min(y, rows - 1 - y), std::min(x, cols - 1 - x)) >= here.back();
  }
  for (std::vector<std::uint32_t>& members : by_label(label)) {
    std::erase_if(members, [&](std::uint32_t i) { return !inner[i]; });
    if (members.size() >= usual.fewest) deviations(distance, k, members, usual.least_spread, own);
  }
  for (std::size_t i = 0; i < n; ++i) {
    double total = own[i], known = 1;
    for (std::size_t j = 0; j + 1 < together; ++j) {
      const double other = own[number[i * k + j]];
      if (std::isnan(other)) continue;
      total += other;
      known += 1;
    }
    unlike[i] = std::sqrt(total / known);
  }
}

void nearest(std::span<const double> points, std::span<const double> queries, std::size_t k, std::span<double> distance,
             std::span<std::int64_t> number) {
  const NearestPoints sorted(points, k);
  std::array<std::uint32_t, most_neighbours> found;
  for (std::size_t i = 0; i < queries.size() / 2; ++i) {
    sorted.find(queries[2 * i], queries[2 * i + 1], NearestPoints::none, distance.subspan(i * k, k),
                std::span(found).first(k));
    for (std::size_t j = 0; j < k; ++j) {
      distance[i * k + j] = std::sqrt(distance[i * k + j]);
      number[i * k + j] = found[j];
    }
  }
}

void discord(std::span<const double> yx, std::span<const std::int64_t> label, std::span<const double> terms,
             std::size_t neighbours, std::span<double> out) {
  std::array<double, most_neighbours> squared;
  std::array<std::uint32_t, most_neighbours> number;
  for (const std::vector<std::uint32_t>& members : by_label(label)) {
    std::vector<double> places;
    for (const std::uint32_t i : members) places.insert(places.end(), {yx[2 * i], yx[2 * i + 1]});
    const std::size_t count = std::min(neighbours + 1, members.size());
    const NearestPoints points(places, count);
    for (const std::uint32_t i : members) {
      points.find(yx[2 * i], yx[2 * i + 1], NearestPoints::none, std::span(squared).first(count),
                  std::span(number).first(count));
      double cosine = 0, sine = 0;
      for (std::size_t j = 0; j < count; ++j) {
        cosine += terms[2 * members[number[j]]];
        sine += terms[2 * members[number[j]] + 1];
      }
      out[i] = 1 - std::sqrt(cosine * cosine + sine * sine) / static_cast<double>(count);
    }
  }
}

}  // namespace probewise::descriptors
