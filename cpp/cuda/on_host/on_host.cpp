// SPDX-License-Identifier: BSD-3-Clause
// The runtime on the CPU: device memory is memory, a stream is the calling thread.
#include "cuda/on_host/on_host.hpp"

#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

#include "cuda/runtime.hpp"
#include "probewise/errors.hpp"

namespace probewise::cuda {

namespace {

int calls_left = -1;

/// Every call that a lost device would refuse.
void call(const char* what) {
  if (calls_left == 0) throw CudaError(std::string(what) + ": cudaErrorDeviceUnavailable: lost by a test");
  if (calls_left > 0) --calls_left;
}

}  // namespace

void lose_device_after(int calls) { calls_left = calls; }

int device_count() { return 1; }

std::string device_name(int device) {
  if (device != 0) throw std::invalid_argument("device is " + std::to_string(device) + ", expected 0");
  return "emulation on the CPU";
}

bool emulated() noexcept { return true; }
void activate(int device) { device_name(device); }

void* allocate(std::size_t bytes) {
  void* memory = std::malloc(bytes);
  if (memory == nullptr && bytes > 0) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept { std::free(memory); }

void to_device(void* device, const void* host, std::size_t bytes, Stream) {
  call("copying to the device");
  if (bytes > 0) std::memcpy(device, host, bytes);
}
void to_host(void* host, const void* device, std::size_t bytes, Stream) {
  call("copying from the device");
  if (bytes > 0) std::memcpy(host, device, bytes);
}
void on_device(void* to, const void* from, std::size_t bytes, Stream) {
  if (bytes > 0) std::memmove(to, from, bytes);
}
void clear(void* device, std::size_t bytes, Stream) {
  if (bytes > 0) std::memset(device, 0, bytes);
}
void synchronize(Stream) {}
void check_launch(const char* kernel) { call(kernel); }

}  // namespace probewise::cuda
