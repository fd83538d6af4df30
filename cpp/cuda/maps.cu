// SPDX-License-Identifier: BSD-3-Clause
#include "cuda/launch.hpp"
#include "cuda/maps.hpp"

namespace probewise::cuda {

namespace {

template <class T>
PROBEWISE_KERNEL begin_maps(std::size_t size, double constant, double amplitude, T* mean, T* variance, T* deviation) {
  const std::size_t i = thread_number();
  if (i >= size) return;
  mean[i] = static_cast<T>(constant);
  variance[i] = T{1};
  deviation[i] = static_cast<T>(amplitude);
}

}  // namespace

template <class T>
void PosteriorMaps<T>::restart(std::span<const double>, double constant, double amplitude, Stream stream) {
  launch("begin_maps", begin_maps<T>, blocks_for(size_), block_threads, stream, size_, constant, amplitude,
         mean_.data(), variance_.data(), deviation_.data());
}

template <class T>
void PosteriorMaps<T>::remember(Stream stream) {
  const T* const maps[] = {mean_.data(), variance_.data(), deviation_.data()};
  for (std::size_t k = 0; k < 3; ++k) on_device(kept_.data() + k * size_, maps[k], size_ * sizeof(T), stream);
}

template <class T>
void PosteriorMaps<T>::rewind(Stream stream) {
  T* const maps[] = {mean_.data(), variance_.data(), deviation_.data()};
  for (std::size_t k = 0; k < 3; ++k) on_device(maps[k], kept_.data() + k * size_, size_ * sizeof(T), stream);
}

template class PosteriorMaps<double>;
template class PosteriorMaps<float>;

}  // namespace probewise::cuda
