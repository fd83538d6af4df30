// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <stdexcept>

#include "cuda/image.hpp"
#include "cuda/launch.hpp"
#include "image/intensity_body.hpp"
#include "image/pixel_body.hpp"

namespace probewise::cuda {

namespace {

// Ranks looked for: two neighbours at either percentile of the image, two at the median of its roughness.
constexpr int targets = 6, of_image = 4;
constexpr int digits = 256, passes = 4;  // a key has four digits of eight bits

/// How far a rank has been followed: the digits of its key that are known, and its rank among the keys that share them.
struct Selection {
  unsigned key[targets];
  unsigned long long rank[targets];
  double share[targets / 2];  // of the way from a rank to the next
  bool rough;
  int finite;
  float offset, scale;
};

PROBEWISE_DEVICE unsigned key_of(float value) { return static_cast<unsigned>(ordered(value)) ^ 0x80000000u; }
PROBEWISE_DEVICE float value_of(unsigned key) { return from_ordered(static_cast<int32_t>(key ^ 0x80000000u)); }

/// The first target whose known digits are those of target `t`: targets that agree share its counts.
PROBEWISE_DEVICE int leader_of(const Selection& state, int t) {
  int leader = t;
  for (int s = t - 1; s >= (t < of_image ? 0 : of_image); --s) leader = state.key[s] == state.key[t] ? s : leader;
  return leader;
}

PROBEWISE_DEVICE void count_key(const Selection& state, const bool* leads, unsigned key, int first, int last, int pass,
                                unsigned* counts) {
  const int shift = 8 * (passes - 1 - pass);
  for (int t = first; t < last; ++t) {
    if (!leads[t] || (pass > 0 && (key ^ state.key[t]) >> (shift + 8) != 0)) continue;
    atomicAdd(counts + t * digits + (key >> shift) % digits, 1u);
  }
}

PROBEWISE_KERNEL count_digits(const float* image, std::ptrdiff_t rows, std::ptrdiff_t cols, int pass, Selection* state,
                              unsigned* counts) {
  PROBEWISE_SHARED unsigned own[targets * digits];
  PROBEWISE_SHARED Selection known;
  PROBEWISE_SHARED bool leads[targets];
  for (int i = static_cast<int>(threadIdx.x); i < targets * digits; i += block_threads) own[i] = 0;
  if (threadIdx.x == 0) known = *state;
  if (threadIdx.x < targets)
    leads[threadIdx.x] = leader_of(*state, static_cast<int>(threadIdx.x)) == static_cast<int>(threadIdx.x);
  __syncthreads();
  const std::size_t size = static_cast<std::size_t>(rows * cols), width = static_cast<std::size_t>(cols);
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * block_threads;
  for (std::size_t i = thread_number(); i < size; i += stride) {
    const int order = ordered(image[i]);
    if (pass == 0 && !(order < ordered_infinity && order > ~ordered_infinity)) atomicMin(&state->finite, 0);
    count_key(known, leads, key_of(image[i]), 0, of_image, pass, own);
    if (!known.rough || i / width + 2 >= static_cast<std::size_t>(rows) || i % width + 2 >= width) continue;
    const float rough = roughness_pixel(image, image + width, image + 2 * width, i);
    count_key(known, leads, key_of(rough), of_image, targets, pass, own);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < targets * digits; i += block_threads) {
    if (own[i] != 0) atomicAdd(counts + i, own[i]);
  }
}

/// One block: the digit of each rank, and after the last the range.
PROBEWISE_KERNEL follow_ranks(int pass, Selection* state, unsigned* counts) {
  PROBEWISE_SHARED unsigned own[targets * digits];
  PROBEWISE_SHARED int leaders[targets];
  for (int i = static_cast<int>(threadIdx.x); i < targets * digits; i += block_threads) {
    own[i] = counts[i];
    counts[i] = 0;
  }
  if (threadIdx.x < targets) leaders[threadIdx.x] = leader_of(*state, static_cast<int>(threadIdx.x));
  __syncthreads();
  if (threadIdx.x < targets) {
    const unsigned* count = own + leaders[threadIdx.x] * digits;
    unsigned long long rank = state->rank[threadIdx.x];
    int digit = 0;
    for (; digit < digits - 1 && rank >= count[digit]; ++digit) rank -= count[digit];
    state->rank[threadIdx.x] = rank;
    state->key[threadIdx.x] |= static_cast<unsigned>(digit) << (8 * (passes - 1 - pass));
  }
  __syncthreads();
  if (threadIdx.x != 0 || pass + 1 < passes) return;
  double found[targets / 2];
  for (int i = 0; i < targets / 2; ++i) {
    found[i] = static_cast<double>(value_of(state->key[2 * i])) * (1 - state->share[i]) +
               static_cast<double>(value_of(state->key[2 * i + 1])) * state->share[i];
  }
  const float noise = state->rough ? static_cast<float>(found[2] / median_of_normal) : 0.0f;
  const IntensityRange range = intensity_range(found[0], found[1], noise);
  state->offset = range.offset;
  state->scale = range.scale;
}

PROBEWISE_KERNEL normalise(const float* image, std::size_t size, const Selection* state, float* out) {
  const float offset = state->offset, factor = 1 / state->scale;
  const std::size_t i = thread_number();
  if (i < size) out[i] = affine_pixel(image[i], offset, factor);
}

}  // namespace

IntensityRange Normaliser::operator()(const float* image, std::ptrdiff_t rows, std::ptrdiff_t cols, float* out,
                                      Stream stream) {
  const auto size = static_cast<std::size_t>(rows * cols);
  const bool rough = rows >= 3 && cols >= 3;
  const std::size_t inner = rough ? static_cast<std::size_t>((rows - 2) * (cols - 2)) : 1;
  Selection state{};
  state.rough = rough;
  state.finite = 1;
  const double shares[] = {low_share, high_share, 0.5};
  for (int i = 0; i < targets / 2; ++i) {
    const std::size_t last = (2 * i < of_image ? size : inner) - 1;
    const double place = shares[i] * static_cast<double>(last);
    const auto rank = static_cast<std::size_t>(place);
    state.rank[2 * i] = rank;
    state.rank[2 * i + 1] = std::min(rank + 1, last);
    state.share[i] = place - static_cast<double>(rank);
  }
  state_.reserve(sizeof state);
  counts_.reserve(targets * digits);
  auto* const on = reinterpret_cast<Selection*>(state_.data());
  to_device(on, &state, sizeof state, stream);
  clear(counts_.data(), counts_.size() * sizeof(unsigned), stream);
  // Enough blocks to fill a device, few enough that adding up their counts costs little.
  const dim3 blocks(std::min(blocks_for(size).x, 512u));
  for (int pass = 0; pass < passes; ++pass) {
    launch("count_digits", count_digits, blocks, block_threads, stream, image, rows, cols, pass, on, counts_.data());
    launch("follow_ranks", follow_ranks, dim3(1), block_threads, stream, pass, on, counts_.data());
  }
  launch("normalise", normalise, blocks_for(size), block_threads, stream, image, size, on, out);
  to_host(&state, on, sizeof state, stream);
  if (state.finite == 0) throw std::invalid_argument("image holds values that are not finite, expected none");
  return {state.offset, state.scale};
}

}  // namespace probewise::cuda
