// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "probewise/descriptors/spectra.hpp"
#include "probewise/descriptors/surroundings.hpp"
#include "probewise/descriptors/unmixing.hpp"

namespace py = pybind11;
namespace core = probewise::descriptors;
using probewise::bindings::check_axis;
using probewise::bindings::read_view;
using probewise::bindings::write_view;

namespace {

std::size_t extent(const py::array& array, py::ssize_t axis) { return static_cast<std::size_t>(array.shape(axis)); }

void taper_windows(const py::array& image, const py::array& corners, const py::array& taper, float scale,
                   bool subtract_mean, py::array& out, py::array& means) {
  const auto pixels = read_view<float>(image, "image", 2, "(rows, cols)");
  const auto places = read_view<std::int64_t>(corners, "corners", 2, "(windows, 2)");
  const auto weights = read_view<float>(taper, "taper", 1, "(window,)");
  check_axis(corners, "corners", 1, 2);
  const auto windows = write_view<float>(out, "out", 3, "(windows, window, window)");
  check_axis(out, "out", 0, places.size() / 2);
  check_axis(out, "out", 1, weights.size());
  check_axis(out, "out", 2, weights.size());
  const auto mean_view = write_view<double>(means, "means", 1, "(windows,)");
  check_axis(means, "means", 0, places.size() / 2);
  const probewise::Image2d<const float> view{pixels.data(), image.shape(0), image.shape(1), image.shape(1)};
  py::gil_scoped_release release;
  core::taper_windows(view, places, weights, scale, subtract_mean, windows, mean_view);
}

void window_spectra(const py::array& image, const py::array& corners, const py::array& taper, std::size_t keep,
                    float scale, bool subtract_mean, py::array& out, py::array& means) {
  const auto pixels = read_view<float>(image, "image", 2, "(rows, cols)");
  const auto places = read_view<std::int64_t>(corners, "corners", 2, "(windows, 2)");
  const auto weights = read_view<float>(taper, "taper", 1, "(window,)");
  check_axis(corners, "corners", 1, 2);
  if (keep == 0 || 2 * keep > weights.size()) {
    throw py::value_error("keep is " + std::to_string(keep) + ", expected 1 to " + std::to_string(weights.size() / 2));
  }
  const auto target = write_view<float>(out, "out", 2, "(windows, features)");
  check_axis(out, "out", 0, places.size() / 2);
  check_axis(out, "out", 1, 2 * keep * (keep + 1));
  const auto mean_view = write_view<double>(means, "means", 1, "(windows,)");
  check_axis(means, "means", 0, places.size() / 2);
  const probewise::Image2d<const float> view{pixels.data(), image.shape(0), image.shape(1), image.shape(1)};
  py::gil_scoped_release release;
  core::window_spectra(view, places, weights, keep, scale, subtract_mean, target, mean_view);
}

void refine_peaks(const py::array& windows, double reach, py::array& peaks, py::array& power, py::array& phase_step) {
  const auto values = read_view<float>(windows, "windows", 3, "(windows, window, window)");
  check_axis(windows, "windows", 2, extent(windows, 1));
  const auto places = write_view<double>(peaks, "peaks", 3, "(windows, peaks, 2)");
  check_axis(peaks, "peaks", 0, extent(windows, 0));
  check_axis(peaks, "peaks", 2, 2);
  const auto strengths = write_view<double>(power, "power", 2, "(windows, peaks)");
  check_axis(power, "power", 0, extent(windows, 0));
  check_axis(power, "power", 1, extent(peaks, 1));
  const auto steps = write_view<double>(phase_step, "phase_step", 2, "(windows, peaks)");
  check_axis(phase_step, "phase_step", 0, extent(windows, 0));
  check_axis(phase_step, "phase_step", 1, extent(peaks, 1));
  py::gil_scoped_release release;
  core::refine_peaks(values, extent(windows, 1), reach, places, strengths, steps);
}

void project(const py::array& spectra, const py::array& basis, py::array& products, py::array& norms) {
  const auto rows = read_view<float>(spectra, "spectra", 2, "(n, f)");
  const auto directions = read_view<double>(basis, "basis", 2, "(k, f)");
  check_axis(basis, "basis", 1, extent(spectra, 1));
  const auto target = write_view<double>(products, "products", 2, "(n, k)");
  check_axis(products, "products", 0, extent(spectra, 0));
  check_axis(products, "products", 1, extent(basis, 0));
  const auto squares = write_view<double>(norms, "norms", 1, "(n,)");
  check_axis(norms, "norms", 0, extent(spectra, 0));
  py::gil_scoped_release release;
  core::project(rows, directions, extent(spectra, 1), target, squares);
}

void solve_abundances(const py::array& gram, const py::array& products, const std::string& constraint,
                      py::array& abundances) {
  const auto matrix = read_view<double>(gram, "gram", 2, "(k, k)");
  check_axis(gram, "gram", 1, extent(gram, 0));
  const auto right = read_view<double>(products, "products", 2, "(n, k)");
  check_axis(products, "products", 1, extent(gram, 0));
  const auto target = write_view<double>(abundances, "abundances", 2, "(n, k)");
  check_axis(abundances, "abundances", 0, extent(products, 0));
  check_axis(abundances, "abundances", 1, extent(gram, 0));
  core::Constraint kind{};
  if (constraint == "non-negative") {
    kind = core::Constraint::non_negative;
  } else if (constraint == "fully-constrained") {
    kind = core::Constraint::fully_constrained;
  } else {
    throw py::value_error("constraint is '" + constraint + "', expected 'non-negative' or 'fully-constrained'");
  }
  py::gil_scoped_release release;
  core::solve_abundances(matrix, right, kind, target);
}

std::span<const double> read_points(const py::array& points, const char* name) {
  const auto view = read_view<double>(points, name, 2, "(n, 2)");
  check_axis(points, name, 1, 2);
  if (!std::all_of(view.begin(), view.end(), [](double value) { return std::isfinite(value); })) {
    throw py::value_error(std::string(name) + " holds values that are not finite, expected none");
  }
  return view;
}

std::span<const std::int64_t> read_labels(const py::array& label, const py::array& yx) {
  const auto view = read_view<std::int64_t>(label, "label", 1, "(n,)");
  check_axis(label, "label", 0, extent(yx, 0));
  return view;
}

py::tuple surroundings(const py::array& yx, const py::array& label, std::pair<double, double> shape,
                       std::size_t neighbours, std::size_t together, std::size_t fewest, double least_spread) {
  const auto places = read_points(yx, "yx");
  const auto labels = read_labels(label, yx);
  if (neighbours < 1 || neighbours > core::most_neighbours || labels.size() <= neighbours) {
    throw py::value_error("neighbours is " + std::to_string(neighbours) + " of " + std::to_string(labels.size()) +
                          " atoms, expected 1 to " + std::to_string(core::most_neighbours) + " and fewer than atoms");
  }
  if (together < 1 || together > neighbours + 1) {
    throw py::value_error("together is " + std::to_string(together) + ", expected 1 to " +
                          std::to_string(neighbours + 1));
  }
  const auto count = static_cast<py::ssize_t>(labels.size());
  py::array_t<double> nearest(count), unlike(count);
  py::array_t<bool> inner(count);
  const std::span near(nearest.mutable_data(), labels.size()), far(unlike.mutable_data(), labels.size());
  const std::span inside(inner.mutable_data(), labels.size());
  {
    py::gil_scoped_release release;
    core::surroundings(places, labels, shape.first, shape.second, {neighbours, together, fewest, least_spread}, near,
                       inside, far);
  }
  return py::make_tuple(nearest, inner, unlike);
}

py::tuple nearest(const py::array& points, const py::array& queries, std::size_t k) {
  const auto places = read_points(points, "points"), asked = read_points(queries, "queries");
  if (k < 1 || k > core::most_neighbours || k > extent(points, 0)) {
    throw py::value_error("k is " + std::to_string(k) + " of " + std::to_string(extent(points, 0)) +
                          " points, expected 1 to " + std::to_string(core::most_neighbours) +
                          " and no more than points");
  }
  py::array_t<double> distance({queries.shape(0), static_cast<py::ssize_t>(k)});
  py::array_t<std::int64_t> number({queries.shape(0), static_cast<py::ssize_t>(k)});
  const std::span lengths(distance.mutable_data(), extent(queries, 0) * k);
  const std::span numbers(number.mutable_data(), lengths.size());
  {
    py::gil_scoped_release release;
    core::nearest(places, asked, k, lengths, numbers);
  }
  return py::make_tuple(distance, number);
}

py::array discord(const py::array& yx, const py::array& label, const py::array& terms, std::size_t neighbours) {
  const auto places = read_points(yx, "yx"), directions = read_points(terms, "terms");
  const auto labels = read_labels(label, yx);
  check_axis(terms, "terms", 0, labels.size());
  if (neighbours >= core::most_neighbours) {
    throw py::value_error("neighbours is " + std::to_string(neighbours) + ", expected fewer than " +
                          std::to_string(core::most_neighbours));
  }
  py::array_t<double> out(static_cast<py::ssize_t>(labels.size()));
  const std::span target(out.mutable_data(), labels.size());
  {
    py::gil_scoped_release release;
    core::discord(places, labels, directions, neighbours, target);
  }
  return out;
}

}  // namespace

void bind_descriptors(py::module_& module) {
  module.def("taper_windows", &taper_windows, py::arg("image"), py::arg("corners"), py::arg("taper"), py::arg("scale"),
             py::arg("subtract_mean"), py::arg("out"), py::arg("means"));
  module.def("window_spectra", &window_spectra, py::arg("image"), py::arg("corners"), py::arg("taper"), py::arg("keep"),
             py::arg("scale"), py::arg("subtract_mean"), py::arg("out"), py::arg("means"));
  module.def("refine_peaks", &refine_peaks, py::arg("windows"), py::arg("reach"), py::arg("peaks"), py::arg("power"),
             py::arg("phase_step"));
  module.def("project", &project, py::arg("spectra"), py::arg("basis"), py::arg("products"), py::arg("norms"));
  module.def("solve_abundances", &solve_abundances, py::arg("gram"), py::arg("products"), py::arg("constraint"),
             py::arg("abundances"));
  module.def("surroundings", &surroundings, py::arg("yx"), py::arg("label"), py::arg("shape"), py::arg("neighbours"),
             py::arg("together"), py::arg("fewest"), py::arg("least_spread"));
  module.def("nearest", &nearest, py::arg("points"), py::arg("queries"), py::arg("k"));
  module.def("discord", &discord, py::arg("yx"), py::arg("label"), py::arg("terms"), py::arg("neighbours"));
}
