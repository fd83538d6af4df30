// SPDX-License-Identifier: BSD-3-Clause
#include <pybind11/pybind11.h>

#include "arrays.hpp"

namespace py = pybind11;

void bind_scan([[maybe_unused]] py::module_& module) {}
