// SPDX-License-Identifier: BSD-3-Clause
#include "probewise/scan/pattern.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "probewise/random.hpp"
#include "scan/kernels.hpp"

namespace probewise {
namespace {

constexpr std::size_t kBlock = 512;                  // positions of a block and its codes stay in the first-level cache
constexpr std::uint64_t kJitterStream = 0x5343414E;  // keeps these draws apart from those of other rooms

// 1 - 1/golden ratio of a turn: 137.50776 degrees.
constexpr double kGoldenTurn = 0.38196601125010515;

struct Cells {
  std::array<std::int32_t, kBlock> row, col;
  std::array<bool, kBlock> discarded;
};

bool is_grid(PatternKind kind) {
  return kind == PatternKind::serpentine || kind == PatternKind::hilbert || kind == PatternKind::jittered;
}

/// Rows and columns of a block of a pattern that visits a grid.
void fill_cells(const Pattern& pattern, std::size_t first, std::size_t count, Cells& cells) {
  cells.discarded.fill(false);
  if (pattern.kind == PatternKind::hilbert) {
    const int levels = std::countr_zero(static_cast<std::uint32_t>(pattern.rows));
    scan_kernels().hilbert(levels, static_cast<std::uint32_t>(first), count, cells.row.data(), cells.col.data());
    return;
  }
  const std::size_t cols = static_cast<std::size_t>(pattern.cols);
  const std::int64_t discarded = pattern.kind == PatternKind::serpentine ? static_cast<std::int64_t>(pattern.a) : 0;
  std::int64_t line = static_cast<std::int64_t>(first / cols) - discarded;
  std::int32_t place = static_cast<std::int32_t>(first % cols);
  for (std::size_t i = 0; i < count;) {
    const std::size_t run = std::min(count - i, cols - static_cast<std::size_t>(place));
    const std::int32_t row = static_cast<std::int32_t>(std::max<std::int64_t>(line, 0));
    const bool backwards = (line & 1) != 0;  // the first line kept runs forwards, whatever came before it
    for (std::size_t k = 0; k < run; ++k) {
      const std::int32_t along = place + static_cast<std::int32_t>(k);
      cells.row[i + k] = row;
      cells.col[i + k] = backwards ? pattern.cols - 1 - along : along;
      cells.discarded[i + k] = line < 0;
    }
    i += run;
    place = 0;
    ++line;
  }
}

void fill_points(const Pattern& pattern, std::size_t first, std::size_t count, double* yx) {
  const ScanKernels& kernels = scan_kernels();
  const double rows = pattern.rows, cols = pattern.cols;
  if (is_grid(pattern.kind)) {
    Cells cells;
    fill_cells(pattern, first, count, cells);
    kernels.centres(cells.row.data(), cells.col.data(), count, rows, cols, yx);
    if (pattern.kind != PatternKind::jittered) return;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t pixel = static_cast<std::uint64_t>(cells.row[i]) * static_cast<std::uint64_t>(pattern.cols) +
                                  static_cast<std::uint64_t>(cells.col[i]);
      const RandomBlock block = philox(pattern.seed, kJitterStream, pixel);
      yx[2 * i] += pattern.a * (uniform_open(block.word[0], block.word[1]) - 0.5) / rows;
      yx[2 * i + 1] += pattern.a * (uniform_open(block.word[2], block.word[3]) - 0.5) / cols;
    }
    return;
  }
  SpiralNumbers numbers{};
  numbers.inverse_points = 1.0 / static_cast<double>(pattern.points);
  numbers.turns_rate = pattern.a;
  numbers.core_end = std::numeric_limits<double>::infinity();
  numbers.radius_rate = 0.5 / pattern.a;
  switch (pattern.kind) {
    case PatternKind::constant_velocity: {
      // Archimedean radius, turns * d(turns)/dt = k outside a core of constant angular velocity b that it joins without
      // a jump; k from turns(1) = a.
      const double ratio = std::isinf(pattern.b) ? 0.0 : pattern.a / pattern.b;
      const double k = pattern.a * pattern.a / (1.0 + std::sqrt(1.0 - ratio * ratio));
      const double core = std::isinf(pattern.b) ? 0.0 : k / pattern.b;  // turns where the core ends
      numbers.turns_rate = std::isinf(pattern.b) ? 0.0 : pattern.b;
      numbers.core = core * core;
      numbers.core_end = std::isinf(pattern.b) ? 0.0 : core / pattern.b;
      numbers.shell = 2.0 * k;
      kernels.linear_spiral(numbers, first, count, yx);
      return;
    }
    case PatternKind::fermat:
      kernels.root_spiral(numbers, first, count, yx);
      return;
    case PatternKind::vogel:
      numbers.angle_step = kGoldenTurn;
      kernels.golden_spiral(numbers, first, count, yx);
      return;
    case PatternKind::lissajous:
      kernels.lissajous(numbers.inverse_points, pattern.a, pattern.b, first, count, yx);
      return;
    default:
      kernels.linear_spiral(numbers, first, count, yx);
      return;
  }
}

/// Codes of the pixel centres along one axis: a grid has only rows + cols different ones.
std::vector<std::uint16_t> axis_codes(std::int32_t count, double top) {
  std::vector<double> centre(static_cast<std::size_t>(count));
  for (std::int32_t i = 0; i < count; ++i) centre[static_cast<std::size_t>(i)] = (i + 0.5) / count;
  std::vector<std::uint16_t> codes(centre.size());
  scan_kernels().codes(centre.data(), centre.size(), top, codes.data());
  return codes;
}

/// The curve is made of equal curves of 32 x 32 pixels, each as it is, mirrored at both axes, its axes swapped, or
/// both: its first point says where it lies and whether it is mirrored, its last whether the axes are swapped.
void hilbert_codes(const Pattern& pattern, std::span<const std::uint16_t> y, std::span<const std::uint16_t> x,
                   std::span<std::uint16_t> out) {
  const int levels = std::countr_zero(static_cast<std::uint32_t>(pattern.rows)), inner = std::min(levels, 5);
  const std::size_t points = std::size_t{1} << (2 * inner);
  const std::int32_t last = (std::int32_t{1} << inner) - 1;
  std::array<std::int32_t, 1024> row, col;
  const ScanKernels& kernels = scan_kernels();
  kernels.hilbert(inner, 0, points, row.data(), col.data());
  for (std::size_t first = 0; first < pattern.points; first += points) {
    std::array<std::int32_t, 2> end_row, end_col;
    kernels.hilbert(levels, static_cast<std::uint32_t>(first), 1, end_row.data(), end_col.data());
    kernels.hilbert(levels, static_cast<std::uint32_t>(first + points - 1), 1, &end_row[1], &end_col[1]);
    const std::int32_t mirror = end_row[0] & last;
    const bool swap = (end_row[0] == end_row[1]) != (row[0] == row[points - 1]);
    const std::int32_t* down = swap ? col.data() : row.data();
    const std::int32_t* across = swap ? row.data() : col.data();
    const std::uint16_t* top = y.data() + (end_row[0] & ~last);
    const std::uint16_t* left = x.data() + (end_col[0] & ~last);
    std::uint16_t* to = out.data() + 2 * first;
    for (std::size_t i = 0; i < points; ++i) {
      to[2 * i] = top[down[i] ^ mirror];
      to[2 * i + 1] = left[across[i] ^ mirror];
    }
  }
}

void grid_codes(const Pattern& pattern, double top, std::span<std::uint16_t> out) {
  const std::vector<std::uint16_t> y = axis_codes(pattern.rows, top), x = axis_codes(pattern.cols, top);
  if (pattern.kind == PatternKind::hilbert) {
    hilbert_codes(pattern, y, x, out);
    return;
  }
  const std::vector<std::uint16_t> back(x.rbegin(), x.rend());
  const std::int64_t discarded = static_cast<std::int64_t>(pattern.a);
  std::uint16_t* line = out.data();
  for (std::int64_t row = -discarded; row < pattern.rows; ++row, line += 2 * x.size()) {
    const std::uint16_t* along = (row & 1) != 0 ? back.data() : x.data();
    scan_kernels().code_line(y[static_cast<std::size_t>(std::max<std::int64_t>(row, 0))], along, x.size(), line);
  }
}

double checked_top(int bits) {
  if (bits < 1 || bits > 16) {
    throw std::invalid_argument("bits is " + std::to_string(bits) + ", expected 1 to 16");
  }
  return static_cast<double>((1 << bits) - 1);
}

void check_length(std::size_t got, std::size_t expected, const char* name) {
  if (got != expected) {
    throw std::invalid_argument(std::string(name) + " holds " + std::to_string(got) + " values, expected " +
                                std::to_string(expected));
  }
}

/// Calls body(first, count, positions) for each block of the pattern; neighbouring blocks share `overlap` samples.
template <class Body>
void for_blocks(const Pattern& pattern, std::size_t overlap, Body body) {
  std::array<double, 2 * kBlock> yx;
  for (std::size_t first = 0; first < pattern.points; first += kBlock - overlap) {
    const std::size_t count = std::min(kBlock, pattern.points - first);
    fill_points(pattern, first, count, yx.data());
    body(first, count, yx.data());
    if (first + count == pattern.points) return;
  }
}

}  // namespace

void check_pattern(const Pattern& pattern) {
  const std::int64_t cells = std::int64_t{pattern.rows} * pattern.cols;
  const auto refuse = [](const std::string& what) { throw std::invalid_argument(what); };
  if (pattern.rows < 1 || pattern.cols < 1 || cells > std::numeric_limits<std::int32_t>::max()) {
    refuse("shape is (" + std::to_string(pattern.rows) + ", " + std::to_string(pattern.cols) +
           "), expected 1 to 2^31 - 1 pixels");
  }
  if (pattern.points < 1 || pattern.points > (std::size_t{1} << 31)) {
    refuse("points is " + std::to_string(pattern.points) + ", expected 1 to 2^31");
  }
  switch (pattern.kind) {
    case PatternKind::serpentine:
      check_length(pattern.points,
                   static_cast<std::size_t>(cells) +
                       static_cast<std::size_t>(pattern.a) * static_cast<std::size_t>(pattern.cols),
                   "serpentine");
      return;
    case PatternKind::hilbert:
      if (pattern.rows != pattern.cols || !std::has_single_bit(static_cast<std::uint32_t>(pattern.rows))) {
        refuse("shape is (" + std::to_string(pattern.rows) + ", " + std::to_string(pattern.cols) +
               "), expected a square whose side is a power of two for a Hilbert curve");
      }
      check_length(pattern.points, static_cast<std::size_t>(cells), "hilbert");
      return;
    case PatternKind::jittered:
      if (!(pattern.a >= 0.0 && pattern.a <= 1.0)) {
        refuse("jitter_px is " + std::to_string(pattern.a) + ", expected 0 to 1");
      }
      check_length(pattern.points, static_cast<std::size_t>(cells), "jittered");
      return;
    case PatternKind::lissajous:
      if (!(pattern.a > 0.0 && pattern.b > 0.0 && std::isfinite(pattern.a) && std::isfinite(pattern.b))) {
        refuse("cycles is (" + std::to_string(pattern.a) + ", " + std::to_string(pattern.b) +
               "), expected two positive numbers");
      }
      return;
    case PatternKind::vogel:
      return;
    case PatternKind::constant_velocity:
      if (!(pattern.b >= pattern.a)) {
        refuse("the angular velocity is capped at " + std::to_string(pattern.b) + " turns, expected at least " +
               std::to_string(pattern.a));
      }
      [[fallthrough]];
    case PatternKind::archimedean:
    case PatternKind::fermat:
      if (!(pattern.a > 0.0 && std::isfinite(pattern.a))) {
        refuse("turns is " + std::to_string(pattern.a) + ", expected a positive finite number");
      }
      return;
  }
}

void pattern_points(const Pattern& pattern, std::span<double> yx) {
  check_length(yx.size(), 2 * pattern.points, "yx");
  for (std::size_t first = 0; first < pattern.points; first += kBlock) {
    fill_points(pattern, first, std::min(kBlock, pattern.points - first), yx.data() + 2 * first);
  }
}

void pattern_pixels(const Pattern& pattern, std::span<std::int32_t> pixel) {
  check_length(pixel.size(), pattern.points, "pixel");
  if (!is_grid(pattern.kind)) {
    for_blocks(pattern, 0, [&](std::size_t first, std::size_t count, const double* yx) {
      scan_kernels().pixels(yx, count, pattern.rows, pattern.cols, pixel.data() + first);
    });
    return;
  }
  Cells cells;
  for (std::size_t first = 0; first < pattern.points; first += kBlock) {
    const std::size_t count = std::min(kBlock, pattern.points - first);
    fill_cells(pattern, first, count, cells);
    for (std::size_t i = 0; i < count; ++i) {
      pixel[first + i] = cells.discarded[i] ? -1 : cells.row[i] * pattern.cols + cells.col[i];
    }
  }
}

void pattern_codes(const Pattern& pattern, int bits, std::span<std::uint16_t> out) {
  const double top = checked_top(bits);
  check_length(out.size(), 2 * pattern.points, "out");
  if (pattern.kind == PatternKind::serpentine || pattern.kind == PatternKind::hilbert) {
    grid_codes(pattern, top, out);
    return;
  }
  for_blocks(pattern, 0, [&](std::size_t first, std::size_t count, const double* yx) {
    scan_kernels().inner_codes(yx, 2 * count, top, out.data() + 2 * first);
  });
}

void dac_codes(std::span<const double> values, int bits, std::span<std::uint16_t> out) {
  const double top = checked_top(bits);
  check_length(out.size(), values.size(), "out");
  if (scan_kernels().codes(values.data(), values.size(), top, out.data()) == 0) return;
  const auto bad = std::find_if(values.begin(), values.end(), [](double v) { return !(v >= 0.0 && v <= 1.0); });
  throw std::invalid_argument("yx[" + std::to_string((bad - values.begin()) / 2) + "] holds " + std::to_string(*bad) +
                              ", expected fractions within 0..1");
}

void pixels_of(std::span<const double> yx, std::int32_t rows, std::int32_t cols, std::span<std::int32_t> pixel) {
  check_length(pixel.size(), yx.size() / 2, "pixel");
  const auto bad = std::find_if(yx.begin(), yx.end(), [](double v) { return !(v >= 0.0 && v <= 1.0); });
  if (bad != yx.end()) {
    throw std::invalid_argument("yx[" + std::to_string((bad - yx.begin()) / 2) + "] holds " + std::to_string(*bad) +
                                ", expected fractions within 0..1");
  }
  scan_kernels().pixels(yx.data(), pixel.size(), rows, cols, pixel.data());
}

Extremes extremes_of(std::span<const double> yx) {
  double step2 = 0.0, bend2 = 0.0;
  scan_kernels().differences(yx.data(), yx.size() / 2, &step2, &bend2);
  return {std::sqrt(step2), std::sqrt(bend2)};
}

Extremes pattern_extremes(const Pattern& pattern) {
  Extremes most;
  for_blocks(pattern, 2, [&](std::size_t, std::size_t count, const double* yx) {
    const Extremes block = extremes_of({yx, 2 * count});
    most.step = std::max(most.step, block.step);
    most.bend = std::max(most.bend, block.bend);
  });
  return most;
}

void raster_lines(const RasterLines& lines, std::span<double> yx, std::span<std::int64_t> dwell_ns,
                  std::span<bool> active, std::span<std::int32_t> pixel) {
  const std::size_t cols = static_cast<std::size_t>(lines.cols);
  const double pitch = lines.size_y / lines.rows;
  const double top = lines.centre_y - lines.size_y / 2, left = lines.centre_x - lines.size_x / 2;
  const bool room = top - lines.discard_lines * pitch >= 0.0;
  const auto height = [&](std::int32_t row) {
    if (row < 0 && !room) row = 0;
    return top + (row + 0.5) / lines.rows * lines.size_y;
  };
  std::size_t at = 0;
  for (std::int32_t row = -lines.discard_lines; row < lines.rows; ++row) {
    const bool kept = row >= 0;
    scan_kernels().line(height(row), left, lines.size_x, lines.cols, 0, cols, yx.data() + 2 * at);
    std::fill_n(dwell_ns.begin() + static_cast<std::ptrdiff_t>(at), cols, lines.dwell_ns);
    std::fill_n(active.begin() + static_cast<std::ptrdiff_t>(at), cols, kept);
    for (std::size_t col = 0; col < cols; ++col) {
      pixel[at + col] = kept ? row * lines.cols + static_cast<std::int32_t>(col) : -1;
    }
    at += cols;
    if (lines.flyback_ns > 0) {
      scan_kernels().line(height(std::min(row + 1, lines.rows - 1)), left, lines.size_x, lines.cols, 0, 1,
                          yx.data() + 2 * at);
      dwell_ns[at] = lines.flyback_ns;
      active[at] = false;
      pixel[at] = -1;
      ++at;
    }
  }
}

}  // namespace probewise
