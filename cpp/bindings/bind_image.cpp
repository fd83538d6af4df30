// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <utility>

#include "arrays.hpp"
#include "probewise/image/atom_statistics.hpp"
#include "probewise/image/atoms.hpp"
#include "probewise/image/column_test.hpp"
#include "probewise/image/gate.hpp"
#include "probewise/image/network_input.hpp"
#include "probewise/image/patches.hpp"
#include "probewise/image/refine.hpp"
#include "probewise/image/resample.hpp"

namespace py = pybind11;
using probewise::Image2d;
using probewise::bindings::check_array;
using probewise::bindings::check_axis;
using probewise::bindings::describe;
using probewise::bindings::read_view;
using probewise::bindings::write_view;

namespace {

Image2d<const float> read_image(const py::array& image, const char* name) {
  const auto view = read_view<float>(image, name, 2, "(rows, cols)");
  if (view.empty()) throw py::value_error(std::string(name) + " is a " + describe(image) + ", expected at least 1 x 1");
  return {view.data(), image.shape(0), image.shape(1), image.shape(1)};
}

std::span<const double> read_points(const py::array& points, const char* name) {
  const auto view = read_view<double>(points, name, 2, "(n, 2)");
  check_axis(points, name, 1, 2);
  return view;
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::tuple find_atoms(const py::array& probability, float threshold) {
  const auto maps = read_view<float>(probability, "probability", 3, "(classes, rows, cols)");
  const py::ssize_t classes = probability.shape(0), rows = probability.shape(1), cols = probability.shape(2);
  probewise::FoundAtoms atoms;
  {
    const py::gil_scoped_release unlocked;
    for (py::ssize_t k = 0; k < classes; ++k) {
      probewise::find_atoms({maps.data() + k * rows * cols, rows, cols, cols}, threshold, k, atoms);
    }
  }
  const auto count = static_cast<py::ssize_t>(atoms.label.size());
  return py::make_tuple(py::array_t<double>({count, py::ssize_t{2}}, atoms.yx.data()), to_array(atoms.label),
                        to_array(atoms.score));
}

py::tuple refine_atoms(const py::array& image, const py::array& yx, std::pair<double, double> noise, double width_px,
                       double limit_px, double least_width_px) {
  const auto from = read_image(image, "image");
  const auto points = read_points(yx, "yx");
  probewise::RefinedAtoms found;
  {
    const py::gil_scoped_release unlocked;
    found = probewise::refine_atoms(from, points, {{noise.first, noise.second}, width_px, limit_px, least_width_px});
  }
  const auto count = static_cast<py::ssize_t>(found.amplitude.size());
  py::array_t<bool> fitted(count);
  std::copy(found.fitted.begin(), found.fitted.end(), fitted.mutable_data());
  return py::make_tuple(py::array_t<double>({count, py::ssize_t{2}}, found.yx.data()), to_array(found.amplitude),
                        to_array(found.amplitude_error), to_array(found.background), fitted, found.width_px,
                        found.limit_px);
}

void judge_columns(const py::array& yx, std::pair<std::ptrdiff_t, std::ptrdiff_t> shape, double width_px,
                   const py::array& amplitude, const py::array& error, double growth, const py::array& share,
                   const std::vector<std::pair<std::int64_t, int>>& hosts, std::int64_t vacancy, std::int64_t dopant,
                   py::array label) {
  const auto points = read_points(yx, "yx");
  const auto heights = read_view<double>(amplitude, "amplitude", 1, "(n,)");
  const auto errors = read_view<double>(error, "error", 1, "(n,)");
  const auto shares = read_view<double>(share, "share", 2, "(n, classes)");
  const auto labels = write_view<std::int64_t>(label, "label", 1, "(n,)");
  for (const auto& [array, name] : {std::pair(&amplitude, "amplitude"), {&error, "error"}, {&share, "share"}}) {
    check_axis(*array, name, 0, points.size() / 2);
  }
  check_axis(label, "label", 0, points.size() / 2);
  const std::int64_t classes = share.shape(1);
  std::vector<probewise::HostClass> known;
  for (const auto& [index, atoms] : hosts) {
    if (index < 0 || index >= classes || atoms < 1) throw py::value_error("hosts holds a class that is not in share");
    known.push_back({index, atoms});
  }
  if (vacancy >= classes || dopant >= classes) throw py::value_error("vacancy or dopant is a class not in share");
  const py::gil_scoped_release unlocked;
  probewise::judge_columns({points, heights, errors, growth, width_px, shape.first, shape.second}, shares,
                           {known, vacancy, dopant}, labels);
}

py::tuple answer_statistics(const py::array& input, const py::array& presence, const py::array& classes, double stride,
                            const py::array& yx) {
  const auto from = read_image(input, "input"), present = read_image(presence, "presence");
  const auto maps = read_view<float>(classes, "classes", 3, "(classes, rows, cols)");
  if (maps.empty()) throw py::value_error("classes is a " + describe(classes) + ", expected at least one pixel");
  const auto points = read_points(yx, "yx");
  if (points.size() < 14) throw py::value_error("yx is a " + describe(yx) + ", expected at least 7 atoms");
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (!(points[i] >= 0 && points[i] <= static_cast<double>((i % 2 == 0 ? from.rows : from.cols) - 1))) {
      throw py::value_error("yx holds " + std::to_string(points[i]) + ", expected atoms inside input");
    }
  }
  probewise::AnswerStatistics found;
  {
    const py::gil_scoped_release unlocked;
    found = probewise::answer_statistics({from, present, maps.data(), static_cast<std::size_t>(classes.shape(0)),
                                          classes.shape(1), classes.shape(2), stride},
                                         points);
  }
  return py::make_tuple(found.doubt, found.certainty, found.height, found.distance, found.low_quartile,
                        found.high_quartile);
}

}  // namespace

void bind_image(py::module_& module) {
  module.def(
      "frame_statistics",
      [](const py::array& counts, float saturation) {
        const auto view = read_view<float>(counts, "counts", 1, "(n,)");
        probewise::FrameStatistics found;
        {
          const py::gil_scoped_release unlocked;
          found = probewise::frame_statistics(view, saturation);
        }
        return py::make_tuple(found.finite, found.saturated, found.mean, found.variance, found.minimum, found.maximum,
                              found.digest);
      },
      py::arg("counts"), py::arg("saturation"));
  module.def(
      "to_image",
      [](const py::array& pixel, const py::array& values, py::array out) {
        const auto pixels = read_view<std::int32_t>(pixel, "pixel", 1, "(n,)");
        const auto samples = read_view<float>(values, "values", 1, "(n,)");
        const auto image = write_view<float>(out, "out", 2, "(rows, cols)");
        const py::gil_scoped_release unlocked;
        probewise::to_image(pixels, samples, image);
      },
      py::arg("pixel"), py::arg("values"), py::arg("out"));
  module.def(
      "network_input",
      [](const py::array& image, py::array out) {
        const auto from = read_image(image, "image");
        const auto to = write_view<float>(out, "out", 2, "(rows, cols)");
        check_axis(out, "out", 0, static_cast<std::size_t>(from.rows));
        check_axis(out, "out", 1, static_cast<std::size_t>(from.cols));
        probewise::IntensityRange range;
        {
          const py::gil_scoped_release unlocked;
          range = probewise::network_input(from, to);
        }
        return py::make_tuple(range.offset, range.scale);
      },
      py::arg("image"), py::arg("out"));
  module.def(
      "resample",
      [](const py::array& image, py::array out) {
        const auto from = read_image(image, "image");
        const auto to = write_view<float>(out, "out", 2, "(rows, cols)");
        if (to.empty()) throw py::value_error("out is a " + describe(out) + ", expected at least 1 x 1");
        const Image2d<float> grid{to.data(), out.shape(0), out.shape(1), out.shape(1)};
        const py::gil_scoped_release unlocked;
        probewise::resample(from, grid);
      },
      py::arg("image"), py::arg("out"));
  module.def(
      "extract_patches",
      [](const py::array& image, const py::array& centres, bool subpixel, bool circular, py::array out,
         py::array kept) {
        const auto from = read_image(image, "image");
        const auto points = read_points(centres, "centres");
        const auto numbers = write_view<std::int64_t>(kept, "kept", 1, "(n,)");
        check_axis(kept, "kept", 0, points.size() / 2);
        const auto to = write_view<float>(out, "out", 3, "(n, side, side)");
        check_axis(out, "out", 2, static_cast<std::size_t>(out.shape(1)));
        if (out.shape(0) < kept.shape(0) || out.shape(1) < 1) {
          throw py::value_error("out is a " + describe(out) + ", expected room for " + std::to_string(kept.shape(0)) +
                                " patches of at least 1 x 1");
        }
        const py::gil_scoped_release unlocked;
        return probewise::extract_patches(from, points, {out.shape(1), subpixel, circular}, to, numbers);
      },
      py::arg("image"), py::arg("centres"), py::arg("subpixel"), py::arg("circular"), py::arg("out"), py::arg("kept"));
  module.def("find_atoms", &find_atoms, py::arg("probability"), py::arg("threshold"));
  module.def(
      "label_atoms",
      [](const py::array& yx, const py::array& maps, double stride, py::array label, py::array share) {
        const auto points = read_points(yx, "yx");
        const auto values = read_view<float>(maps, "maps", 3, "(classes, rows, cols)");
        if (values.empty()) throw py::value_error("maps is a " + describe(maps) + ", expected at least one pixel");
        const auto labels = write_view<std::int64_t>(label, "label", 1, "(n,)");
        check_axis(label, "label", 0, points.size() / 2);
        const py::ssize_t classes = maps.shape(0), rows = maps.shape(1), cols = maps.shape(2);
        const auto shares = write_view<double>(share, "share", 2, "(n, classes)");
        check_axis(share, "share", 0, points.size() / 2);
        check_axis(share, "share", 1, static_cast<std::size_t>(classes));
        const py::gil_scoped_release unlocked;
        probewise::label_atoms(points, values.data(), static_cast<std::size_t>(classes), rows, cols, stride, labels,
                               shares);
      },
      py::arg("yx"), py::arg("maps"), py::arg("stride"), py::arg("label"), py::arg("share"));
  module.def(
      "rescaled",
      [](const py::array& yx, std::pair<double, double> scale, std::pair<std::ptrdiff_t, std::ptrdiff_t> shape) {
        const auto points = read_points(yx, "yx");
        py::array_t<double> out({yx.shape(0), py::ssize_t{2}});
        probewise::rescale_points(points, {scale.first, scale.second}, shape.first, shape.second,
                                  {out.mutable_data(), points.size()});
        return out;
      },
      py::arg("yx"), py::arg("scale"), py::arg("shape"));
  module.def("judge_columns", &judge_columns, py::arg("yx"), py::arg("shape"), py::arg("width_px"),
             py::arg("amplitude"), py::arg("error"), py::arg("growth"), py::arg("share"), py::arg("hosts"),
             py::arg("vacancy"), py::arg("dopant"), py::arg("label"));
  module.def(
      "input_statistics",
      [](const py::array& image) {
        const auto from = read_image(image, "image");
        if (from.rows < 5 || from.cols < 5) throw py::value_error("image is a " + describe(image) + ", expected 5 x 5");
        probewise::InputStatistics found;
        {
          const py::gil_scoped_release unlocked;
          found = probewise::input_statistics(from);
        }
        return py::make_tuple(found.mean, found.deviation, found.skewness, found.correlation, found.rows);
      },
      py::arg("image"));
  module.def("answer_statistics", &answer_statistics, py::arg("input"), py::arg("presence"), py::arg("classes"),
             py::arg("stride"), py::arg("yx"));
  module.def(
      "estimate_noise",
      [](const py::array& image) {
        const auto from = read_image(image, "image");
        const py::gil_scoped_release unlocked;
        const probewise::NoiseModel found = probewise::estimate_noise(from);
        return std::pair(found.constant, found.slope);
      },
      py::arg("image"));
  module.def("refine_atoms", &refine_atoms, py::arg("image"), py::arg("yx"), py::arg("noise"), py::arg("width_px"),
             py::arg("limit_px"), py::arg("least_width_px"));
}
