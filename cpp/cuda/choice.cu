// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "acquisition/policy_body.hpp"
#include "cuda/choice.hpp"
#include "cuda/launch.hpp"

namespace probewise::cuda {

namespace {

constexpr unsigned most_blocks = 1024;

struct Best {
  double score;
  long long index;  // -1: none
};

/// Would the CPU's choice prefer `a`? The rank is asked for only where the scores are equal.
PROBEWISE_DEVICE bool better(const Best& a, const Best& b, ChoiceKey key) {
  if (a.index < 0 || b.index < 0) return a.index >= 0;
  if (a.score != b.score) return a.score > b.score;
  const uint64_t own = tie_rank(key, static_cast<std::size_t>(a.index));
  const uint64_t other = tie_rank(key, static_cast<std::size_t>(b.index));
  return own != other ? own < other : a.index < b.index;
}

/// The best over the block, in its first thread.
PROBEWISE_DEVICE Best best_of_block(Best own, ChoiceKey key) {
  PROBEWISE_SHARED Best bests[block_threads];
  const int thread = static_cast<int>(threadIdx.x);
  bests[thread] = own;
  __syncthreads();
  for (int half = block_threads / 2; half > 0; half /= 2) {
    if (thread < half && better(bests[thread + half], bests[thread], key)) bests[thread] = bests[thread + half];
    __syncthreads();
  }
  return bests[0];
}

template <class T>
PROBEWISE_KERNEL score_candidates(DeviceMaps<T> maps, std::size_t size, const std::uint8_t* blocked, Policy policy,
                                  PolicyParameters parameters, const double* cost, double cost_weight, ChoiceKey key,
                                  Best* best) {
  Best own{0, -1};
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * block_threads;
  for (std::size_t i = thread_number(); i < size; i += stride) {
    if (blocked[i] != 0) continue;
    double score =
        body::score(policy, parameters, static_cast<double>(maps.mean[i]), static_cast<double>(maps.deviation[i]));
    if (cost != nullptr) score -= cost_weight * cost[i];
    const Best found{score, static_cast<long long>(i)};
    if (better(found, own, key)) own = found;
  }
  own = best_of_block(own, key);
  if (threadIdx.x == 0) best[blockIdx.x] = own;
}

/// One block: best[0] = the best of all blocks.
PROBEWISE_KERNEL best_of_all(unsigned count, ChoiceKey key, Best* best) {
  Best own{0, -1};
  for (unsigned i = threadIdx.x; i < count; i += block_threads) {
    if (better(best[i], own, key)) own = best[i];
  }
  own = best_of_block(own, key);
  if (threadIdx.x == 0) best[0] = own;
}

PROBEWISE_KERNEL set_byte(std::uint8_t* bytes, std::int64_t index, std::uint8_t value) { bytes[index] = value; }

}  // namespace

template <class T>
std::int64_t Chooser::operator()(DeviceMaps<T> maps, std::size_t size, const std::uint8_t* blocked, Policy policy,
                                 const PolicyParameters& parameters, const double* cost, double cost_weight,
                                 ChoiceKey key, Stream stream) {
  const unsigned blocks = std::min(blocks_for(size).x, most_blocks);
  best_.reserve(most_blocks * sizeof(Best));
  auto* const best = reinterpret_cast<Best*>(best_.data());
  launch("score_candidates", score_candidates<T>, dim3(blocks), block_threads, stream, maps, size, blocked, policy,
         parameters, cost, cost_weight, key, best);
  launch("best_of_all", best_of_all, dim3(1), block_threads, stream, blocks, key, best);
  Best found{};
  to_host(&found, best, sizeof found, stream);
  return found.index;
}

template std::int64_t Chooser::operator()(DeviceMaps<double>, std::size_t, const std::uint8_t*, Policy,
                                          const PolicyParameters&, const double*, double, ChoiceKey, Stream);
template std::int64_t Chooser::operator()(DeviceMaps<float>, std::size_t, const std::uint8_t*, Policy,
                                          const PolicyParameters&, const double*, double, ChoiceKey, Stream);

void block(std::uint8_t* blocked, std::int64_t index, std::uint8_t value, Stream stream) {
  launch("set_byte", set_byte, dim3(1), 1, stream, blocked, index, value);
}

}  // namespace probewise::cuda
