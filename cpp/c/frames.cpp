// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "guard.hpp"
#include "probewise.h"
#include "probewise/image/atoms.hpp"
#include "probewise/image/patches.hpp"
#include "probewise/scan/pattern.hpp"

namespace c = probewise::c;

namespace {

probewise::Image2d<const float> image_of(const float* data, std::size_t rows, std::size_t cols, const char* name) {
  c::expected(data, name);
  constexpr auto most = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
  if (rows == 0 || cols == 0 || cols > most / sizeof(float) / rows) {
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(rows) + " x " + std::to_string(cols) +
                                ", expected at least one row and one column, and less than the address space");
  }
  return {data, static_cast<std::ptrdiff_t>(rows), static_cast<std::ptrdiff_t>(cols),
          static_cast<std::ptrdiff_t>(cols)};
}

}  // namespace

extern "C" {

probewise_status probewise_dac_codes(const double* fractions, size_t count, int32_t bits, uint16_t* codes,
                                     char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    probewise::dac_codes({c::expected(fractions, "fractions"), count}, bits, {c::expected(codes, "codes"), count});
  });
}

probewise_status probewise_find_atoms(const float* probability, size_t rows, size_t cols, float threshold, double* yx,
                                      double* score, size_t capacity, size_t* found, char* message,
                                      size_t message_size) {
  return c::guarded(message, message_size, [&] {
    c::expected(yx, "yx");
    c::expected(score, "score");
    c::expected(found, "found");
    probewise::FoundAtoms atoms;
    probewise::find_atoms(image_of(probability, rows, cols, "probability"), threshold, 0, atoms);
    const std::size_t written = std::min(capacity, atoms.score.size());
    std::copy_n(atoms.yx.begin(), 2 * written, yx);
    std::copy_n(atoms.score.begin(), written, score);
    *found = atoms.score.size();
  });
}

probewise_status probewise_extract_patches(const float* image, size_t rows, size_t cols, const double* centres,
                                           size_t count, size_t side, float* patches, int64_t* kept, size_t* kept_count,
                                           char* message, size_t message_size) {
  return c::guarded(message, message_size, [&] {
    if (side == 0 || side > std::min(rows, cols)) {
      throw std::invalid_argument("side is " + std::to_string(side) + ", expected 1 to the image's smaller side, " +
                                  std::to_string(std::min(rows, cols)));
    }
    *c::expected(kept_count, "kept_count") = probewise::extract_patches(
        image_of(image, rows, cols, "image"), {c::expected(centres, "centres"), 2 * count},
        {static_cast<std::ptrdiff_t>(side), false, false}, {c::expected(patches, "patches"), count * side * side},
        {c::expected(kept, "kept"), count});
  });
}

}  // extern "C"
