// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "image/field.hpp"
#include "image/refine_table.hpp"
#include "probewise/image2d.hpp"

namespace probewise {

/// Counts = background + sum of Gaussian columns of one width, and its derivatives, over the windows of the atoms.
/// The background is linear between the nodes of a coarse grid. Nothing here is a matrix: derivatives are applied.
/// Coefficients are one vector: the amplitudes, all y, all x, then the nodes, then the width.
class ColumnModel {
 public:
  /// Memory that a model writes its tables to.
  struct Tables {
    Field down, across;
  };

  /// Windows of half-side `half` about the starts `yx`; nodes about `node_spacing` apart.
  ColumnModel(std::ptrdiff_t rows, std::ptrdiff_t cols, std::span<const double> yx, std::ptrdiff_t half,
              double node_spacing, Tables& tables);

  std::size_t atoms() const { return start_.size(); }
  std::size_t nodes() const { return node_rows_ * node_cols_; }
  std::size_t coefficients() const { return 3 * atoms() + nodes() + 1; }
  std::size_t rows() const { return rows_; }
  std::size_t stride() const { return stride_; }  ///< columns of a field: the image's with a margin on both sides
  std::size_t margin() const { return half_; }    ///< columns before the image
  /// The image where a window covers it, NaN elsewhere: rows() x stride().
  void lay_out(Image2d<const float> image, Field& field) const;

  /// Sets the point at which derivatives are taken; `moving` (atoms) is 0 where the position is held.
  void place(std::span<const double> point, std::span<const std::uint8_t> moving);
  /// field = derivatives * step; with the positions and the width of a step 0 this is the model of its amplitudes.
  void forward(std::span<const float> step, std::span<float> field);
  /// field *= weight where one is given; gradient = derivatives^T * field
  void backward(std::span<float> field, const float* weight, std::span<float> gradient);
  /// The nodes' part of it.
  void background_backward(std::span<float> field, const float* weight, std::span<float> gradient);
  /// Upper triangles (AA, Ay, Ax, yy, yx, xx) of derivatives^T * weight * derivatives of each atom alone, (6, atoms).
  void blocks(std::span<const float> weight, std::span<double> block) const;
  double background(std::span<const double> point, double y, double x) const;

 private:
  ColumnWindows windows() const;

  std::size_t rows_, cols_, half_, width_, stride_;
  std::size_t node_rows_, node_cols_;
  std::vector<std::ptrdiff_t> row_, col_;  // of the window's middle
  std::vector<std::uint32_t> start_;
  std::vector<std::uint16_t> window_rows_, skip_, lead_;  // lead: columns of a window before those that count
  Tables& tables_;
  std::vector<float> offset_;                       // see ColumnWindows; distance of a window's first pixel
  std::vector<float> slope_, bend_;                 // amplitude / width^2 (0 where held) and amplitude / width^3
  std::vector<std::size_t> row_begin_, col_begin_;  // first row and first column of a field that follow each node
  std::vector<float> row_share_, col_share_, node_lines_;
};

}  // namespace probewise
