// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "probewise/image2d.hpp"

namespace probewise {

/// Counts = background + sum of Gaussian columns of one width, and its derivatives, over the windows of the atoms.
/// The background is linear between the nodes of a coarse grid. Nothing here is a matrix: derivatives are applied.
/// Coefficients are one vector: amplitude, y, x of each atom, then the nodes, then the width.
class ColumnModel {
 public:
  /// Windows of half-side `half` about the starts `yx`; nodes about `node_spacing` apart.
  ColumnModel(std::ptrdiff_t rows, std::ptrdiff_t cols, std::span<const double> yx, std::ptrdiff_t half,
              double node_spacing);

  std::size_t atoms() const { return row_.size(); }
  std::size_t nodes() const { return node_rows_ * node_cols_; }
  std::size_t coefficients() const { return 3 * atoms() + nodes() + 1; }
  std::size_t rows() const { return rows_; }
  std::size_t stride() const { return stride_; }  ///< columns of a field: the image's with a margin on both sides
  std::size_t margin() const { return half_; }    ///< columns before the image
  const std::vector<float>& support() const { return support_; }  ///< 1 where a window covers the image, else 0

  /// Sets the point at which derivatives are taken; `moving` (atoms) is 0 where the position is held.
  void place(std::span<const double> point, std::span<const std::uint8_t> moving);
  /// field = derivatives * step; with the positions and the width of a step 0 this is the model of its amplitudes.
  void forward(std::span<const double> step, std::span<float> field);
  /// gradient = derivatives^T * field
  void backward(std::span<const float> field, std::span<double> gradient);
  /// Adds the nodes' part of it to `gradient`.
  void background_backward(std::span<const float> field, std::span<double> gradient);
  /// Upper triangle (AA, Ay, Ax, yy, yx, xx) of derivatives^T * weight * derivatives of each atom alone.
  void blocks(std::span<const float> weight, std::span<double> block);
  double background(std::span<const double> point, double y, double x) const;

 private:
  struct Window {
    std::size_t first, count;  // rows of the image, and how many
    std::size_t skip;          // rows of the window above the image
  };
  Window window(std::size_t atom) const;

  std::size_t rows_, cols_, half_, width_, stride_, pitch_;
  std::size_t node_rows_, node_cols_;
  std::vector<std::ptrdiff_t> row_, col_;         // of the window's middle
  std::vector<float> down_, across_;              // (atoms, 3, pitch) and (atoms, 3, width): g, g * d, g * d^2
  std::vector<double> slope_, bend_;              // amplitude / width^2 (0 where held) and amplitude / width^3
  std::vector<std::size_t> row_node_, col_node_;  // node before each row and each column of a field
  std::vector<float> row_share_, col_share_, node_lines_, support_;
};

}  // namespace probewise
