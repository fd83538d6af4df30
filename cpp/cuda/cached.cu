// SPDX-License-Identifier: BSD-3-Clause
#include <vector>

#include "cuda/launch.hpp"
#include "cuda/maps.hpp"
#include "surrogate/kernel_body.hpp"

// V = L^-1 K(X, G) is kept; a new row is one pass over it, bound by memory.
namespace probewise::cuda {

namespace {

constexpr std::size_t slab_rows = 64;  // V grows by slabs, so that no row is ever copied

/// Candidate coordinates over the lengthscale, axis by axis.
struct Places {
  const double* scaled;
  std::size_t size;
  int axes, kernel;
  double alpha;
};

template <class T>
struct Rows {
  T* const* slabs;
  std::size_t count;
  const double* weight;
};

PROBEWISE_DEVICE double covariance(const Places& places, std::size_t a, std::size_t b) {
  double found = kernel_body::is_product(places.kernel) ? 1.0 : 0.0;
  for (int axis = 0; axis < places.axes; ++axis) {
    const double* along = places.scaled + static_cast<std::size_t>(axis) * places.size;
    const double share = kernel_body::along_axis(places.kernel, along[a] - along[b]);
    found = kernel_body::is_product(places.kernel) ? found * share : found + share;
  }
  return kernel_body::covariance(places.kernel, places.alpha, found);
}

/// Sum over the rows of weight * V at candidate j. All threads of the block take part.
template <class T>
PROBEWISE_DEVICE T weighted_rows(const Rows<T>& rows, std::size_t j, std::size_t size) {
  PROBEWISE_SHARED T weight[slab_rows];
  T sum = 0;
  for (std::size_t first = 0; first < rows.count; first += slab_rows) {
    const std::size_t here = rows.count - first < slab_rows ? rows.count - first : slab_rows;
    for (std::size_t i = threadIdx.x; i < here; i += block_threads) weight[i] = static_cast<T>(rows.weight[first + i]);
    __syncthreads();
    if (j < size) {
      const T* slab = rows.slabs[first / slab_rows] + j;
      for (std::size_t i = 0; i < here; ++i) sum += weight[i] * slab[i * size];
    }
    __syncthreads();
  }
  return sum;
}

template <class T>
PROBEWISE_KERNEL absorb_row(Places places, Rows<T> rows, NewRow row, T* mean, T* variance, T* deviation) {
  const std::size_t j = thread_number();
  const T explained = weighted_rows(rows, j, places.size);
  if (j >= places.size) return;
  const T prior = static_cast<T>(covariance(places, j, static_cast<std::size_t>(row.index)));
  const T value = (prior - explained) * static_cast<T>(1.0 / row.diagonal);
  rows.slabs[rows.count / slab_rows][rows.count % slab_rows * places.size + j] = value;
  const T left_over = variance[j] - value * value;
  variance[j] = left_over;
  mean[j] += static_cast<T>(row.z) * value;
  deviation[j] = static_cast<T>(row.amplitude) * sqrt(left_over > T{0} ? left_over : T{0});
}

template <class T>
PROBEWISE_KERNEL mean_of_rows(Rows<T> rows, std::size_t size, double constant, T* mean) {
  const std::size_t j = thread_number();
  const T sum = weighted_rows(rows, j, size);
  if (j < size) mean[j] = static_cast<T>(constant) + sum;
}

template <class T>
class CachedMaps final : public PosteriorMaps<T> {
 public:
  CachedMaps(const Candidates& candidates, Kernel kernel, double alpha)
      : PosteriorMaps<T>(candidates.size()),
        candidates_(candidates),
        scaled_(candidates.size() * candidates.axes()),
        places_{scaled_.data(), candidates.size(), static_cast<int>(candidates.axes()), static_cast<int>(kernel),
                alpha} {}

  void restart(std::span<const double> lengthscale, double constant, double amplitude, Stream stream) override {
    std::vector<double> scaled(scaled_.size());
    for (std::size_t axis = 0; axis < candidates_.axes(); ++axis) {
      for (std::size_t i = 0; i < this->size_; ++i) {
        scaled[axis * this->size_ + i] = candidates_.coordinate(i, axis) / lengthscale[axis];
      }
    }
    to_device(scaled_.data(), scaled.data(), scaled.size() * sizeof(double), stream);
    PosteriorMaps<T>::restart(lengthscale, constant, amplitude, stream);
  }

  bool wants_backward_solve() const noexcept override { return false; }

  void append(std::span<const std::int64_t> told, std::span<const double> weight, const NewRow& row,
              Stream stream) override {
    if (told.size() / slab_rows >= slabs_.size()) add_slab(stream);
    launch("absorb_row", absorb_row<T>, blocks_for(this->size_), block_threads, stream, places_, send(weight, stream),
           row, this->mean_.data(), this->variance_.data(), this->deviation_.data());
  }

  void set_mean(std::span<const std::int64_t>, std::span<const double> weight, double constant,
                Stream stream) override {
    launch("mean_of_rows", mean_of_rows<T>, blocks_for(this->size_), block_threads, stream, send(weight, stream),
           this->size_, constant, this->mean_.data());
  }

 private:
  void add_slab(Stream stream) {
    slabs_.emplace_back(slab_rows * this->size_);
    std::vector<T*> table;
    for (const Buffer<T>& slab : slabs_) table.push_back(slab.data());
    slab_table_.reserve(table.size() + 64);
    to_device(slab_table_.data(), table.data(), table.size() * sizeof(T*), stream);
  }

  Rows<T> send(std::span<const double> weight, Stream stream) {
    weight_.reserve((weight.size() + slab_rows) / slab_rows * slab_rows);
    if (!weight.empty()) to_device(weight_.data(), weight.data(), weight.size_bytes(), stream);
    return {slab_table_.data(), weight.size(), weight_.data()};
  }

  Candidates candidates_;
  Buffer<double> scaled_;
  Places places_;
  std::vector<Buffer<T>> slabs_;
  Buffer<T*> slab_table_;
  Buffer<double> weight_;
};

}  // namespace

template <class T>
std::unique_ptr<PosteriorMaps<T>> cached_maps(const Candidates& candidates, Kernel kernel, double alpha) {
  return std::make_unique<CachedMaps<T>>(candidates, kernel, alpha);
}

template std::unique_ptr<PosteriorMaps<double>> cached_maps(const Candidates&, Kernel, double);
template std::unique_ptr<PosteriorMaps<float>> cached_maps(const Candidates&, Kernel, double);

}  // namespace probewise::cuda
