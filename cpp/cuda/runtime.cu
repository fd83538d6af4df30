// SPDX-License-Identifier: BSD-3-Clause
#include <cuda_runtime.h>

#include <stdexcept>

#include "cuda/runtime.hpp"
#include "probewise/errors.hpp"

namespace probewise::cuda {

namespace {

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // it would be taken for the next launch's
  throw CudaError(std::string(what) + ": " + cudaGetErrorName(status) + ": " + cudaGetErrorString(status));
}

cudaStream_t as_cuda(Stream stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorNoDevice || status == cudaErrorInsufficientDriver) {
    cudaGetLastError();
    return 0;
  }
  check(status, "counting devices");
  return count;
}

std::string device_name(int device) {
  if (device < 0 || device >= device_count()) {
    throw std::invalid_argument("device is " + std::to_string(device) + ", expected below " +
                                std::to_string(device_count()) + ", the number of CUDA devices");
  }
  cudaDeviceProp found;
  check(cudaGetDeviceProperties(&found, device), "device properties");
  return std::string(found.name) + " (sm_" + std::to_string(found.major) + std::to_string(found.minor) + ")";
}

bool emulated() noexcept { return false; }

void activate(int device) { check(cudaSetDevice(device), "selecting the device"); }

void* allocate(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, bytes), "allocating device memory");
  return memory;
}

void release(void* memory) noexcept { cudaFree(memory); }

void to_device(void* device, const void* host, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, as_cuda(stream)), "copying to the device");
}

void to_host(void* host, const void* device, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, as_cuda(stream)), "copying from the device");
  synchronize(stream);
}

void on_device(void* to, const void* from, std::size_t bytes, Stream stream) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, as_cuda(stream)), "copying on the device");
}

void clear(void* device, std::size_t bytes, Stream stream) {
  check(cudaMemsetAsync(device, 0, bytes, as_cuda(stream)), "clearing device memory");
}

void synchronize(Stream stream) { check(cudaStreamSynchronize(as_cuda(stream)), "waiting for the device"); }

void check_launch(const char* kernel) { check(cudaGetLastError(), kernel); }

}  // namespace probewise::cuda
