// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>

#include <cstdint>

#include "arrays.hpp"
#include "probewise/errors.hpp"
#include "probewise/image/gate.hpp"
#include "probewise/random.hpp"
#include "probewise/simd.hpp"
#include "probewise/threads.hpp"

namespace py = pybind11;

void bind_instrument(py::module_& module);
void bind_open_beam(py::module_& module);
void bind_scan(py::module_& module);
void bind_image(py::module_& module);
void bind_descriptors(py::module_& module);
void bind_surrogate(py::module_& module);
void bind_acquisition(py::module_& module);

PYBIND11_MODULE(_core, module) {
  module.doc() = "Compiled core of probewise.";
  module.attr("__version__") = PROBEWISE_VERSION;
  static py::exception<probewise::Error> error(module, "Error", PyExc_RuntimeError);
  static py::exception<probewise::NotPositiveDefinite> not_positive_definite(module, "NotPositiveDefinite", error);
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const probewise::NotPositiveDefinite& failure) {
      py::set_error(not_positive_definite, failure.what());
    } catch (const probewise::Error& failure) {
      py::set_error(error, failure.what());
    }
  });
  module.def("simd_level", [] { return std::string(probewise::simd_level_name(probewise::active_simd_level())); });
  module.def("threads", &probewise::core_threads);
  module.def(
      "philox",
      [](std::uint64_t key, std::uint64_t stream, std::uint64_t index) {
        const probewise::RandomBlock block = probewise::philox(key, stream, index);
        return py::make_tuple(block.word[0], block.word[1], block.word[2], block.word[3]);
      },
      py::arg("key"), py::arg("stream"), py::arg("index"));
  module.def(
      "all_finite",
      [](const py::array& values) {
        if (!py::isinstance<py::array_t<float>>(values)) {
          throw py::type_error("values is a " + probewise::bindings::describe(values) + ", expected float32");
        }
        const auto laid_out = py::array_t<float, py::array::c_style>::ensure(values);  // itself but for a strided view
        const std::span view(laid_out.data(), static_cast<std::size_t>(laid_out.size()));
        const py::gil_scoped_release unlocked;
        return probewise::all_finite(view);
      },
      py::arg("values"));
  py::module_ instrument = module.def_submodule("instrument");
  py::module_ open_beam = module.def_submodule("open_beam");
  py::module_ scan = module.def_submodule("scan");
  py::module_ image = module.def_submodule("image");
  py::module_ descriptors = module.def_submodule("descriptors");
  py::module_ surrogate = module.def_submodule("surrogate");
  py::module_ acquisition = module.def_submodule("acquisition");
  bind_instrument(instrument);
  bind_open_beam(open_beam);
  bind_scan(scan);
  bind_image(image);
  bind_descriptors(descriptors);
  bind_surrogate(surrogate);
  bind_acquisition(acquisition);
}
