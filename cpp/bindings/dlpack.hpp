// SPDX-License-Identifier: BSD-3-Clause
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// Arrays across libraries by DLPack, version 0 (https://dmlc.github.io/dlpack): a capsule that holds a DLManagedTensor.
namespace probewise::bindings::dlpack {

namespace py = pybind11;

struct Tensor {
  void* data;
  std::int32_t device_type, device_id;  // 1: CPU, 2: CUDA
  std::int32_t rank;
  std::uint8_t code, bits;  // code 0: signed integer, 1: unsigned, 2: float
  std::uint16_t lanes;
  std::int64_t *shape, *strides;  // strides in elements, null: C-contiguous
  std::uint64_t byte_offset;
};

struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

constexpr const char *fresh = "dltensor", *used = "used_dltensor";

/// Takes a capsule over: (pointer, shape, strides or None, code, bits, device type, device, owner), where `owner` frees
/// the tensor when it goes.
inline py::tuple take(py::capsule capsule) {
  if (std::string(capsule.name()) != fresh) throw py::value_error("the DLPack capsule was used before");
  auto* const managed = capsule.get_pointer<Managed>();
  capsule.set_name(used);
  py::capsule owner(managed, [](void* held) {
    auto* const tensor = static_cast<Managed*>(held);
    if (tensor->deleter != nullptr) tensor->deleter(tensor);
  });
  const Tensor& tensor = managed->tensor;
  py::tuple shape(tensor.rank);
  py::object strides = py::none();
  for (std::int32_t axis = 0; axis < tensor.rank; ++axis) shape[static_cast<std::size_t>(axis)] = tensor.shape[axis];
  if (tensor.strides != nullptr) {
    py::tuple steps(tensor.rank);
    for (std::int32_t axis = 0; axis < tensor.rank; ++axis)
      steps[static_cast<std::size_t>(axis)] = tensor.strides[axis];
    strides = steps;
  }
  const auto address = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
  return py::make_tuple(address, shape, strides, tensor.code, tensor.lanes == 1 ? tensor.bits : 0, tensor.device_type,
                        tensor.device_id, owner);
}

/// A capsule of a C-contiguous array that keeps `owner` until the taker frees it.
inline py::capsule give(std::uintptr_t address, std::vector<std::int64_t> shape, std::uint8_t code, std::uint8_t bits,
                        std::int32_t device_type, std::int32_t device, py::object owner) {
  struct Held {
    Managed managed;
    std::vector<std::int64_t> shape;
    py::object owner;
  };
  auto* const held = new Held{{}, std::move(shape), std::move(owner)};
  Tensor& tensor = held->managed.tensor;
  tensor = {reinterpret_cast<void*>(address),
            device_type,
            device,
            static_cast<std::int32_t>(held->shape.size()),
            code,
            bits,
            1,
            held->shape.data(),
            nullptr,
            0};
  held->managed.context = held;
  held->managed.deleter = [](Managed* managed) {
    const py::gil_scoped_acquire locked;
    delete static_cast<Held*>(managed->context);
  };
  return py::capsule(&held->managed, fresh, [](PyObject* capsule) {
    if (PyCapsule_IsValid(capsule, fresh) == 0) return;  // taken: the taker frees it
    auto* const managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule, fresh));
    managed->deleter(managed);
  });
}

}  // namespace probewise::bindings::dlpack
