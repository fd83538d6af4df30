// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// One way to write and start kernels for nvcc and for the emulation on the CPU, where every thread of a block is a
// thread, __syncthreads is a barrier and blocks run one after another. Blocks are one-dimensional; a kernel returns
// no thread before the last barrier of its block, and uses no warp intrinsics.
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "cuda/runtime.hpp"
#include "probewise/portable.hpp"

#if defined(__CUDACC__)
#include <cuda_runtime.h>

#define PROBEWISE_KERNEL static __global__ void
#define PROBEWISE_DEVICE static __device__ __forceinline__
#define PROBEWISE_SHARED __shared__

namespace probewise::cuda {

constexpr int block_threads = 256, tile_side = 16;  // a tile's block has tile_side^2 threads

PROBEWISE_DEVICE int load(const int* from) { return *static_cast<const volatile int*>(from); }

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, int threads, Stream stream, A... arguments) {
  kernel<<<grid, static_cast<unsigned>(threads), 0, static_cast<cudaStream_t>(stream)>>>(static_cast<P>(arguments)...);
  check_launch(name);
}

}  // namespace probewise::cuda

#else
#include <barrier>
#include <mutex>
#include <thread>
#include <vector>

#define PROBEWISE_KERNEL static void
#define PROBEWISE_DEVICE static inline
#define PROBEWISE_SHARED static

struct dim3 {
  unsigned x, y, z;
  explicit(false) dim3(unsigned columns = 1, unsigned rows = 1, unsigned planes = 1) : x(columns), y(rows), z(planes) {}
};

namespace probewise::cuda {

constexpr int block_threads = 8, tile_side = 4;

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;
inline thread_local std::barrier<>* block_barrier = nullptr;
inline void __syncthreads() { block_barrier->arrive_and_wait(); }

inline int load(const int* from) { return __atomic_load_n(from, __ATOMIC_RELAXED); }
template <class T>
T atomicAdd(T* at, T value) {
  return __atomic_fetch_add(at, value, __ATOMIC_RELAXED);
}
inline int atomicMin(int* at, int value) {
  int seen = load(at);
  while (value < seen && !__atomic_compare_exchange_n(at, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}
inline int atomicMax(int* at, int value) {
  int seen = load(at);
  while (value > seen && !__atomic_compare_exchange_n(at, &seen, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return seen;
}

template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, int threads, Stream, A... arguments) {
  check_launch(name);
  static std::mutex one_at_a_time;  // shared memory is static
  const std::scoped_lock lock(one_at_a_time);
  std::barrier<> barrier(threads);
  std::vector<std::jthread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      threadIdx = dim3(static_cast<unsigned>(thread));
      blockDim = dim3(static_cast<unsigned>(threads));
      gridDim = grid;
      block_barrier = &barrier;
      for (unsigned block = 0; block < grid.x * grid.y; ++block) {
        blockIdx = dim3(block % grid.x, block / grid.x);
        kernel(static_cast<P>(arguments)...);
        barrier.arrive_and_wait();  // the next block has the same shared memory
      }
    });
  }
}

}  // namespace probewise::cuda
#endif

namespace probewise::cuda {

/// Blocks of `threads` that cover `count` threads.
inline dim3 blocks_for(std::size_t count, int threads = block_threads) {
  return dim3(
      static_cast<unsigned>((count + static_cast<std::size_t>(threads) - 1) / static_cast<std::size_t>(threads)));
}

/// Number of this thread in a one-dimensional grid.
PROBEWISE_DEVICE std::size_t thread_number() { return static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; }

}  // namespace probewise::cuda
