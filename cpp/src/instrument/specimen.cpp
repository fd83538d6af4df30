// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/instrument/specimen.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>

#include "instrument/normal.hpp"
#include "probewise/random.hpp"

namespace probewise::instrument {
namespace {

/// Moved columns (mistilt, domains, static displacement) stay within this distance of their lattice site.
constexpr double kMaxMove = 0.15;

double dot(Vector2 u, Vector2 v) { return u.y * v.y + u.x * v.x; }
Vector2 minus(Vector2 u, Vector2 v) { return {u.y - v.y, u.x - v.x}; }

/// Distance from the centre over the radius in that direction: below 1 inside.
double relative_radius(const Blob& blob, Vector2 point) {
  const Vector2 away = minus(point, blob.centre);
  const double distance = std::hypot(away.y, away.x);
  if (blob.ripple == 0) return distance / blob.radius;
  return distance / (blob.radius * (1 + blob.ripple * std::cos(blob.fold * std::atan2(away.y, away.x) + blob.phase)));
}

double outer_radius(const Blob& blob) { return blob.radius * (1 + std::abs(blob.ripple)); }

bool touches(const Blob& blob, const Box& box, double margin) {
  const double reach = outer_radius(blob) + margin;
  return blob.centre.y + reach > box.y0 && blob.centre.y - reach < box.y1 && blob.centre.x + reach > box.x0 &&
         blob.centre.x - reach < box.x1;
}

/// 1 inside the blob, falling to 0 over `edge` outside.
double coverage(const Patch& patch, Vector2 point) {
  const double excess = (relative_radius(patch.blob, point) - 1) * patch.blob.radius;
  return excess <= 0 ? 1.0 : patch.edge <= 0 ? 0.0 : std::exp(-(excess / patch.edge) * (excess / patch.edge));
}

std::uint64_t site_key(std::size_t lattice, std::int64_t i, std::int64_t j, std::size_t column) {
  return (static_cast<std::uint64_t>(lattice) << 56) | (static_cast<std::uint64_t>(column) << 48) |
         ((static_cast<std::uint64_t>(i) & 0xFFFFFF) << 24) | (static_cast<std::uint64_t>(j) & 0xFFFFFF);
}

}  // namespace

void Atoms::clear() {
  y.clear();
  x.clear();
  weight.clear();
  species.clear();
}

/// The parts of the explicit lists that matter inside one box.
struct Specimen::Nearby {
  std::vector<std::int32_t> blobs;
  std::vector<const Domain*> domains;
  std::vector<const Patch*> patches;
};

std::int32_t Specimen::add_lattice(Lattice lattice) {
  const double cell = lattice.a.y * lattice.b.x - lattice.a.x * lattice.b.y;
  if (!(std::abs(cell) > 1e-6)) throw std::invalid_argument("a, b span no area, expected two independent cell vectors");
  if (lattice.columns.size() > 255 || lattices_.size() > 254) {
    throw std::invalid_argument("columns has more than 255 rows or the specimen more than 255 lattices");
  }
  if (lattice.region == Region::inside_blob &&
      (lattice.blob < 0 || static_cast<std::size_t>(lattice.blob) >= blobs_.size())) {
    throw std::invalid_argument("blob is " + std::to_string(lattice.blob) + ", expected the index of an added blob");
  }
  lattices_.push_back(std::move(lattice));
  return static_cast<std::int32_t>(lattices_.size() - 1);
}

std::int32_t Specimen::add_blob(const Blob& blob) {
  if (!(blob.radius > 0)) {
    throw std::invalid_argument("radius is " + std::to_string(blob.radius) + ", expected a positive length");
  }
  blobs_.push_back(blob);
  return static_cast<std::int32_t>(blobs_.size() - 1);
}

void Specimen::substitute(const Substitution& change) {
  if (change.lattice < 0 || static_cast<std::size_t>(change.lattice) >= lattices_.size()) {
    throw std::invalid_argument("lattice is " + std::to_string(change.lattice) + ", expected an added lattice");
  }
  substitutions_[site_key(static_cast<std::size_t>(change.lattice), change.i, change.j,
                          static_cast<std::size_t>(change.column))] = change.species;
}

void Specimen::add_domain(const Domain& domain) { domains_.push_back(domain); }
void Specimen::add_patch(const Patch& patch) { patches_.push_back(patch); }
void Specimen::set_wall_width(double width) { wall_width_ = width; }
void Specimen::set_mistilt(Vector2 at_origin, Vector2 per_y, Vector2 per_x) {
  mistilt_ = at_origin;
  mistilt_per_y_ = per_y;
  mistilt_per_x_ = per_x;
}

double Specimen::background(Vector2 point) const {
  double total = 0;
  for (const Patch& patch : patches_) {
    if (patch.kind == PatchKind::contamination) total += patch.amount * coverage(patch, point);
    if (patch.kind == PatchKind::hole && coverage(patch, point) >= 1) return 0;
  }
  return total;
}

void Specimen::enumerate(const Box& box, Atoms& atoms) const {
  Nearby nearby;
  for (std::size_t k = 0; k < blobs_.size(); ++k) {
    if (touches(blobs_[k], box, 1.0)) nearby.blobs.push_back(static_cast<std::int32_t>(k));
  }
  for (const Patch& patch : patches_) {
    if (touches(patch.blob, box, 4 * patch.edge + kMaxMove)) nearby.patches.push_back(&patch);
  }
  if (!domains_.empty()) {  // only the seeds that can be nearest or second nearest somewhere in the box
    const Vector2 middle{(box.y0 + box.y1) / 2, (box.x0 + box.x1) / 2};
    const double half = std::hypot(box.y1 - box.y0, box.x1 - box.x0) / 2 + kMaxMove;
    double first = std::numeric_limits<double>::infinity(), second = first;
    for (const Domain& domain : domains_) {
      const Vector2 away = minus(domain.at, middle);
      const double distance = std::hypot(away.y, away.x);
      if (distance < first) {
        second = first;
        first = distance;
      } else if (distance < second) {
        second = distance;
      }
    }
    for (const Domain& domain : domains_) {
      const Vector2 away = minus(domain.at, middle);
      if (std::hypot(away.y, away.x) <= second + 2 * half) nearby.domains.push_back(&domain);
    }
  }
  for (std::size_t index = 0; index < lattices_.size(); ++index) {
    const Lattice& lattice = lattices_[index];
    if (lattice.region == Region::inside_blob &&
        !touches(blobs_[static_cast<std::size_t>(lattice.blob)], box, kMaxMove)) {
      continue;
    }
    enumerate_lattice(index, box, nearby, atoms);
  }
}

void Specimen::enumerate_lattice(std::size_t index, const Box& box, const Nearby& nearby, Atoms& atoms) const {
  const Lattice& lattice = lattices_[index];
  const double cell = lattice.a.y * lattice.b.x - lattice.a.x * lattice.b.y;
  Box reach{box.y0 - kMaxMove, box.x0 - kMaxMove, box.y1 + kMaxMove, box.x1 + kMaxMove};
  if (lattice.region == Region::inside_blob) {
    const Blob& blob = blobs_[static_cast<std::size_t>(lattice.blob)];
    const double radius = outer_radius(blob);
    reach = {std::max(reach.y0, blob.centre.y - radius), std::max(reach.x0, blob.centre.x - radius),
             std::min(reach.y1, blob.centre.y + radius), std::min(reach.x1, blob.centre.x + radius)};
  }
  for (std::size_t c = 0; c < lattice.columns.size(); ++c) {
    const Column& column = lattice.columns[c];
    const Vector2 start{lattice.origin.y + column.at.y, lattice.origin.x + column.at.x};
    // Cell indices of the reach's corners: p = start + i a + j b.
    double lowest = std::numeric_limits<double>::infinity(), highest = -lowest;
    for (const double y : {reach.y0, reach.y1}) {
      for (const double x : {reach.x0, reach.x1}) {
        const double i = ((y - start.y) * lattice.b.x - (x - start.x) * lattice.b.y) / cell;
        lowest = std::min(lowest, i);
        highest = std::max(highest, i);
      }
    }
    for (auto i = static_cast<std::int64_t>(std::ceil(lowest)); i <= static_cast<std::int64_t>(std::floor(highest));
         ++i) {
      const double row_y = start.y + static_cast<double>(i) * lattice.a.y;
      const double row_x = start.x + static_cast<double>(i) * lattice.a.x;
      double j_low = -1e15, j_high = 1e15;
      const auto clip = [&](double from, double step, double low, double high) {
        if (std::abs(step) < 1e-12) {
          if (from < low || from > high) j_high = -1e16;
          return;
        }
        const double p = (low - from) / step, q = (high - from) / step;
        j_low = std::max(j_low, std::min(p, q));
        j_high = std::min(j_high, std::max(p, q));
      };
      clip(row_y, lattice.b.y, reach.y0, reach.y1);
      clip(row_x, lattice.b.x, reach.x0, reach.x1);
      if (j_high < j_low) continue;
      for (auto j = static_cast<std::int64_t>(std::ceil(j_low)); j <= static_cast<std::int64_t>(std::floor(j_high));
           ++j) {
        const double along = static_cast<double>(j);
        Vector2 point{row_y + along * lattice.b.y, row_x + along * lattice.b.x};
        double weight = column.weight;
        switch (lattice.region) {
          case Region::everywhere:
            break;
          case Region::band: {
            const double across = dot(lattice.normal, minus(point, lattice.band_origin));
            if (across < lattice.low || across >= lattice.high) continue;
            break;
          }
          case Region::outside_blobs: {
            bool inside = false;
            for (const std::int32_t k : nearby.blobs) {
              const Blob& blob = blobs_[static_cast<std::size_t>(k)];
              inside = inside || relative_radius(blob, point) < 1 + lattice.margin / blob.radius;
            }
            if (inside) continue;
            break;
          }
          case Region::inside_blob: {
            // Where blobs overlap a point belongs to the one it lies deepest in.
            const double own = relative_radius(blobs_[static_cast<std::size_t>(lattice.blob)], point);
            bool owned = own < 1;
            for (const std::int32_t k : nearby.blobs) {
              owned = owned && (k == lattice.blob || relative_radius(blobs_[static_cast<std::size_t>(k)], point) > own);
            }
            if (!owned) continue;
            if (lattice.dome) weight *= std::sqrt(1 - own * own);
            break;
          }
        }
        std::int32_t species = column.species;
        if (!substitutions_.empty()) {
          const auto found = substitutions_.find(site_key(index, i, j, c));
          if (found != substitutions_.end()) species = found->second;
          if (species < 0) continue;
        }
        bool hole = false;
        for (const Patch* patch : nearby.patches) {
          if (patch->kind == PatchKind::hole) hole = hole || coverage(*patch, point) >= 1;
          if (patch->kind == PatchKind::thick) weight *= 1 + (patch->amount - 1) * coverage(*patch, point);
        }
        if (hole) continue;
        if (column.weight_rms > 0 || column.position_rms > 0) {
          const RandomBlock block = philox(seed_, 0x5EC1, site_key(index, i, j, c));
          if (column.weight_rms > 0) {
            weight *= std::max(0.0, 1 + column.weight_rms * normal_quantile(uniform_open(block.word[0])));
          }
          if (column.position_rms > 0) {
            const auto step = [&](std::uint32_t word) {
              return std::clamp(column.position_rms * static_cast<double>(normal_quantile(uniform_open(word))),
                                -kMaxMove, kMaxMove);
            };
            point.y += step(block.word[1]);
            point.x += step(block.word[2]);
          }
        }
        if (column.group == 1) {
          if (nearby.domains.size() == 1) {
            point.y += nearby.domains[0]->displacement.y;
            point.x += nearby.domains[0]->displacement.x;
          } else if (nearby.domains.size() > 1) {
            const Domain *first = nullptr, *second = nullptr;
            double d1 = std::numeric_limits<double>::infinity(), d2 = d1;
            for (const Domain* domain : nearby.domains) {
              const Vector2 away = minus(point, domain->at);
              const double d = dot(away, away);
              if (d < d1) {
                second = first;
                d2 = d1;
                first = domain;
                d1 = d;
              } else if (d < d2) {
                second = domain;
                d2 = d;
              }
            }
            const Vector2 between = minus(second->at, first->at);
            const double to_wall = (d2 - d1) / (2 * std::hypot(between.y, between.x));
            const double share = 0.5 * (1 - std::tanh(to_wall / wall_width_));
            point.y += first->displacement.y * (1 - share) + second->displacement.y * share;
            point.x += first->displacement.x * (1 - share) + second->displacement.x * share;
          }
          const Vector2 site = point;
          point.y += mistilt_.y + site.y * mistilt_per_y_.y + site.x * mistilt_per_x_.y;
          point.x += mistilt_.x + site.y * mistilt_per_y_.x + site.x * mistilt_per_x_.x;
        }
        if (point.y < box.y0 || point.y > box.y1 || point.x < box.x0 || point.x > box.x1) continue;
        atoms.y.push_back(static_cast<float>(point.y));
        atoms.x.push_back(static_cast<float>(point.x));
        atoms.weight.push_back(static_cast<float>(weight));
        atoms.species.push_back(species);
      }
    }
  }
}

}  // namespace probewise::instrument
