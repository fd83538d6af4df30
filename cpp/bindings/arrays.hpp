// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <span>
#include <string>

// The one array check of the bindings: dtype, rank, layout and (where asked) length; the message names the
// argument, what came and what was expected. Nothing is cast or copied.
namespace probewise::bindings {

namespace py = pybind11;

inline std::string describe(const py::array& array) {
  std::string text = py::str(array.dtype()).cast<std::string>() + " array of shape (";
  for (py::ssize_t axis = 0; axis < array.ndim(); ++axis) {
    text += (axis ? ", " : "") + std::to_string(array.shape(axis));
  }
  text += array.ndim() == 1 ? ",)" : ")";
  if ((array.flags() & py::array::c_style) == 0) text += ", not C-contiguous";
  return text;
}

template <class T>
void check_array(const py::array& array, const char* name, py::ssize_t rank, const char* expected_shape) {
  if (!py::isinstance<py::array_t<T>>(array)) {
    throw py::type_error(std::string(name) + " is a " + describe(array) + ", expected " +
                         py::str(py::dtype::of<T>()).cast<std::string>() + " of shape " + expected_shape);
  }
  if (array.ndim() != rank || (array.flags() & py::array::c_style) == 0) {
    throw py::value_error(std::string(name) + " is a " + describe(array) + ", expected a C-contiguous array of shape " +
                          expected_shape);
  }
}

/// A read-only view of `array`, flattened. `expected_shape` is what the message says, e.g. "(n, 2)".
template <class T>
std::span<const T> read_view(const py::array& array, const char* name, py::ssize_t rank, const char* expected_shape) {
  check_array<T>(array, name, rank, expected_shape);
  return {static_cast<const T*>(array.data()), static_cast<std::size_t>(array.size())};
}

/// A writable view of `array`, flattened; throws ValueError when the array is read-only.
template <class T>
std::span<T> write_view(py::array& array, const char* name, py::ssize_t rank, const char* expected_shape) {
  check_array<T>(array, name, rank, expected_shape);
  if (!array.writeable()) throw py::value_error(std::string(name) + " is read-only, expected a writable array");
  return {static_cast<T*>(array.mutable_data()), static_cast<std::size_t>(array.size())};
}

/// Throws ValueError unless `array.shape(axis)` is `length`.
inline void check_axis(const py::array& array, const char* name, py::ssize_t axis, std::size_t length) {
  if (static_cast<std::size_t>(array.shape(axis)) != length) {
    throw py::value_error(std::string(name) + " is a " + describe(array) + ", expected length " +
                          std::to_string(length) + " on axis " + std::to_string(axis));
  }
}

/// A read-only NumPy view of memory owned by `owner`.
template <class T>
py::array_t<T> readonly_array(std::span<const T> data, py::handle owner) {
  py::array_t<T> array(static_cast<py::ssize_t>(data.size()), data.data(), owner);
  array.attr("flags").attr("writeable") = false;
  return array;
}

}  // namespace probewise::bindings
