// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// Sums over the threads of a block; every thread of it has to call them.
#include "cuda/launch.hpp"

namespace probewise::cuda {

/// Sum of `value` over the threads before this one; `total` over all of them.
PROBEWISE_DEVICE int sum_before(int value, int& total) {
  PROBEWISE_SHARED int sums[block_threads];
  const int thread = static_cast<int>(threadIdx.x);
  sums[thread] = value;
  __syncthreads();
  for (int step = 1; step < block_threads; step *= 2) {
    const int earlier = thread >= step ? sums[thread - step] : 0;
    __syncthreads();
    sums[thread] += earlier;
    __syncthreads();
  }
  total = sums[block_threads - 1];
  const int before = sums[thread] - value;
  __syncthreads();
  return before;
}

/// Sum of `value` over the block, added in the same order every time.
PROBEWISE_DEVICE double block_sum(double value) {
  PROBEWISE_SHARED double sums[block_threads];
  const int thread = static_cast<int>(threadIdx.x);
  sums[thread] = value;
  __syncthreads();
  for (int half = block_threads / 2; half > 0; half /= 2) {
    if (thread < half) sums[thread] += sums[thread + half];
    __syncthreads();
  }
  const double total = sums[0];
  __syncthreads();
  return total;
}

}  // namespace probewise::cuda
