// SPDX-License-Identifier: BSD-3-Clause
// Replaces the global operator new in a file of its own: inlined next to a caller, the compiler takes malloc and
// delete for a mismatch.
#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

#include "allocation_count.hpp"

namespace {

std::atomic<long> allocations{0};

}  // namespace

long allocation_count() noexcept { return allocations; }

void* operator new(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST_CASE("allocations are counted") {
  const long before = allocation_count();
  const std::unique_ptr<double> made = std::make_unique<double>(1.0);
  CHECK(allocation_count() == before + 1);
  CHECK(*made == 1.0);
}
