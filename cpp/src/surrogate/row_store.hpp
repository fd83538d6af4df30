// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "surrogate/level.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace probewise {

/// A matrix that grows by rows, in tiles of `column_tile` columns with each tile's rows one after another: a pass over
/// all rows reads memory in order while a tile's sums stay in registers.
template <class S>
class RowStore {
 public:
  explicit RowStore(std::size_t columns = 0) : tiles_((columns + column_tile - 1) / column_tile) {}

  RowStore(const RowStore& other) : tiles_(other.tiles_), rows_(other.rows_) { move_to(other.rows_, other); }
  RowStore(RowStore&&) noexcept = default;
  RowStore& operator=(RowStore other) noexcept {
    std::swap(tiles_, other.tiles_);
    std::swap(rows_, other.rows_);
    std::swap(capacity_, other.capacity_);
    std::swap(entries_, other.entries_);
    return *this;
  }

  std::size_t tiles() const noexcept { return tiles_; }

  void reserve(std::size_t rows) {
    if (rows > capacity_) move_to(rows, *this);
  }

  /// New rows hold anything.
  void resize(std::size_t rows) {
    if (rows > capacity_) move_to(std::max(rows, 2 * capacity_), *this);
    rows_ = rows;
  }

  S* row(std::size_t tile, std::size_t i) noexcept { return entries_.get() + (tile * capacity_ + i) * column_tile; }
  const S* row(std::size_t tile, std::size_t i) const noexcept {
    return entries_.get() + (tile * capacity_ + i) * column_tile;
  }

 private:
  struct Free {
    void operator()(S* memory) const noexcept { std::free(memory); }
  };

  void move_to(std::size_t capacity, const RowStore& from) {
    std::unique_ptr<S, Free> made(allocate(tiles_ * capacity * column_tile * sizeof(S)));
    for (std::size_t t = 0; t < tiles_ && from.rows_ > 0; ++t) {
      std::copy_n(from.row(t, 0), from.rows_ * column_tile, made.get() + t * capacity * column_tile);
    }
    entries_ = std::move(made);
    capacity_ = capacity;
  }

  /// Whole pages of 2 MiB where there are many: with pages of 4 KiB the pass over V takes 1.4 times as long.
  static S* allocate(std::size_t bytes) {
    constexpr std::size_t huge = std::size_t{1} << 21;
    if (bytes == 0) return nullptr;
    const std::size_t alignment = bytes >= huge ? huge : 64;
    void* memory = std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
    if (memory == nullptr) throw std::bad_alloc();
#if defined(__linux__)
    if (bytes >= huge) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    return static_cast<S*>(memory);
  }

  std::size_t tiles_ = 0, rows_ = 0, capacity_ = 0;
  std::unique_ptr<S, Free> entries_;
};

}  // namespace probewise
