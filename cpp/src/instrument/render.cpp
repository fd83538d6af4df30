// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

#include "instrument/render_level.hpp"
#include "probewise/instrument/microscope.hpp"
#include "runtime/pool.hpp"
#include "simd/dispatch.hpp"

namespace probewise::instrument {

PROBEWISE_DISPATCH(RenderKernels, render_kernels)

namespace {

constexpr double kTile_nm = 8.0;   // a tile's atoms stay in the second-level cache
constexpr double kCell_nm = 0.25;  // of the neighbour list
constexpr double kPeaks = 32;      // how many of the brightest columns an integer sum can hold

}  // namespace

Renderer::Renderer(Specimen specimen, Optics optics) : specimen_(std::move(specimen)), optics_(std::move(optics)) {
  const std::size_t expected = optics_.species * optics_.levels * (optics_.steps + 2);
  if (optics_.tables.size() != expected || expected == 0) {
    throw std::invalid_argument("tables holds " + std::to_string(optics_.tables.size()) + " entries, expected " +
                                std::to_string(expected));
  }
  for (const Lattice& lattice : specimen_.lattices()) {
    for (const Column& column : lattice.columns) {
      if (column.species < 0 || static_cast<std::size_t>(column.species) >= optics_.species) {
        throw std::invalid_argument("species is " + std::to_string(column.species) + ", expected below " +
                                    std::to_string(optics_.species));
      }
    }
  }
  float peak = 0;
  for (const float value : optics_.tables) peak = std::max(peak, std::abs(value));
  if (!(peak > 0)) throw std::invalid_argument("tables has no positive entry");
  unit_ = static_cast<float>(peak * kPeaks / 1073741824.0);
  for (float& value : optics_.tables) value /= unit_;
}

void Renderer::fractions(std::span<const float> y, std::span<const float> x, std::span<float> out) {
  if (y.empty()) return;
  const auto [y_low, y_high] = std::minmax_element(y.begin(), y.end());
  const auto [x_low, x_high] = std::minmax_element(x.begin(), x.end());
  const double height = static_cast<double>(*y_high) - static_cast<double>(*y_low);
  const double width = static_cast<double>(*x_high) - static_cast<double>(*x_low);
  if (height <= 1.5 * kTile_nm && width <= 1.5 * kTile_nm) {
    tile(y.data(), x.data(), out.data(), y.size());
  } else {
    const double origin_y = static_cast<double>(*y_low), origin_x = static_cast<double>(*x_low);
    const auto tile_rows = static_cast<std::size_t>(height / kTile_nm) + 1;
    const auto tile_cols = static_cast<std::size_t>(width / kTile_nm) + 1;
    tile_of_.resize(y.size());
    tile_start_.assign(tile_rows * tile_cols + 1, 0);
    for (std::size_t k = 0; k < y.size(); ++k) {
      const auto row = static_cast<std::size_t>((static_cast<double>(y[k]) - origin_y) / kTile_nm);
      const auto col = static_cast<std::size_t>((static_cast<double>(x[k]) - origin_x) / kTile_nm);
      tile_of_[k] = static_cast<std::uint32_t>(row * tile_cols + col);
      ++tile_start_[tile_of_[k] + 1];
    }
    for (std::size_t t = 1; t < tile_start_.size(); ++t) tile_start_[t] += tile_start_[t - 1];
    tile_order_.resize(y.size());
    std::vector<std::uint32_t> next(tile_start_.begin(), tile_start_.end() - 1);
    for (std::size_t k = 0; k < y.size(); ++k) tile_order_[next[tile_of_[k]]++] = static_cast<std::uint32_t>(k);
    for (std::size_t t = 0; t + 1 < tile_start_.size(); ++t) {
      const std::size_t first = tile_start_[t], count = tile_start_[t + 1] - first;
      if (count == 0) continue;
      tile_y_.resize(count);
      tile_x_.resize(count);
      tile_out_.resize(count);
      for (std::size_t k = 0; k < count; ++k) {
        tile_y_[k] = y[tile_order_[first + k]];
        tile_x_[k] = x[tile_order_[first + k]];
      }
      tile(tile_y_.data(), tile_x_.data(), tile_out_.data(), count);
      for (std::size_t k = 0; k < count; ++k) out[tile_order_[first + k]] = tile_out_[k];
    }
  }
  if (specimen_.has_patches()) {
    for (std::size_t k = 0; k < y.size(); ++k) {
      out[k] += static_cast<float>(specimen_.background({static_cast<double>(y[k]), static_cast<double>(x[k])}));
    }
  }
}

void Renderer::tile(const float* y, const float* x, float* out, std::size_t count) {
  const auto [y_low, y_high] = std::minmax_element(y, y + count);
  const auto [x_low, x_high] = std::minmax_element(x, x + count);
  const double reach = optics_.reach_nm;
  const Arranged arranged = arrange({static_cast<double>(*y_low) - reach, static_cast<double>(*x_low) - reach,
                                     static_cast<double>(*y_high) + reach, static_cast<double>(*x_high) + reach});
  constexpr std::size_t piece = 2048;
  // 100 ns a point, where atoms are as dense as in a perovskite.
  for_pieces((count + piece - 1) / piece, static_cast<double>(count) / 10.0, [&](std::size_t p) {
    const std::size_t first = p * piece;
    render_kernels().sum_atoms(y + first, x + first, std::min(piece, count - first), arranged.cells, arranged.tables,
                               unit_, out + first);
  });
}

Arranged Renderer::arrange(const Box& box) {
  atoms_.clear();
  specimen_.enumerate(box, atoms_);
  const std::size_t atoms = atoms_.y.size();

  const auto cell_rows = static_cast<std::int32_t>((box.y1 - box.y0) / kCell_nm) + 1;
  const auto cell_cols = static_cast<std::int32_t>((box.x1 - box.x0) / kCell_nm) + 1;
  const auto cell_index = [](double value, double origin, std::int32_t cells) {
    return std::clamp(static_cast<std::int32_t>((value - origin) / kCell_nm), 0, cells - 1);
  };
  cell_of_.resize(atoms);
  cell_start_.assign(static_cast<std::size_t>(cell_rows) * static_cast<std::size_t>(cell_cols) + 1, 0);
  for (std::size_t a = 0; a < atoms; ++a) {
    const std::int32_t cell = cell_index(static_cast<double>(atoms_.y[a]), box.y0, cell_rows) * cell_cols +
                              cell_index(static_cast<double>(atoms_.x[a]), box.x0, cell_cols);
    cell_of_[a] = cell;
    ++cell_start_[static_cast<std::size_t>(cell) + 1];
  }
  for (std::size_t c = 1; c < cell_start_.size(); ++c) cell_start_[c] += cell_start_[c - 1];
  order_.assign(cell_start_.begin(), cell_start_.end() - 1);
  sorted_y_.resize(atoms);
  sorted_x_.resize(atoms);
  sorted_weight_.resize(atoms);
  sorted_table_.resize(atoms);
  const std::size_t entries = optics_.steps + 2;
  for (std::size_t a = 0; a < atoms; ++a) {
    const auto slot = static_cast<std::size_t>(order_[static_cast<std::size_t>(cell_of_[a])]++);
    const double height = optics_.slope.y * (static_cast<double>(atoms_.y[a]) - optics_.centre.y) +
                          optics_.slope.x * (static_cast<double>(atoms_.x[a]) - optics_.centre.x);
    const double steps_off = std::abs(optics_.defocus_nm - height) / optics_.focus_step_nm;
    const auto level = std::min(optics_.levels - 1, static_cast<std::size_t>(std::lround(steps_off)));
    sorted_y_[slot] = atoms_.y[a];
    sorted_x_[slot] = atoms_.x[a];
    sorted_weight_[slot] = atoms_.weight[a];
    sorted_table_[slot] =
        static_cast<std::int32_t>((static_cast<std::size_t>(atoms_.species[a]) * optics_.levels + level) * entries);
  }

  const AtomCells cells{sorted_y_.data(),
                        sorted_x_.data(),
                        sorted_weight_.data(),
                        sorted_table_.data(),
                        cell_start_.data(),
                        static_cast<float>(box.y0),
                        static_cast<float>(box.x0),
                        static_cast<float>(1 / kCell_nm),
                        cell_rows,
                        cell_cols};
  const auto steps = static_cast<double>(optics_.steps);
  const double reach = optics_.reach_nm;
  // A little further than the tables reach, against rounding at a cell's edge.
  const RadialTables tables{optics_.tables.data(), static_cast<float>(steps / (reach * reach)),
                            static_cast<float>(steps), static_cast<float>(reach + 1e-4)};
  return {cells, tables, atoms, optics_.tables.size(), unit_};
}

}  // namespace probewise::instrument
