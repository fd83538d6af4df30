// SPDX-License-Identifier: BSD-3-Clause
#pragma once
// What is needed of the CUDA runtime, without its syntax: runtime.cu does it on a device, on_host/ on the CPU.
#include <cstddef>
#include <string>
#include <utility>

namespace probewise::cuda {

using Stream = void*;  ///< a cudaStream_t; null is the default stream

/// Devices that can be used: 0 without a driver or a device. Throws CudaError for any other failure.
int device_count();

/// What `device` calls itself, with its compute capability; throws std::invalid_argument when there is none such.
std::string device_name(int device);

/// True when kernels run on the CPU.
bool emulated() noexcept;

/// Makes `device` that of the calling thread. Throws CudaError.
void activate(int device);

void* allocate(std::size_t bytes);
void release(void* memory) noexcept;

/// Host memory may be changed on return; device memory is current for what follows on the stream.
void to_device(void* device, const void* host, std::size_t bytes, Stream stream);
/// Waits for the stream.
void to_host(void* host, const void* device, std::size_t bytes, Stream stream);
void on_device(void* to, const void* from, std::size_t bytes, Stream stream);
void clear(void* device, std::size_t bytes, Stream stream);
void synchronize(Stream stream);

/// Throws CudaError, which names the kernel, when the last launch failed.
void check_launch(const char* kernel);

/// Device memory for `size` values.
template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t size) { reserve(size); }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(data_); }

  /// Room for at least `size` values; what was held is lost when it has to grow.
  void reserve(std::size_t size) {
    if (size <= size_) return;
    release(std::exchange(data_, nullptr));
    size_ = 0;
    data_ = static_cast<T*>(allocate(size * sizeof(T)));
    size_ = size;
  }

  T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace probewise::cuda
