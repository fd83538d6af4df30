// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/scan/tour.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

namespace probewise {
namespace {

constexpr std::size_t kNeighbours = 8;

struct Place {
  double y, x;
};

/// Square cells of about two places each, from which places can be taken out.
class Cells {
 public:
  explicit Cells(const std::vector<Place>& places) : places_(places) {
    double high_y = places[0].y, high_x = places[0].x;
    low_ = places[0];
    for (const Place& place : places) {
      low_ = {std::min(low_.y, place.y), std::min(low_.x, place.x)};
      high_y = std::max(high_y, place.y);
      high_x = std::max(high_x, place.x);
    }
    const double extent = std::max({high_y - low_.y, high_x - low_.x, 1e-12});
    side_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::sqrt(static_cast<double>(places.size()) / 2.0)));
    width_ = extent / static_cast<double>(side_);
    members_.resize(static_cast<std::size_t>(side_ * side_));
    for (std::size_t i = 0; i < places.size(); ++i) members_[cell_of(places[i])].push_back(i);
  }

  void remove(std::size_t index) { std::erase(members_[cell_of(places_[index])], index); }

  /// The `count` places nearest to `from`, nearest first, without `except`.
  std::vector<std::size_t> nearest(Place from, std::size_t count, std::size_t except) const {
    std::vector<std::pair<double, std::size_t>> found;
    const std::int64_t row = along(from.y - low_.y), col = along(from.x - low_.x);
    for (std::int64_t ring = 0; ring < side_ + 1; ++ring) {
      // Places in this ring and beyond are at least (ring - 1) * width away.
      if (found.size() >= count) {
        std::nth_element(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(count - 1), found.end());
        const double reached = static_cast<double>(ring - 1) * width_;
        if (ring > 0 && found[count - 1].first < reached * reached) break;
      }
      for (std::int64_t r = std::max<std::int64_t>(row - ring, 0); r <= std::min(row + ring, side_ - 1); ++r) {
        const bool edge = r == row - ring || r == row + ring;
        const std::int64_t step = edge || ring == 0 ? 1 : 2 * ring;
        for (std::int64_t c = col - ring; c <= col + ring; c += step) {
          if (c < 0 || c >= side_) continue;
          for (const std::size_t index : members_[static_cast<std::size_t>(r * side_ + c)]) {
            const double dy = places_[index].y - from.y, dx = places_[index].x - from.x;
            if (index != except) found.emplace_back(dy * dy + dx * dx, index);
          }
        }
      }
    }
    std::sort(found.begin(), found.end());
    if (found.size() > count) found.resize(count);
    std::vector<std::size_t> indices;
    for (const auto& entry : found) indices.push_back(entry.second);
    return indices;
  }

 private:
  std::int64_t along(double offset) const {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::clamp(offset / width_, -1.0, 1e9)), 0, side_ - 1);
  }
  std::size_t cell_of(const Place& place) const {
    return static_cast<std::size_t>(along(place.y - low_.y) * side_ + along(place.x - low_.x));
  }

  const std::vector<Place>& places_;
  Place low_{};
  std::int64_t side_ = 1;
  double width_ = 1.0;
  std::vector<std::vector<std::size_t>> members_;
};

class Tour {
 public:
  Tour(std::vector<Place> places, Place start, const TravelCost& cost)
      : places_(std::move(places)), start_(start), cost_(cost) {
    Cells cells(places_);
    Place here = start_;
    for (std::size_t i = 0; i < places_.size(); ++i) {
      order_.push_back(cells.nearest(here, 1, places_.size())[0]);
      cells.remove(order_.back());
      here = places_[order_.back()];
    }
  }

  void improve() {
    const std::size_t n = order_.size();
    const Cells cells(places_);
    std::vector<std::vector<std::size_t>> neighbours(n);
    for (std::size_t i = 0; i < n; ++i) neighbours[i] = cells.nearest(places_[i], kNeighbours, i);
    at_.resize(n);
    for (std::size_t k = 0; k < n; ++k) at_[order_[k]] = k;
    std::vector<bool> settled(n, false);  // "don't look": nothing near this place changed since it last failed
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t place = 0; place < n; ++place) {
        if (settled[place]) continue;
        settled[place] = true;
        for (const std::size_t other : neighbours[place]) {
          // Joining `place` and `other` on their later or on their earlier sides.
          if (try_reverse(at_[place], at_[other], settled) || try_reverse_before(at_[place], at_[other], settled)) {
            settled[place] = false;
            changed = true;
            break;
          }
        }
      }
    }
  }

  const std::vector<std::size_t>& order() const { return order_; }

 private:
  double between(Place a, Place b) const {
    const double distance = std::hypot(a.y - b.y, a.x - b.x);
    if (distance == 0.0) return 0.0;
    return std::isinf(cost_.velocity_per_s) ? distance : cost_.settle_s + distance / cost_.velocity_per_s;
  }
  Place before(std::size_t k) const { return k == 0 ? start_ : places_[order_[k - 1]]; }
  Place place_at(std::size_t k) const { return places_[order_[k]]; }

  /// Reverse order[first..last] if that shortens the tour; the far end of an open tour costs nothing.
  bool reverse_if_shorter(std::size_t first, std::size_t last, std::vector<bool>& settled) {
    const bool open = last + 1 == order_.size();
    const double now =
        between(before(first), place_at(first)) + (open ? 0.0 : between(place_at(last), place_at(last + 1)));
    const double then =
        between(before(first), place_at(last)) + (open ? 0.0 : between(place_at(first), place_at(last + 1)));
    if (then >= now - 1e-12 * (1.0 + now)) return false;  // rounding must not make it run in circles
    if (first > 0) settled[order_[first - 1]] = false;
    settled[order_[first]] = settled[order_[last]] = false;
    if (!open) settled[order_[last + 1]] = false;
    std::reverse(order_.begin() + static_cast<std::ptrdiff_t>(first),
                 order_.begin() + static_cast<std::ptrdiff_t>(last) + 1);
    for (std::size_t k = first; k <= last; ++k) at_[order_[k]] = k;
    return true;
  }

  bool try_reverse(std::size_t a, std::size_t b, std::vector<bool>& settled) {
    if (a > b) std::swap(a, b);
    return a + 1 <= b && reverse_if_shorter(a + 1, b, settled);
  }

  bool try_reverse_before(std::size_t a, std::size_t b, std::vector<bool>& settled) {
    if (a > b) std::swap(a, b);
    return a < b && (reverse_if_shorter(a, b - 1, settled) || (a == 0 && reverse_if_shorter(0, b, settled)));
  }

  std::vector<Place> places_;
  Place start_;
  TravelCost cost_;
  std::vector<std::size_t> order_, at_;
};

}  // namespace

std::vector<std::int64_t> travel_tour(std::span<const double> yx, double start_y, double start_x,
                                      const TravelCost& cost) {
  std::vector<Place> places;
  for (std::size_t i = 0; i < yx.size() / 2; ++i) places.push_back({yx[2 * i], yx[2 * i + 1]});
  if (places.empty()) return {};
  Tour tour(std::move(places), {start_y, start_x}, cost);
  tour.improve();
  return {tour.order().begin(), tour.order().end()};
}

}  // namespace probewise
