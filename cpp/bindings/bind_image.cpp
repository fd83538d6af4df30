// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>

#include "arrays.hpp"
#include "probewise/image/gate.hpp"

namespace py = pybind11;
using probewise::bindings::read_view;
using probewise::bindings::write_view;

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
}
