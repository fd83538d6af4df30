// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "arrays.hpp"
#include "probewise/instrument/open_beam.hpp"

namespace py = pybind11;
namespace open_beam = probewise::open_beam;
using open_beam::Chunk;
using open_beam::Placement;
using open_beam::RasterAxis;
using probewise::bindings::check_axis;
using probewise::bindings::read_view;
using probewise::bindings::write_view;

namespace {

using Axis = std::tuple<std::uint16_t, std::uint16_t, std::uint16_t>;    // start, count, step
using Affine = std::pair<std::array<double, 3>, std::array<double, 3>>;  // (origin, along_y, along_x) of y and of x

template <std::size_t bytes>
py::bytes as_bytes(const open_beam::Command<bytes>& command) {
  return {reinterpret_cast<const char*>(command.data()), command.size()};
}

RasterAxis axis_of(const Axis& axis) { return {std::get<0>(axis), std::get<1>(axis), std::get<2>(axis)}; }

Placement placement_of(const Affine& affine) {
  const auto& [y, x] = affine;
  return {{y[0], y[1], y[2]}, {x[0], x[1], x[2]}};
}

std::span<Chunk> write_chunks(py::array& chunks) {
  static_assert(sizeof(Chunk) == 3 * sizeof(std::int64_t));
  const auto view = write_view<std::int64_t>(chunks, "chunks", 2, "(m, 3)");
  check_axis(chunks, "chunks", 1, 3);
  return {reinterpret_cast<Chunk*>(view.data()), view.size() / 3};
}

std::span<const double> read_points(const py::array& yx) {
  const auto view = read_view<double>(yx, "yx", 2, "(n, 2)");
  check_axis(yx, "yx", 1, 2);
  return view;
}

void bind_commands(py::module_& module) {
  module.def(
      "synchronize",
      [](bool raster, bool output, std::uint16_t cookie) {
        using open_beam::Output;
        return as_bytes(open_beam::synchronize(raster, output ? Output::sixteen_bit : Output::none, cookie));
      },
      py::arg("raster"), py::arg("output"), py::arg("cookie"));
  module.def("abort_region", [] { return as_bytes(open_beam::abort_region()); });
  module.def("flush", [] { return as_bytes(open_beam::flush()); });
  module.def(
      "external_control", [](bool enable) { return as_bytes(open_beam::external_control(enable)); }, py::arg("enable"));
  module.def("select_electron_beam", [] { return as_bytes(open_beam::select_beam(open_beam::Beam::electron)); });
  module.def(
      "blank", [](bool enable, bool with_pixel) { return as_bytes(open_beam::blank(enable, with_pixel)); },
      py::arg("enable"), py::arg("with_pixel"));
  module.def("delay", [](std::uint16_t cycles) { return as_bytes(open_beam::delay(cycles)); }, py::arg("cycles"));
  module.def(
      "array_of_vector_pixels",
      [](std::uint16_t last) { return as_bytes(open_beam::array_of(open_beam::Pixels::vector, last)); },
      py::arg("last"));
  module.def(
      "raster_region",
      [](const Axis& y, const Axis& x) { return as_bytes(open_beam::raster_region(axis_of(y), axis_of(x))); },
      py::arg("y"), py::arg("x"));
  module.def(
      "raster_pixel", [](std::uint16_t dwell) { return as_bytes(open_beam::raster_pixel(dwell)); }, py::arg("dwell"));
  module.def(
      "raster_pixel_run",
      [](std::uint16_t last, std::uint16_t dwell) { return as_bytes(open_beam::raster_pixel_run(last, dwell)); },
      py::arg("last"), py::arg("dwell"));
  module.def(
      "vector_pixel",
      [](std::uint16_t y, std::uint16_t x, std::uint16_t dwell) {
        return as_bytes(open_beam::vector_pixel(y, x, dwell));
      },
      py::arg("y"), py::arg("x"), py::arg("dwell"));
  module.def(
      "vector_pixel_least_dwell",
      [](std::uint16_t y, std::uint16_t x) { return as_bytes(open_beam::vector_pixel_least_dwell(y, x)); },
      py::arg("y"), py::arg("x"));
}

void bind_scans(py::module_& module) {
  module.def(
      "raster_axis",
      [](double first, double pitch, std::size_t count) -> std::optional<Axis> {
        const auto axis = open_beam::raster_axis(first, pitch, count);
        if (!axis) return {};
        return Axis{axis->start, axis->count, axis->step};
      },
      py::arg("first"), py::arg("pitch"), py::arg("count"));
  module.def(
      "room_for_vectors",
      [](std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns) {
        const auto room = open_beam::room_for_vectors(samples, duration_ns, chunk_ns);
        return std::pair{room.chunks, room.bytes};
      },
      py::arg("samples"), py::arg("duration_ns"), py::arg("chunk_ns"));
  module.def(
      "room_for_raster",
      [](std::size_t samples, std::int64_t duration_ns, std::int64_t chunk_ns) {
        const auto room = open_beam::room_for_raster(samples, duration_ns, chunk_ns);
        return std::pair{room.chunks, room.bytes};
      },
      py::arg("samples"), py::arg("duration_ns"), py::arg("chunk_ns"));
  module.def(
      "encode_vectors",
      [](const py::array& yx, const py::array& dwell_ns, const Affine& placement, std::int64_t chunk_ns,
         py::array& bytes, py::array& chunks) {
        const auto points = read_points(yx);
        const auto dwell = read_view<std::int64_t>(dwell_ns, "dwell_ns", 1, "(n,)");
        const auto out = write_view<std::uint8_t>(bytes, "bytes", 1, "(b,)");
        const auto ends = write_chunks(chunks);
        const py::gil_scoped_release unlocked;
        return open_beam::encode_vectors(points, dwell, placement_of(placement), chunk_ns, out, ends);
      },
      py::arg("yx"), py::arg("dwell_ns"), py::arg("placement"), py::arg("chunk_ns"), py::arg("bytes"),
      py::arg("chunks"));
  module.def(
      "encode_raster",
      [](const Axis& y, const Axis& x, std::int64_t dwell_ns, std::int64_t chunk_ns, py::array& bytes,
         py::array& chunks) {
        const auto out = write_view<std::uint8_t>(bytes, "bytes", 1, "(b,)");
        const auto ends = write_chunks(chunks);
        const py::gil_scoped_release unlocked;
        return open_beam::encode_raster(axis_of(y), axis_of(x), dwell_ns, chunk_ns, out, ends);
      },
      py::arg("y"), py::arg("x"), py::arg("dwell_ns"), py::arg("chunk_ns"), py::arg("bytes"), py::arg("chunks"));
  module.def(
      "vector_codes",
      [](const py::array& yx, const Affine& placement, py::array& codes) {
        const auto points = read_points(yx);
        const auto out = write_view<std::uint16_t>(codes, "codes", 2, "(n, 2)");
        check_axis(codes, "codes", 1, 2);
        const py::gil_scoped_release unlocked;
        open_beam::vector_codes(points, placement_of(placement), out);
      },
      py::arg("yx"), py::arg("placement"), py::arg("codes"));
  module.def(
      "decode_counts",
      [](const py::array& words, const std::optional<py::array>& keep, py::array& counts) {
        const auto view = read_view<std::uint8_t>(words, "words", 1, "(2n,)");
        const auto kept = keep ? read_view<bool>(*keep, "keep", 1, "(n,)") : std::span<const bool>{};
        const auto out = write_view<float>(counts, "counts", 1, "(n,)");
        const py::gil_scoped_release unlocked;
        return open_beam::decode_counts(view, kept, out);
      },
      py::arg("words"), py::arg("keep"), py::arg("counts"));
}

}  // namespace

void bind_open_beam(py::module_& module) {
  module.attr("DAC_BITS") = open_beam::kDacBits;
  module.attr("TOP_CODE") = open_beam::kTopCode;
  module.attr("DWELL_UNIT_NS") = open_beam::kDwellUnitNs;
  module.attr("LONGEST_DWELL_NS") = open_beam::kLongestDwellNs;
  module.attr("SYNCHRONIZED") = open_beam::kSynchronized;
  bind_commands(module);
  bind_scans(module);
}
