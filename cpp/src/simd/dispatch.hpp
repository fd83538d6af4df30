// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include "probewise/simd.hpp"

// A room's hot loops live in one *_level.cpp that defines, in namespace probewise::PROBEWISE_LEVEL, a function
// `const Table& NAME()` returning its table of function pointers. PROBEWISE_DISPATCH(Table, NAME) declares the
// three and defines probewise::NAME(), which returns the table of the active level.
#if defined(__x86_64__) && defined(__GNUC__)
#define PROBEWISE_DISPATCH(Table, NAME)                  \
  namespace base {                                       \
  const Table& NAME() noexcept;                          \
  }                                                      \
  namespace avx2 {                                       \
  const Table& NAME() noexcept;                          \
  }                                                      \
  namespace avx512 {                                     \
  const Table& NAME() noexcept;                          \
  }                                                      \
  const Table& NAME() {                                  \
    static const Table& chosen = [&]() -> const Table& { \
      switch (active_simd_level()) {                     \
        case SimdLevel::avx512:                          \
          return avx512::NAME();                         \
        case SimdLevel::avx2:                            \
          return avx2::NAME();                           \
        case SimdLevel::base:                            \
          break;                                         \
      }                                                  \
      return base::NAME();                               \
    }();                                                 \
    return chosen;                                       \
  }
#else
#define PROBEWISE_DISPATCH(Table, NAME) \
  namespace base {                      \
  const Table& NAME() noexcept;         \
  }                                     \
  const Table& NAME() { return base::NAME(); }
#endif
