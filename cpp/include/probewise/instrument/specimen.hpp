// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

namespace probewise::instrument {

/// Lengths in nm, (y, x) from the top left corner of the survey field.
struct Vector2 {
  double y = 0, x = 0;
};

struct Box {
  double y0, x0, y1, x1;
};

/// A disc whose radius varies as 1 + ripple * cos(fold * angle + phase).
struct Blob {
  Vector2 centre;
  double radius, ripple = 0, fold = 4, phase = 0;
};

/// One column of a lattice's cell. Group 1 is moved by the domains' displacement field and by the mistilt.
struct Column {
  Vector2 at;
  std::int32_t species;
  double weight = 1;
  double weight_rms = 0;    // relative spread of the column's weight (composition, thickness)
  double position_rms = 0;  // static displacement along each axis
  int group = 0;
};

/// Where the columns of a lattice stand.
enum class Region { everywhere, outside_blobs, inside_blob, band };

struct Lattice {
  Vector2 origin, a, b;  // column (i, j) stands at origin + i a + j b + at
  std::vector<Column> columns;
  Region region = Region::everywhere;
  std::int32_t blob = -1;  // of inside_blob
  Vector2 normal;          // of band: low <= normal . (p - origin of the band) < high
  Vector2 band_origin;
  double low = 0, high = 0;
  double margin = 0;  // outside_blobs keeps this far from every blob
  bool dome = false;  // inside_blob: weight follows a hemisphere
};

/// A column that differs from its lattice: another species, or none (-1).
struct Substitution {
  std::int32_t lattice, i, j, column, species;
};

/// Seed of a Voronoi cell whose group-1 columns are displaced; walls are tanh profiles.
struct Domain {
  Vector2 at, displacement;
};

enum class PatchKind { hole, thick, contamination };

/// A feature of the survey: a hole has no atoms, thick scales weights by `amount`, contamination adds the
/// scattered fraction `amount`; both fall off over `edge` outside the blob.
struct Patch {
  Blob blob;
  PatchKind kind;
  double amount, edge;
};

/// Atom columns as the renderer wants them.
struct Atoms {
  std::vector<float> y, x, weight;
  std::vector<std::int32_t> species;
  void clear();
};

/// A pure function of its parts and its seed: the columns inside any box, enumerated on demand.
class Specimen {
 public:
  explicit Specimen(std::uint64_t seed) : seed_(seed) {}

  /// Each returns the index of the added part; std::invalid_argument names a wrong value.
  std::int32_t add_lattice(Lattice lattice);
  std::int32_t add_blob(const Blob& blob);
  void substitute(const Substitution& change);
  void add_domain(const Domain& domain);
  void add_patch(const Patch& patch);
  void set_wall_width(double width);
  void set_mistilt(Vector2 at_origin, Vector2 per_y, Vector2 per_x);

  /// Appends every column inside `box`.
  void enumerate(const Box& box, Atoms& atoms) const;
  /// Scattered fraction of the contamination patches.
  double background(Vector2 point) const;
  bool has_patches() const { return !patches_.empty(); }
  std::span<const Lattice> lattices() const { return lattices_; }

 private:
  struct Nearby;
  void enumerate_lattice(std::size_t index, const Box& box, const Nearby& nearby, Atoms& atoms) const;

  std::uint64_t seed_;
  std::vector<Lattice> lattices_;
  std::vector<Blob> blobs_;
  std::vector<Domain> domains_;
  std::vector<Patch> patches_;
  std::unordered_map<std::uint64_t, std::int32_t> substitutions_;
  double wall_width_ = 0.6;
  Vector2 mistilt_, mistilt_per_y_, mistilt_per_x_;
};

}  // namespace probewise::instrument
