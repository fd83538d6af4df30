// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "probewise/scan/join.hpp"
#include "probewise/scan/pattern.hpp"
#include "probewise/scan/tour.hpp"

namespace py = pybind11;
using probewise::Pattern;
using probewise::PatternKind;
using probewise::bindings::check_axis;
using probewise::bindings::read_view;
using probewise::bindings::write_view;

namespace {

constexpr std::array<std::pair<const char*, PatternKind>, 8> kKinds{{
    {"serpentine", PatternKind::serpentine},
    {"hilbert", PatternKind::hilbert},
    {"jittered", PatternKind::jittered},
    {"archimedean", PatternKind::archimedean},
    {"constant-velocity", PatternKind::constant_velocity},
    {"fermat", PatternKind::fermat},
    {"vogel", PatternKind::vogel},
    {"lissajous", PatternKind::lissajous},
}};

using Shape = std::pair<std::int32_t, std::int32_t>;
using Point = std::pair<double, double>;

Pattern make_pattern(const std::string& kind, Shape shape, std::size_t points, double a, double b, std::uint64_t seed) {
  const auto* entry =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const auto& known) { return kind == known.first; });
  if (entry == kKinds.end()) throw std::invalid_argument("kind is " + kind + ", expected a pattern");
  const Pattern pattern{entry->second, shape.first, shape.second, points, a, b, seed};
  check_pattern(pattern);
  return pattern;
}

template <class T>
py::array_t<T> pairs(std::size_t n) {
  return py::array_t<T>({static_cast<py::ssize_t>(n), py::ssize_t{2}});
}

template <class T>
std::span<T> span_of(py::array_t<T>& array) {
  return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

std::span<const double> read_points(const py::array& yx) {
  const std::span<const double> view = read_view<double>(yx, "yx", 2, "(n, 2)");
  check_axis(yx, "yx", 1, 2);
  return view;
}

std::span<std::uint16_t> write_codes(py::array& out, std::size_t n) {
  const std::span<std::uint16_t> view = write_view<std::uint16_t>(out, "out", 2, "(n, 2)");
  check_axis(out, "out", 0, n);
  check_axis(out, "out", 1, 2);
  return view;
}

py::tuple raster(Shape shape, std::int64_t dwell_ns, Point centre, Point size, std::int32_t discard_lines,
                 std::int64_t flyback_ns) {
  const probewise::RasterLines lines{shape.first,  shape.second,  discard_lines, dwell_ns,   flyback_ns,
                                     centre.first, centre.second, size.first,    size.second};
  const std::size_t n = lines.samples();
  py::array_t<double> yx = pairs<double>(n);
  py::array_t<std::int64_t> dwell(static_cast<py::ssize_t>(n));
  py::array_t<bool> active(static_cast<py::ssize_t>(n));
  py::array_t<std::int32_t> pixel(static_cast<py::ssize_t>(n));
  {
    const auto yx_span = span_of(yx);
    const auto dwell_span = span_of(dwell);
    const auto active_span = span_of(active);
    const auto pixel_span = span_of(pixel);
    const py::gil_scoped_release unlocked;
    raster_lines(lines, yx_span, dwell_span, active_span, pixel_span);
  }
  return py::make_tuple(yx, dwell, active, pixel);
}

}  // namespace

void bind_scan(py::module_& module) {
  module.def("raster", &raster, py::arg("shape"), py::arg("dwell_ns"), py::arg("centre_yx"), py::arg("size_yx"),
             py::arg("discard_lines"), py::arg("flyback_ns"));
  module.def(
      "codes",
      [](const py::array& yx, int bits, py::array out) {
        const auto values = read_points(yx);
        const auto codes = write_codes(out, values.size() / 2);
        const py::gil_scoped_release unlocked;
        probewise::dac_codes(values, bits, codes);
      },
      py::arg("yx"), py::arg("bits"), py::arg("out"));
  module.def(
      "check_pattern",
      [](const std::string& kind, Shape shape, std::size_t points, double a, double b, std::uint64_t seed) {
        make_pattern(kind, shape, points, a, b, seed);
      },
      py::arg("kind"), py::arg("shape"), py::arg("points"), py::arg("a"), py::arg("b"), py::arg("seed"));
  module.def(
      "pattern_points",
      [](const std::string& kind, Shape shape, std::size_t points, double a, double b, std::uint64_t seed) {
        const Pattern pattern = make_pattern(kind, shape, points, a, b, seed);
        py::array_t<double> yx = pairs<double>(points);
        const auto view = span_of(yx);
        const py::gil_scoped_release unlocked;
        probewise::pattern_points(pattern, view);
        return yx;
      },
      py::arg("kind"), py::arg("shape"), py::arg("points"), py::arg("a"), py::arg("b"), py::arg("seed"));
  module.def(
      "pattern_pixels",
      [](const std::string& kind, Shape shape, std::size_t points, double a, double b, std::uint64_t seed) {
        const Pattern pattern = make_pattern(kind, shape, points, a, b, seed);
        py::array_t<std::int32_t> pixel(static_cast<py::ssize_t>(points));
        const auto view = span_of(pixel);
        const py::gil_scoped_release unlocked;
        probewise::pattern_pixels(pattern, view);
        return pixel;
      },
      py::arg("kind"), py::arg("shape"), py::arg("points"), py::arg("a"), py::arg("b"), py::arg("seed"));
  module.def(
      "pattern_codes",
      [](const std::string& kind, Shape shape, std::size_t points, double a, double b, std::uint64_t seed, int bits,
         py::array out) {
        const Pattern pattern = make_pattern(kind, shape, points, a, b, seed);
        const auto codes = write_codes(out, points);
        const py::gil_scoped_release unlocked;
        probewise::pattern_codes(pattern, bits, codes);
      },
      py::arg("kind"), py::arg("shape"), py::arg("points"), py::arg("a"), py::arg("b"), py::arg("seed"),
      py::arg("bits"), py::arg("out"));
  module.def(
      "pattern_extremes",
      [](const std::string& kind, Shape shape, std::size_t points, double a, double b, std::uint64_t seed) {
        const Pattern pattern = make_pattern(kind, shape, points, a, b, seed);
        const probewise::Extremes most = [&] {
          const py::gil_scoped_release unlocked;
          return probewise::pattern_extremes(pattern);
        }();
        return py::make_tuple(most.step, most.bend);
      },
      py::arg("kind"), py::arg("shape"), py::arg("points"), py::arg("a"), py::arg("b"), py::arg("seed"));
  module.def(
      "pixels",
      [](const py::array& yx, Shape shape) {
        const auto points = read_points(yx);
        py::array_t<std::int32_t> pixel(yx.shape(0));
        const auto view = span_of(pixel);
        const py::gil_scoped_release unlocked;
        probewise::pixels_of(points, shape.first, shape.second, view);
        return pixel;
      },
      py::arg("yx"), py::arg("shape"));
  module.def(
      "join",
      [](const py::array& yx, double step, double bend, Point near, std::size_t settle_samples,
         std::size_t max_points) {
        const auto waypoints = read_points(yx);
        const probewise::JoinedPath path = [&] {
          const py::gil_scoped_release unlocked;
          return probewise::join_waypoints(waypoints, {step, bend, near.first, near.second, settle_samples},
                                           max_points);
        }();
        py::array_t<double> joined = pairs<double>(path.source.size());
        py::array_t<std::int64_t> source(static_cast<py::ssize_t>(path.source.size()));
        std::copy(path.yx.begin(), path.yx.end(), joined.mutable_data());
        std::copy(path.source.begin(), path.source.end(), source.mutable_data());
        return py::make_tuple(joined, source);
      },
      py::arg("yx"), py::arg("step"), py::arg("bend"), py::arg("near_yx"), py::arg("settle_samples"),
      py::arg("max_points"));
  module.def(
      "tour",
      [](const py::array& yx, Point start, double settle_s, double velocity_per_s) {
        const auto points = read_points(yx);
        const std::vector<std::int64_t> order = [&] {
          const py::gil_scoped_release unlocked;
          return probewise::travel_tour(points, start.first, start.second, {settle_s, velocity_per_s});
        }();
        py::array_t<std::int64_t> result(static_cast<py::ssize_t>(order.size()));
        std::copy(order.begin(), order.end(), result.mutable_data());
        return result;
      },
      py::arg("yx"), py::arg("start"), py::arg("settle_s"), py::arg("velocity_per_s"));
}
