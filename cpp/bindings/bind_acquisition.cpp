// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>

#include "arrays.hpp"
#include "choice_request.hpp"
#include "probewise/acquisition/choice.hpp"
#include "probewise/acquisition/policies.hpp"

namespace py = pybind11;

namespace probewise::bindings {

namespace {

void score_into(const std::string& policy, const py::dict& parameters, const py::array& mean, const py::array& std,
                py::array& out) {
  const std::span<double> scores = write_view<double>(out, "out", 1, "(c,)");
  check_axis(std, "std", 0, static_cast<std::size_t>(mean.size()));
  check_axis(out, "out", 0, static_cast<std::size_t>(mean.size()));
  const Policy parsed = parse_policy(policy);
  const PolicyParameters values = to_parameters(parameters);
  if (py::isinstance<py::array_t<float>>(mean)) {
    score(parsed, values, read_view<float>(mean, "mean", 1, "(c,)"), read_view<float>(std, "std", 1, "(c,)"), scores);
  } else {
    score(parsed, values, read_view<double>(mean, "mean", 1, "(c,)"), read_view<double>(std, "std", 1, "(c,)"), scores);
  }
}

std::int64_t best(const py::array& scores, const py::array& blocked, std::pair<std::uint64_t, std::uint64_t> key) {
  check_axis(blocked, "blocked", 0, static_cast<std::size_t>(scores.size()));
  return choose_best(read_view<double>(scores, "scores", 1, "(c,)"), mask_view(blocked, "blocked"),
                     {key.first, key.second});
}

py::array_t<std::int64_t> permutation(std::size_t size, std::pair<std::uint64_t, std::uint64_t> key) {
  py::array_t<std::int64_t> order(static_cast<py::ssize_t>(size));
  keyed_permutation({key.first, key.second}, {order.mutable_data(), size});
  return order;
}

}  // namespace

}  // namespace probewise::bindings

void bind_acquisition(py::module_& module) {
  using namespace probewise::bindings;
  module.def("score", &score_into, py::arg("policy"), py::arg("parameters"), py::arg("mean"), py::arg("std"),
             py::arg("out"));
  module.def("choose_best", &best, py::arg("scores"), py::arg("blocked"), py::arg("key"));
  module.def("keyed_permutation", &permutation, py::arg("size"), py::arg("key"));
  module.def("log_improvement", &probewise::log_improvement, py::arg("z"));
}
