// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>

namespace probewise {

/// Threads that the core computes with, the caller's included: PROBEWISE_THREADS when first asked, default 1.
/// Throws std::invalid_argument unless it is a whole number from 1 to 1024. No answer depends on it.
std::size_t core_threads();

}  // namespace probewise
