// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// PROBEWISE_HD marks a function shared by SIMD bodies, plain C++ and CUDA threads.
// It is always inlined: an out-of-line copy compiled with AVX-512 could otherwise be the one that
// the linker keeps for the whole program.
#if defined(__CUDACC__)
#define PROBEWISE_HD __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define PROBEWISE_HD __attribute__((always_inline)) inline
#elif defined(_MSC_VER)
#define PROBEWISE_HD __forceinline
#else
#define PROBEWISE_HD inline
#endif
