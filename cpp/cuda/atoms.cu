// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <stdexcept>
#include <string>

#include "cuda/block.hpp"
#include "cuda/image.hpp"
#include "cuda/launch.hpp"
#include "image/pixel_body.hpp"

// Components are trees of pixels that lead to the earliest pixel of each, merged by atomic minima (Komura, Computer
// Physics Communications 194 (2015) 54). The earliest pixel numbers the component, so that atoms come in the CPU's
// order, and one block sums over the box about it in a fixed order, so that sums are the same every time.
namespace probewise::cuda {

namespace {

constexpr int none = -1;
constexpr int worst = 0x7fffffff;
enum { top, left, bottom, right, sides };

PROBEWISE_DEVICE int root_of(const int* part, int pixel) {
  for (int above = load(part + pixel); above != pixel; above = load(part + pixel)) pixel = above;
  return pixel;
}

PROBEWISE_DEVICE void merge(int* part, int a, int b) {
  for (a = root_of(part, a), b = root_of(part, b); a != b;) {
    const int low = a < b ? a : b, high = a < b ? b : a;
    const int seen = atomicMin(part + high, low);
    if (seen == high) return;  // it was a root until now
    a = root_of(part, seen);   // somebody hung it elsewhere: that tree has to be merged too
    b = root_of(part, low);
  }
}

PROBEWISE_KERNEL begin_parts(const float* probability, int size, float threshold, int* part, int* wrong) {
  const auto i = static_cast<int>(thread_number());
  if (i >= size) return;
  if (!is_probability(probability[i], probability_slack)) atomicMin(wrong, i);
  part[i] = probability[i] > threshold ? i : none;
}

PROBEWISE_KERNEL merge_parts(int rows, int cols, int size, int* part) {
  const auto i = static_cast<int>(thread_number());
  if (i >= size || load(part + i) == none) return;
  if (i % cols > 0 && load(part + i - 1) != none) merge(part, i, i - 1);
  if (i / cols % rows > 0 && load(part + i - cols) != none) merge(part, i, i - cols);
}

/// part[i] = the earliest pixel of its component; count[block] = how many begin in this block.
PROBEWISE_KERNEL flatten(int size, int* part, int* count) {
  const auto i = static_cast<int>(thread_number());
  const int root = i < size && load(part + i) != none ? root_of(part, i) : none;
  if (root != none) atomicMin(part + i, root);
  int total = 0;
  sum_before(root != none && root == i ? 1 : 0, total);
  if (threadIdx.x == 0) count[blockIdx.x] = total;
}

/// One block: count[b] = components that begin before block b, count[blocks] = all of them.
PROBEWISE_KERNEL sum_counts(int blocks, int* count) {
  int all = 0;
  for (int first = 0; first < blocks; first += block_threads) {
    const int b = first + static_cast<int>(threadIdx.x);
    int total = 0;
    const int before = sum_before(b < blocks ? count[b] : 0, total);
    if (b < blocks) count[b] = all + before;
    all += total;
  }
  if (threadIdx.x == 0) count[blocks] = all;
}

PROBEWISE_KERNEL number_roots(int size, const int* part, const int* count, int* number, int* root, int* box) {
  const auto i = static_cast<int>(thread_number());
  const bool begins = i < size && part[i] == i;
  int total = 0;
  const int slot = count[blockIdx.x] + sum_before(begins ? 1 : 0, total);
  if (!begins) return;
  number[i] = slot;
  root[slot] = i;
  box[slot * sides + top] = box[slot * sides + left] = worst;
  box[slot * sides + bottom] = box[slot * sides + right] = none;
}

PROBEWISE_KERNEL bound_parts(int rows, int cols, int size, const int* part, const int* number, int* box) {
  const auto i = static_cast<int>(thread_number());
  if (i >= size || part[i] == none) return;
  int* own = box + number[part[i]] * sides;
  atomicMin(own + top, i / cols % rows);
  atomicMin(own + left, i % cols);
  atomicMax(own + bottom, i / cols % rows);
  atomicMax(own + right, i % cols);
}

/// One block an atom.
PROBEWISE_KERNEL sum_parts(const float* probability, int rows, int cols, const int* part, const int* root,
                           const int* box, double* yx, std::int64_t* label, double* score) {
  const auto slot = static_cast<int>(blockIdx.x);
  const int* own = box + slot * sides;
  const int own_root = root[slot], plane = own_root / (rows * cols);
  const int width = own[right] - own[left] + 1, area = width * (own[bottom] - own[top] + 1);
  double weight = 0, down = 0, across = 0, pixels = 0;
  for (int k = static_cast<int>(threadIdx.x); k < area; k += block_threads) {
    const int row = k / width, col = k % width;
    const int i = (plane * rows + own[top] + row) * cols + own[left] + col;
    if (part[i] != own_root) continue;
    const auto value = static_cast<double>(probability[i]);
    weight += value;
    down += value * row;
    across += value * col;
    pixels += 1;
  }
  weight = block_sum(weight);
  down = block_sum(down);
  across = block_sum(across);
  pixels = block_sum(pixels);
  if (threadIdx.x != 0) return;
  yx[2 * slot] = own[top] + down / weight;
  yx[2 * slot + 1] = own[left] + across / weight;
  label[slot] = plane;
  score[slot] = weight < pixels ? weight / pixels : 1.0;
}

}  // namespace

std::size_t AtomSearch::operator()(const float* probability, std::ptrdiff_t classes, std::ptrdiff_t rows,
                                   std::ptrdiff_t cols, float threshold, Stream stream) {
  const std::ptrdiff_t total = classes * rows * cols;
  if (total > worst - block_threads) {
    throw std::invalid_argument("probability has " + std::to_string(total) + " values, expected fewer than 2^31");
  }
  const auto size = static_cast<int>(total), height = static_cast<int>(rows), width = static_cast<int>(cols);
  if (size == 0) return 0;
  const dim3 blocks = blocks_for(static_cast<std::size_t>(size));
  part_.reserve(static_cast<std::size_t>(size));
  number_.reserve(static_cast<std::size_t>(size));
  count_.reserve(blocks.x + 2);  // of each block, their sum, and the first value that is no probability
  int found[2] = {0, worst};
  to_device(count_.data() + blocks.x, found, sizeof found, stream);
  int* const wrong = count_.data() + blocks.x + 1;
  launch("begin_parts", begin_parts, blocks, block_threads, stream, probability, size, threshold, part_.data(), wrong);
  launch("merge_parts", merge_parts, blocks, block_threads, stream, height, width, size, part_.data());
  launch("flatten", flatten, blocks, block_threads, stream, size, part_.data(), count_.data());
  launch("sum_counts", sum_counts, dim3(1), block_threads, stream, static_cast<int>(blocks.x), count_.data());
  to_host(found, count_.data() + blocks.x, sizeof found, stream);
  if (found[1] != worst) {
    throw std::invalid_argument("probability holds values outside 0 to 1 in row " +
                                std::to_string(found[1] / width % height) + " of class " +
                                std::to_string(found[1] / width / height));
  }
  const auto atoms = static_cast<std::size_t>(found[0]);
  if (atoms == 0) return 0;
  root_.reserve(atoms);
  box_.reserve(atoms * sides);
  yx_.reserve(2 * atoms);
  score_.reserve(atoms);
  label_.reserve(atoms);
  launch("number_roots", number_roots, blocks, block_threads, stream, size, part_.data(), count_.data(), number_.data(),
         root_.data(), box_.data());
  launch("bound_parts", bound_parts, blocks, block_threads, stream, height, width, size, part_.data(), number_.data(),
         box_.data());
  launch("sum_parts", sum_parts, dim3(static_cast<unsigned>(atoms)), block_threads, stream, probability, height, width,
         part_.data(), root_.data(), box_.data(), yx_.data(), label_.data(), score_.data());
  return atoms;
}

}  // namespace probewise::cuda
