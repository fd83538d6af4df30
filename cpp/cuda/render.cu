// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "cuda/launch.hpp"
#include "cuda/render.hpp"
#include "instrument/render_body.hpp"

namespace probewise::cuda {

namespace {

PROBEWISE_KERNEL sum_points(const float* y, const float* x, std::size_t points, instrument::AtomCells cells,
                            instrument::RadialTables tables, float unit, float* out) {
  const std::size_t p = thread_number();
  if (p < points) out[p] = static_cast<float>(instrument::sum_at(y[p], x[p], cells, tables)) * unit;
}

/// Copies one array after the other and says where each has gone.
template <class T>
class Packing {
 public:
  Packing(Buffer<T>& buffer, std::size_t size, Stream stream) : stream_(stream) {
    buffer.reserve(size);
    next_ = buffer.data();
  }
  const T* add(const T* values, std::size_t count) {
    if (count > 0) to_device(next_, values, count * sizeof(T), stream_);
    return std::exchange(next_, next_ + count);
  }
  T* rest() const { return next_; }

 private:
  T* next_ = nullptr;
  Stream stream_;
};

}  // namespace

void RenderSums::operator()(instrument::Renderer& renderer, std::span<const float> y, std::span<const float> x,
                            std::span<float> out, Stream stream) {
  if (y.empty()) return;
  const auto [y_low, y_high] = std::minmax_element(y.begin(), y.end());
  const auto [x_low, x_high] = std::minmax_element(x.begin(), x.end());
  const double reach = renderer.reach_nm();
  const instrument::Arranged arranged =
      renderer.arrange({static_cast<double>(*y_low) - reach, static_cast<double>(*x_low) - reach,
                        static_cast<double>(*y_high) + reach, static_cast<double>(*x_high) + reach});
  instrument::AtomCells cells = arranged.cells;
  instrument::RadialTables tables = arranged.tables;
  const std::size_t atoms = arranged.atoms, starts = static_cast<std::size_t>(cells.rows * cells.cols) + 1;
  Packing<float> floats(floats_, 3 * y.size() + 3 * atoms + arranged.entries, stream);
  cells.y = floats.add(cells.y, atoms);
  cells.x = floats.add(cells.x, atoms);
  cells.weight = floats.add(cells.weight, atoms);
  tables.entries = floats.add(tables.entries, arranged.entries);
  const float* const point_y = floats.add(y.data(), y.size());
  const float* const point_x = floats.add(x.data(), x.size());
  Packing<int> integers(integers_, atoms + starts, stream);
  cells.table = integers.add(cells.table, atoms);
  cells.start = integers.add(cells.start, starts);
  launch("sum_points", sum_points, blocks_for(y.size()), block_threads, stream, point_y, point_x, y.size(), cells,
         tables, arranged.unit, floats.rest());
  to_host(out.data(), floats.rest(), out.size_bytes(), stream);
  if (!renderer.specimen().has_patches()) return;
  for (std::size_t p = 0; p < y.size(); ++p) {
    out[p] +=
        static_cast<float>(renderer.specimen().background({static_cast<double>(y[p]), static_cast<double>(x[p])}));
  }
}

}  // namespace probewise::cuda
