// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "surrogate/level.hpp"

namespace probewise {

/// The loops of one precision, so that the storage plans are written once.
template <class T>
struct LoopsOf {
  static constexpr bool wide = std::is_same_v<T, double>;

  static void multiply(std::size_t rows, std::size_t cols, std::size_t depth, const T* a, std::size_t lda, const T* b,
                       std::size_t ldb, T* c, std::size_t ldc) {
    if constexpr (wide) {
      surrogate_loops().multiply_f64(rows, cols, depth, a, lda, b, ldb, c, ldc, Store::set);
    } else {
      surrogate_loops().multiply_f32(rows, cols, depth, a, lda, b, ldb, c, ldc, Store::set);
    }
  }

  template <class Stored>
  static void subtract_rows(std::size_t count, const T* weight, const Stored* rows, T* out) {
    if constexpr (wide) {
      surrogate_loops().subtract_rows_f64(count, weight, rows, out);
    } else if constexpr (std::is_same_v<Stored, Half>) {
      surrogate_loops().subtract_rows_f16(count, weight, rows, out);
    } else {
      surrogate_loops().subtract_rows_f32(count, weight, rows, out);
    }
  }

  /// A line of a tile, as it is stored.
  template <class Stored>
  static void keep(const T* line, Stored* stored) {
    if constexpr (std::is_same_v<Stored, Half>) {
      surrogate_loops().to_half(column_tile, line, stored);
    } else {
      std::copy_n(line, column_tile, stored);
    }
  }

  static void absorb(std::size_t n, double scale, double shift, T* v, T* variance, T* mean) {
    if constexpr (wide) {
      surrogate_loops().absorb_f64(n, scale, shift, v, variance, mean);
    } else {
      surrogate_loops().absorb_f32(n, static_cast<T>(scale), static_cast<T>(shift), v, variance, mean);
    }
  }

  static void absorb_product(std::size_t n, T factor, const T* kernel, const T* explained, double scale, double shift,
                             T* variance, T* mean) {
    if constexpr (wide) {
      surrogate_loops().absorb_product_f64(n, factor, kernel, explained, scale, shift, variance, mean);
    } else {
      surrogate_loops().absorb_product_f32(n, factor, kernel, explained, static_cast<T>(scale), static_cast<T>(shift),
                                           variance, mean);
    }
  }

  static void deviation(std::size_t n, double amplitude, const T* variance, T* out) {
    if constexpr (wide) {
      surrogate_loops().deviation_f64(n, amplitude, variance, out);
    } else {
      surrogate_loops().deviation_f32(n, static_cast<T>(amplitude), variance, out);
    }
  }
};

}  // namespace probewise
