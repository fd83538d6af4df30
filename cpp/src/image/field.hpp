// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <cstddef>
#include <new>
#include <vector>

namespace probewise {

/// Memory that begins with a line of the cache.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t line{64};

  LineAllocator() = default;
  template <class U>
  LineAllocator(const LineAllocator<U>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), line)); }
  void deallocate(T* from, std::size_t) { ::operator delete(from, line); }
  bool operator==(const LineAllocator&) const { return true; }
};

using Field = std::vector<float, LineAllocator<float>>;

}  // namespace probewise
