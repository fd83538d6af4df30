// SPDX-License-Identifier: BSD-3-Clause
// Device memory comes and goes as addresses: probewise.device checks what they are of.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>

#include "arrays.hpp"
#include "choice_request.hpp"
#include "cuda/image.hpp"
#include "cuda/runtime.hpp"
#include "cuda/surrogate.hpp"
#include "dlpack.hpp"
#include "probewise/errors.hpp"
#if defined(PROBEWISE_ON_HOST)
#include "cuda/on_host/on_host.hpp"
#endif

namespace py = pybind11;
namespace cuda = probewise::cuda;
using namespace probewise::bindings;

namespace {

using Address = std::uintptr_t;
using Key = std::pair<std::uint64_t, std::uint64_t>;
using probewise::Precision;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

/// One device and one stream: what works on frames, with its working memory.
class Imaging {
 public:
  Imaging(int device, Address stream) : device_(device), stream_(at<void>(stream)) { cuda::activate(device); }

  py::tuple network_input(Address image, std::ptrdiff_t rows, std::ptrdiff_t cols, Address out) {
    probewise::IntensityRange range;
    {
      const py::gil_scoped_release unlocked;
      cuda::activate(device_);
      range = normalise_(at<float>(image), rows, cols, at<float>(out), stream_);
    }
    return py::make_tuple(range.offset, range.scale);
  }

  std::size_t extract_patches(Address image, std::ptrdiff_t rows, std::ptrdiff_t cols, Address centres, std::size_t n,
                              std::ptrdiff_t side, bool subpixel, bool circular, Address out, Address kept) {
    const py::gil_scoped_release unlocked;
    cuda::activate(device_);
    return cut_(at<float>(image), rows, cols, at<double>(centres), n, {side, subpixel, circular}, at<float>(out),
                at<std::int64_t>(kept), stream_);
  }

  std::size_t find_atoms(Address probability, std::ptrdiff_t classes, std::ptrdiff_t rows, std::ptrdiff_t cols,
                         float threshold) {
    const py::gil_scoped_release unlocked;
    cuda::activate(device_);
    return found_ = search_(at<float>(probability), classes, rows, cols, threshold, stream_);
  }

  /// Copies of what find_atoms found, so that its memory is free for the next frame.
  void take_atoms(Address yx, Address label, Address score) {
    const py::gil_scoped_release unlocked;
    cuda::activate(device_);
    cuda::on_device(at<void>(yx), search_.yx(), 2 * found_ * sizeof(double), stream_);
    cuda::on_device(at<void>(label), search_.label(), found_ * sizeof(std::int64_t), stream_);
    cuda::on_device(at<void>(score), search_.score(), found_ * sizeof(double), stream_);
  }

 private:
  int device_;
  cuda::Stream stream_;
  cuda::Normaliser normalise_;
  cuda::PatchCutter cut_;
  cuda::AtomSearch search_;
  std::size_t found_ = 0;
};

class Memory {
 public:
  Memory(std::size_t bytes, int device) {
    cuda::activate(device);
    memory_.reserve(std::max<std::size_t>(bytes, 1));
  }
  Address address() const { return reinterpret_cast<Address>(memory_.data()); }

 private:
  cuda::Buffer<std::byte> memory_;
};

probewise::Hyperparameters to_hyperparameters(const py::array& lengthscale, double variance, double noise) {
  const std::span<const double> scales = read_view<double>(lengthscale, "lengthscale", 1, "(d,)");
  return {{scales.begin(), scales.end()}, variance, noise};
}

cuda::Surrogate make_surrogate(probewise::Candidates candidates, const std::string& kernel,
                               const py::array& lengthscale, double variance, double noise, double mean, double alpha,
                               const std::string& precision, int device, Address stream) {
  return {std::move(candidates),
          probewise::parse_kernel(kernel),
          to_hyperparameters(lengthscale, variance, noise),
          mean,
          alpha,
          probewise::parse_precision(precision),
          device,
          at<void>(stream)};
}

void tell(cuda::Surrogate& self, const py::array& indices, const py::array& values, const py::array& noise) {
  const auto where = read_view<std::int64_t>(indices, "index", 1, "(n,)");
  const auto what = read_view<double>(values, "value", 1, "(n,)");
  const auto error = read_view<double>(noise, "noise", 1, "(n,)");
  const py::gil_scoped_release unlocked;
  self.tell(where, what, error);
}

py::array_t<std::int64_t> choose(cuda::Surrogate& self, const std::string& policy, const py::dict& parameters,
                                 std::size_t q, const py::object& visited, bool allow_told, const py::object& cost,
                                 double cost_weight, const Key& key, bool believer) {
  probewise::ChoiceRequest request;
  if (policy != "thompson") request.policy = probewise::parse_policy(policy);
  request.parameters = to_parameters(parameters);
  if (!visited.is_none()) request.visited = mask_view(visited.cast<py::array>(), "visited");
  request.allow_told = allow_told;
  if (!cost.is_none()) request.cost = read_view<double>(cost.cast<py::array>(), "cost", 1, "(c,)");
  request.cost_weight = cost_weight;
  request.key = {key.first, key.second};
  request.method = believer ? probewise::BatchMethod::believer : probewise::BatchMethod::top;
  py::array_t<std::int64_t> chosen(static_cast<py::ssize_t>(std::min(q, self.candidates().size())));
  const std::span<std::int64_t> view(chosen.mutable_data(), static_cast<std::size_t>(chosen.size()));
  std::size_t count = 0;
  {
    const py::gil_scoped_release unlocked;
    count = self.choose(request, view);
  }
  chosen.resize({static_cast<py::ssize_t>(count)});
  return chosen;
}

py::array copied(cuda::Surrogate& self, void (cuda::Surrogate::*copy)(void*)) {
  const auto size = static_cast<py::ssize_t>(self.candidates().size());
  py::array out = self.precision() == Precision::float64 ? py::array(py::array_t<double>(size))
                                                         : py::array(py::array_t<float>(size));
  void* const data = out.mutable_data();
  const py::gil_scoped_release unlocked;
  (self.*copy)(data);
  return out;
}

template <class T>
py::array_t<T> to_array(std::span<const T> values) {
  return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

void bind_surrogate(py::module_& module) {
  using cuda::Surrogate;
  py::class_<Surrogate>(module, "Surrogate")
      .def_static(
          "lattice",
          [](std::size_t rows, std::size_t cols, double dy, double dx, const std::string& kernel,
             const py::array& lengthscale, double variance, double noise, double mean, double alpha,
             const std::string& precision, int device, Address stream) {
            return make_surrogate(probewise::Candidates::lattice(rows, cols, dy, dx), kernel, lengthscale, variance,
                                  noise, mean, alpha, precision, device, stream);
          },
          py::arg("rows"), py::arg("cols"), py::arg("dy"), py::arg("dx"), py::arg("kernel"), py::arg("lengthscale"),
          py::arg("variance"), py::arg("noise"), py::arg("mean"), py::arg("alpha"), py::arg("precision"),
          py::arg("device"), py::arg("stream"))
      .def_static(
          "points",
          [](const py::array& points, const std::string& kernel, const py::array& lengthscale, double variance,
             double noise, double mean, double alpha, const std::string& precision, int device, Address stream) {
            const auto view = read_view<double>(points, "points", 2, "(c, d)");
            return make_surrogate(probewise::Candidates::points(view, static_cast<std::size_t>(points.shape(1))),
                                  kernel, lengthscale, variance, noise, mean, alpha, precision, device, stream);
          },
          py::arg("points"), py::arg("kernel"), py::arg("lengthscale"), py::arg("variance"), py::arg("noise"),
          py::arg("mean"), py::arg("alpha"), py::arg("precision"), py::arg("device"), py::arg("stream"))
      .def("tell_many", &tell, py::arg("indices"), py::arg("values"), py::arg("noise"))
      .def(
          "set_values",
          [](Surrogate& self, const py::array& values) {
            self.set_values(read_view<double>(values, "values", 1, "(n,)"));
          },
          py::arg("values"))
      .def(
          "set_hyperparameters",
          [](Surrogate& self, const py::array& lengthscale, double variance, double noise) {
            const auto told = to_hyperparameters(lengthscale, variance, noise);
            const py::gil_scoped_release unlocked;
            self.set_hyperparameters(told);
          },
          py::arg("lengthscale"), py::arg("variance"), py::arg("noise"))
      .def("reset", &Surrogate::reset)
      .def("log_marginal_likelihood", &Surrogate::log_marginal_likelihood)
      .def("level", &Surrogate::level)
      .def("choose", &choose, py::arg("policy"), py::arg("parameters"), py::arg("q"), py::arg("visited"),
           py::arg("allow_told"), py::arg("cost"), py::arg("cost_weight"), py::arg("key"), py::arg("believer"))
      .def_property_readonly("mean", [](Surrogate& self) { return copied(self, &Surrogate::copy_mean); })
      .def_property_readonly("std", [](Surrogate& self) { return copied(self, &Surrogate::copy_deviation); })
      .def_property_readonly("indices", [](const Surrogate& self) { return to_array(self.indices()); })
      .def_property_readonly("values", [](const Surrogate& self) { return to_array(self.values()); })
      .def_property_readonly("noises", [](const Surrogate& self) { return to_array(self.noise()); })
      .def_property_readonly("size", [](const Surrogate& self) { return self.candidates().size(); })
      .def_property_readonly("lengthscale", [](const Surrogate& self) { return self.hyperparameters().lengthscale; })
      .def_property_readonly("variance", [](const Surrogate& self) { return self.hyperparameters().variance; })
      .def_property_readonly("noise", [](const Surrogate& self) { return self.hyperparameters().noise; })
      .def_property_readonly(
          "plan",
          [](const Surrogate& self) { return self.plan() == probewise::Plan::separable ? "separable" : "cached"; })
      .def_property_readonly("jitter", &Surrogate::jitter);
}

void bind_memory(py::module_& module) {
  py::class_<Memory>(module, "Memory")
      .def(py::init<std::size_t, int>(), py::arg("bytes"), py::arg("device"))
      .def_property_readonly("address", &Memory::address);
  module.def(
      "copy_in",
      [](Address to, const py::array& from, int device, Address stream) {
        if ((from.flags() & py::array::c_style) == 0) throw py::value_error("from is not C-contiguous");
        cuda::activate(device);
        cuda::to_device(at<void>(to), from.data(), static_cast<std::size_t>(from.nbytes()), at<void>(stream));
      },
      py::arg("to"), py::arg("source"), py::arg("device"), py::arg("stream"));
  module.def(
      "copy_out",
      [](py::array& to, Address from, int device, Address stream) {
        if ((to.flags() & py::array::c_style) == 0 || !to.writeable()) {
          throw py::value_error("to is not a writable C-contiguous array");
        }
        void* const data = to.mutable_data();
        const auto bytes = static_cast<std::size_t>(to.nbytes());
        const py::gil_scoped_release unlocked;
        cuda::activate(device);
        cuda::to_host(data, at<void>(from), bytes, at<void>(stream));
      },
      py::arg("to"), py::arg("source"), py::arg("device"), py::arg("stream"));
  module.def(
      "synchronize",
      [](int device, Address stream) {
        const py::gil_scoped_release unlocked;
        cuda::activate(device);
        cuda::synchronize(at<void>(stream));
      },
      py::arg("device"), py::arg("stream"));
  module.def("take_dlpack", &dlpack::take, py::arg("capsule"));
  module.def("give_dlpack", &dlpack::give, py::arg("address"), py::arg("shape"), py::arg("code"), py::arg("bits"),
             py::arg("device_type"), py::arg("device"), py::arg("owner"));
}

}  // namespace

PYBIND11_MODULE(_cuda, module) {
  module.doc() = "CUDA twin of the compiled core.";
  py::register_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const probewise::CudaError& failure) {
      py::set_error(py::module_::import("probewise.errors").attr("CudaError"), failure.what());
    } catch (const probewise::NotPositiveDefinite& failure) {
      py::set_error(py::module_::import("probewise.errors").attr("NotPositiveDefinite"), failure.what());
    }
  });
  module.def("device_count", &cuda::device_count);
  module.def("device_name", &cuda::device_name, py::arg("device"));
  module.def("emulated", &cuda::emulated);
#if defined(PROBEWISE_ON_HOST)
  module.def("lose_device_after", &cuda::lose_device_after, py::arg("calls"));
#endif
  bind_memory(module);
  bind_surrogate(module);
  py::class_<Imaging>(module, "Imaging")
      .def(py::init<int, Address>(), py::arg("device"), py::arg("stream"))
      .def("network_input", &Imaging::network_input, py::arg("image"), py::arg("rows"), py::arg("cols"), py::arg("out"))
      .def("extract_patches", &Imaging::extract_patches, py::arg("image"), py::arg("rows"), py::arg("cols"),
           py::arg("centres"), py::arg("n"), py::arg("side"), py::arg("subpixel"), py::arg("circular"), py::arg("out"),
           py::arg("kept"))
      .def("find_atoms", &Imaging::find_atoms, py::arg("probability"), py::arg("classes"), py::arg("rows"),
           py::arg("cols"), py::arg("threshold"))
      .def("take_atoms", &Imaging::take_atoms, py::arg("yx"), py::arg("label"), py::arg("score"));
}
