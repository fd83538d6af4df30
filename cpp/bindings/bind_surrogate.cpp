// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "arrays.hpp"
#include "choice_request.hpp"
#include "probewise/engine.hpp"
#include "probewise/surrogate/likelihood.hpp"

namespace py = pybind11;

namespace probewise::bindings {

namespace {

using Key = std::pair<std::uint64_t, std::uint64_t>;

Hyperparameters to_hyperparameters(const py::array& lengthscale, double variance, double noise) {
  const std::span<const double> scales = read_view<double>(lengthscale, "lengthscale", 1, "(d,)");
  return {{scales.begin(), scales.end()}, variance, noise};
}

constexpr std::pair<const char*, Plan> plan_names[] = {
    {"separable", Plan::separable}, {"cached", Plan::cached}, {"lazy", Plan::lazy}};

std::optional<Plan> parse_plan(const std::string& name) {
  for (const auto& [known, plan] : plan_names) {
    if (name == known) return plan;
  }
  if (!name.empty()) throw std::invalid_argument("plan is '" + name + "', expected separable, cached or lazy");
  return std::nullopt;
}

std::string plan_name(const Engine& engine) {
  for (const auto& [name, plan] : plan_names) {
    if (engine.surrogate().plan() == plan) return name;
  }
  return "";
}

py::array view_of(const MapView& map, py::handle owner) {
  if (map.f64 != nullptr) return readonly_array(std::span(map.f64, map.size), owner);
  return readonly_array(std::span(map.f32, map.size), owner);
}

/// A view, or on the lazy plan, whose maps move only when they are looked at, a copy.
py::array map_of(const py::object& self, bool deviation) {
  Engine& engine = self.cast<Engine&>();
  MapView map;
  {
    py::gil_scoped_release release;
    map = deviation ? engine.surrogate().deviation() : engine.surrogate().mean();
  }
  if (engine.surrogate().tiles() == nullptr) return view_of(map, self);
  py::array copy = view_of(map, self).attr("copy")();
  copy.attr("flags").attr("writeable") = false;
  return copy;
}

Engine make_engine(Candidates candidates, const std::string& kernel, const py::array& lengthscale, double variance,
                   double noise, double mean, double alpha, const std::string& precision, const std::string& plan) {
  return Engine(GaussianProcess(std::move(candidates), parse_kernel(kernel),
                                to_hyperparameters(lengthscale, variance, noise), mean, alpha,
                                parse_precision(precision), parse_plan(plan)));
}

ChoiceRequest to_request(const std::string& policy, const py::dict& parameters, const py::object& visited,
                         bool allow_told, const py::object& cost, double cost_weight, const Key& key, bool believer) {
  ChoiceRequest request;
  if (policy != "thompson") request.policy = parse_policy(policy);
  request.parameters = to_parameters(parameters);
  if (!visited.is_none()) request.visited = mask_view(visited.cast<py::array>(), "visited");
  request.allow_told = allow_told;
  if (!cost.is_none()) request.cost = read_view<double>(cost.cast<py::array>(), "cost", 1, "(c,)");
  request.cost_weight = cost_weight;
  request.key = {key.first, key.second};
  request.method = believer ? BatchMethod::believer : BatchMethod::top;
  return request;
}

void tell_one(Engine& engine, std::int64_t index, double value, double noise) {
  py::gil_scoped_release release;
  engine.surrogate().tell(std::span(&index, 1), std::span(&value, 1), std::span(&noise, 1));
}

void tell_many(Engine& engine, const py::array& indices, const py::array& values, const py::array& noise) {
  const auto where = read_view<std::int64_t>(indices, "index", 1, "(n,)");
  const auto what = read_view<double>(values, "value", 1, "(n,)");
  const auto error = read_view<double>(noise, "noise", 1, "(n,)");
  py::gil_scoped_release release;
  engine.surrogate().tell(where, what, error);
}

double mean_at(const Engine& engine, std::int64_t index) {
  if (index < 0 || static_cast<std::size_t>(index) >= engine.surrogate().candidates().size()) {
    throw std::invalid_argument("index is " + std::to_string(index) + ", expected 0 to " +
                                std::to_string(engine.surrogate().candidates().size() - 1));
  }
  return engine.surrogate().mean_at(index);
}

py::array_t<double> sample(Engine& engine, const Key& key) {
  py::array_t<double> out(static_cast<py::ssize_t>(engine.surrogate().candidates().size()));
  const std::span<double> view(out.mutable_data(), static_cast<std::size_t>(out.size()));
  py::gil_scoped_release release;
  engine.surrogate().sample(key.first, key.second, view);
  return out;
}

py::array_t<std::int64_t> choose(Engine& engine, const std::string& policy, const py::dict& parameters, std::size_t q,
                                 const py::object& visited, bool allow_told, const py::object& cost, double cost_weight,
                                 const Key& key, bool believer) {
  const ChoiceRequest request = to_request(policy, parameters, visited, allow_told, cost, cost_weight, key, believer);
  py::array_t<std::int64_t> chosen(static_cast<py::ssize_t>(std::min(q, engine.surrogate().candidates().size())));
  const std::span<std::int64_t> view(chosen.mutable_data(), static_cast<std::size_t>(chosen.size()));
  std::size_t count = 0;
  {
    py::gil_scoped_release release;
    count = engine.choose(request, view);
  }
  chosen.resize({static_cast<py::ssize_t>(count)});
  return chosen;
}

py::array path(py::object self, std::int64_t index) {
  const std::span<const double> flat = self.cast<Engine&>().path(index);
  py::array_t<double> view({static_cast<py::ssize_t>(flat.size() / 2), py::ssize_t{2}}, flat.data(), self);
  view.attr("flags").attr("writeable") = false;
  return view;
}

py::tuple evaluate(Likelihood& likelihood, const py::array& lengthscale, double variance, double noise) {
  const Hyperparameters hyperparameters = to_hyperparameters(lengthscale, variance, noise);
  py::array_t<double> gradient(static_cast<py::ssize_t>(likelihood.axes() + 2));
  const std::span<double> view(gradient.mutable_data(), static_cast<std::size_t>(gradient.size()));
  double value = 0.0;
  {
    py::gil_scoped_release release;
    value = likelihood.evaluate(hyperparameters, view);
  }
  return py::make_tuple(value, gradient);
}

}  // namespace

}  // namespace probewise::bindings

void bind_surrogate(py::module_& module) {
  using namespace probewise;
  using namespace probewise::bindings;
  py::class_<Engine>(module, "Engine")
      .def_static(
          "lattice",
          [](std::size_t rows, std::size_t cols, double dy, double dx, const std::string& kernel,
             const py::array& lengthscale, double variance, double noise, double mean, double alpha,
             const std::string& precision, const std::string& plan) {
            return make_engine(Candidates::lattice(rows, cols, dy, dx), kernel, lengthscale, variance, noise, mean,
                               alpha, precision, plan);
          },
          py::arg("rows"), py::arg("cols"), py::arg("dy"), py::arg("dx"), py::arg("kernel"), py::arg("lengthscale"),
          py::arg("variance"), py::arg("noise"), py::arg("mean"), py::arg("alpha"), py::arg("precision"),
          py::arg("plan") = "")
      .def_static(
          "points",
          [](const py::array& points, const std::string& kernel, const py::array& lengthscale, double variance,
             double noise, double mean, double alpha, const std::string& precision, const std::string& plan) {
            const auto view = read_view<double>(points, "candidates", 2, "(c, d)");
            return make_engine(Candidates::points(view, static_cast<std::size_t>(points.shape(1))), kernel, lengthscale,
                               variance, noise, mean, alpha, precision, plan);
          },
          py::arg("points"), py::arg("kernel"), py::arg("lengthscale"), py::arg("variance"), py::arg("noise"),
          py::arg("mean"), py::arg("alpha"), py::arg("precision"), py::arg("plan") = "")
      .def("copy", [](const Engine& engine) { return Engine(engine); })
      .def("tell_one", &tell_one, py::arg("index"), py::arg("value"), py::arg("noise"))
      .def("tell_many", &tell_many, py::arg("indices"), py::arg("values"), py::arg("noise"))
      .def(
          "set_values",
          [](Engine& engine, const py::array& values) {
            const auto wanted = read_view<double>(values, "values", 1, "(n,)");
            py::gil_scoped_release release;
            engine.surrogate().set_values(wanted);
          },
          py::arg("values"))
      .def(
          "set_hyperparameters",
          [](Engine& engine, const py::array& lengthscale, double variance, double noise) {
            const Hyperparameters wanted = to_hyperparameters(lengthscale, variance, noise);
            py::gil_scoped_release release;
            engine.surrogate().set_hyperparameters(wanted);
          },
          py::arg("lengthscale"), py::arg("variance"), py::arg("noise"))
      .def("reset", [](Engine& engine) { engine.surrogate().reset(); })
      .def(
          "reserve", [](Engine& engine, std::size_t rows) { engine.surrogate().reserve(rows); }, py::arg("rows"))
      .def("log_marginal_likelihood", [](const Engine& engine) { return engine.surrogate().log_marginal_likelihood(); })
      .def(
          "level", [](const Engine& engine) { return engine.surrogate().level(); },
          py::call_guard<py::gil_scoped_release>())
      .def("sample", &sample, py::arg("key"))
      .def("choose", &choose, py::arg("policy"), py::arg("parameters"), py::arg("q"), py::arg("visited"),
           py::arg("allow_told"), py::arg("cost"), py::arg("cost_weight"), py::arg("key"), py::arg("believer"))
      .def(
          "step",
          [](Engine& engine, std::int64_t index, double value, const std::string& policy, const py::dict& parameters,
             const py::object& visited, bool allow_told, const py::object& cost, double cost_weight, const Key& key) {
            const ChoiceRequest request =
                to_request(policy, parameters, visited, allow_told, cost, cost_weight, key, true);
            py::gil_scoped_release release;
            return engine.step(index, value, request);
          },
          py::arg("index"), py::arg("value"), py::arg("policy"), py::arg("parameters"), py::arg("visited"),
          py::arg("allow_told"), py::arg("cost"), py::arg("cost_weight"), py::arg("key"))
      .def(
          "set_path",
          [](Engine& engine, const py::array& offsets_yx, const py::array& centres_yx) {
            engine.set_path(read_view<double>(offsets_yx, "offsets_yx", 2, "(n, 2)"),
                            read_view<double>(centres_yx, "centres_yx", 2, "(c, 2)"));
          },
          py::arg("offsets_yx"), py::arg("centres_yx"))
      .def("path", &path, py::arg("index"))
      .def_property_readonly("mean", [](const py::object& self) { return map_of(self, false); })
      .def_property_readonly("std", [](const py::object& self) { return map_of(self, true); })
      .def_property_readonly("indices",
                             [](const Engine& engine) {
                               const auto told = engine.surrogate().indices();
                               return py::array_t<std::int64_t>(static_cast<py::ssize_t>(told.size()), told.data());
                             })
      .def_property_readonly("values",
                             [](const Engine& engine) {
                               const auto values = engine.surrogate().values();
                               return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
                             })
      .def_property_readonly("noises",
                             [](const Engine& engine) {
                               const auto noise = engine.surrogate().noise();
                               return py::array_t<double>(static_cast<py::ssize_t>(noise.size()), noise.data());
                             })
      .def_property_readonly("told", [](const Engine& engine) { return engine.surrogate().indices().size(); })
      .def_property_readonly("size", [](const Engine& engine) { return engine.surrogate().candidates().size(); })
      .def_property_readonly("lengthscale",
                             [](const Engine& engine) { return engine.surrogate().hyperparameters().lengthscale; })
      .def_property_readonly("variance",
                             [](const Engine& engine) { return engine.surrogate().hyperparameters().variance; })
      .def_property_readonly("noise", [](const Engine& engine) { return engine.surrogate().hyperparameters().noise; })
      .def_property_readonly("jitter", [](const Engine& engine) { return engine.surrogate().jitter(); })
      .def_property_readonly("plan", &plan_name)
      .def("mean_at", &mean_at, py::arg("index"))
      .def("largest_told_mean", [](const Engine& engine) { return engine.surrogate().largest_told_mean(); })
      .def_property_readonly(
          "exact_samples", [](const Engine& engine) { return engine.surrogate().sampling() != PriorMethod::fourier; });
  py::class_<Likelihood>(module, "Likelihood")
      .def(py::init([](const py::array& points, const py::array& residuals, const std::string& kernel, double alpha,
                       const py::array& noise) {
             return Likelihood(read_view<double>(points, "points", 2, "(n, d)"),
                               static_cast<std::size_t>(points.shape(1)),
                               read_view<double>(residuals, "residuals", 1, "(n,)"), parse_kernel(kernel), alpha,
                               read_view<double>(noise, "noise", 1, "(n,)"));
           }),
           py::arg("points"), py::arg("residuals"), py::arg("kernel"), py::arg("alpha"), py::arg("noise"))
      .def("evaluate", &evaluate, py::arg("lengthscale"), py::arg("variance"), py::arg("noise"));
}
