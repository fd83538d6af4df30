# SPDX-License-Identifier: BSD-3-Clause
"""What an ONNX file holds, read from its bytes before any runtime sees them.

A walk over the protobuf wire format (https://protobuf.dev/programming-guides/encoding) with the field numbers of
onnx.proto (https://github.com/onnx/onnx). Refused with ModelError: data outside the file (a tensor anywhere in the
graph, its subgraphs or attributes), operators outside ai.onnx, model-local functions, training info, sparse tensors,
tensors declared larger than the file may be, graphs nested deeper than `MAX_DEPTH`, malformed bytes. Every occurrence
of a field is looked at, since protobuf merges repeated ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from probewise.errors import ModelError
from probewise.inference.card import MAX_MODEL_BYTES, OPSETS

IR_VERSIONS = range(4, 11)  # 10 is the newest that onnxruntime 1.20 reads
MAX_DEPTH = 4
MAX_NODES = 20_000
DOMAINS = ("", "ai.onnx")

# bytes per element by TensorProto.DataType; strings (8) and types newer than the opsets above are refused
_ITEM_BYTES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2}

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


@dataclass
class Structure:
    """What was found.

    operators   operator types with their count
    parameters  elements of all tensors
    """

    ir_version: int = 0
    opset: int = 0
    operators: dict[str, int] = field(default_factory=dict)
    parameters: int = 0

    @property
    def nodes(self) -> int:
        return sum(self.operators.values())


def examine(content: bytes, source: str) -> Structure:
    """Walk over a serialised ModelProto; `source` names the file in errors."""
    return _Walk(content, source).model()


class _Walk:
    def __init__(self, content: bytes, source: str) -> None:
        self._bytes = content
        self._source = source
        self._found = Structure()

    def model(self) -> Structure:
        graphs = 0
        for number, wire, start, end in self._fields(0, len(self._bytes)):
            if number == 1:
                self._found.ir_version = self._number(wire, start, "ir_version")
            elif number == 7:
                graphs += 1
                self._graph(*self._message(wire, start, end, "graph"), depth=1)
            elif number == 8:
                self._opset_import(*self._message(wire, start, end, "opset_import"))
            elif number == 20:
                self._refuse("training info", "a graph for inference only")
            elif number == 25:
                self._refuse("functions of its own", "operators of ai.onnx only")
        found = self._found
        if graphs != 1:
            self._refuse(f"{graphs} graphs", "one")
        if found.ir_version not in IR_VERSIONS:
            self._refuse(f"IR version {found.ir_version}", f"{IR_VERSIONS.start} to {IR_VERSIONS.stop - 1}")
        if found.opset not in OPSETS:
            self._refuse(f"opset {found.opset}", f"{OPSETS.start} to {OPSETS.stop - 1}")
        return found

    def _opset_import(self, start: int, end: int) -> None:
        domain, version = "", 0
        for number, wire, first, last in self._fields(start, end):
            if number == 1:
                domain = self._text(wire, first, last, "opset_import.domain")
            elif number == 2:
                version = self._number(wire, first, "opset_import.version")
        if domain in DOMAINS:  # others have no effect: their operators are refused
            if self._found.opset not in (0, version):
                self._refuse(f"opsets {self._found.opset} and {version}", "one")
            self._found.opset = version

    def _graph(self, start: int, end: int, depth: int) -> None:
        if depth > MAX_DEPTH:
            self._refuse(f"graphs nested {depth} deep", f"at most {MAX_DEPTH}")
        for number, wire, first, last in self._fields(start, end):
            if number == 1:
                self._node(*self._message(wire, first, last, "node"), depth=depth)
            elif number == 5:
                self._tensor(*self._message(wire, first, last, "initializer"))
            elif number == 15:
                self._refuse("a sparse initialiser", "dense tensors")

    def _node(self, start: int, end: int, depth: int) -> None:
        operator, domain = "", ""
        for number, wire, first, last in self._fields(start, end):
            if number == 4:
                operator = self._text(wire, first, last, "op_type")
            elif number == 5:
                self._attribute(*self._message(wire, first, last, "attribute"), depth=depth)
            elif number == 7:
                domain = self._text(wire, first, last, "domain")
                if domain not in DOMAINS:
                    break
        if domain not in DOMAINS:
            self._refuse(f"operator {operator or '?'!s} of domain {domain!r}", "operators of ai.onnx only")
        counts = self._found.operators
        counts[operator] = counts.get(operator, 0) + 1
        if self._found.nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES} nodes", "fewer")

    def _attribute(self, start: int, end: int, depth: int) -> None:
        for number, wire, first, last in self._fields(start, end):
            if number in (5, 10):
                self._tensor(*self._message(wire, first, last, "attribute"))
            elif number in (6, 11):
                self._graph(*self._message(wire, first, last, "attribute"), depth=depth + 1)
            elif number in (22, 23):
                self._refuse("a sparse tensor", "dense tensors")

    def _tensor(self, start: int, end: int) -> None:
        elements, kind, name = 1, 0, ""
        for number, wire, first, last in self._fields(start, end):
            if number == 1:
                for size in self._numbers(wire, first, last, "dims"):
                    elements = min(elements * size, 1 << 62)  # a negative size wraps to 2^64 - size: refused below
            elif number == 2:
                kind = self._number(wire, first, "data_type")
            elif number == 8:
                name = self._text(wire, first, last, "name")
            elif number == 13 or (number == 14 and (wire != _VARINT or self._number(wire, first, "data_location"))):
                self._refuse(f"tensor {name!r} with data outside the file", "all data inside")
        if kind not in _ITEM_BYTES:
            self._refuse(f"tensor {name!r} of data type {kind}", "numbers or truth values")
        if elements * _ITEM_BYTES[kind] > MAX_MODEL_BYTES:
            self._refuse(f"tensor {name!r} declared with {elements} elements", f"at most {MAX_MODEL_BYTES} bytes")
        self._found.parameters += elements

    def _fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """(number, wire type, start, end) of each field's value between `start` and `end`."""
        at = start
        while at < end:
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            if number == 0 or tag >> 32:
                self._malformed(at)
            first = at
            if wire == _VARINT:
                _, at = self._varint(at, end)
            elif wire == _LENGTH:
                length, first = self._varint(at, end)
                at = first + length
            elif wire in (_FIXED64, _FIXED32):
                at += 8 if wire == _FIXED64 else 4
            else:
                self._malformed(at)
            if at > end:
                self._malformed(first)
            yield number, wire, first, at

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                self._malformed(at)
            byte = self._bytes[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & (2**64 - 1), at
        return self._malformed(at)

    def _number(self, wire: int, start: int, name: str) -> int:
        if wire != _VARINT:
            self._refuse(f"{name} of wire type {wire}", "a number")
        return self._varint(start, len(self._bytes))[0]

    def _numbers(self, wire: int, start: int, end: int, name: str) -> Iterator[int]:
        """A repeated number, packed or one by one."""
        if wire != _LENGTH:
            yield self._number(wire, start, name)
            return
        while start < end:
            value, start = self._varint(start, end)
            yield value

    def _message(self, wire: int, start: int, end: int, name: str) -> tuple[int, int]:
        if wire != _LENGTH:
            self._refuse(f"{name} of wire type {wire}", "a message")
        return start, end

    def _text(self, wire: int, start: int, end: int, name: str) -> str:
        start, end = self._message(wire, start, end, name)
        return self._bytes[start:end].decode("utf-8", "replace")

    def _refuse(self, got: str, expected: str) -> NoReturn:
        raise ModelError(f"{self._source}: got {got}, expected {expected}")

    def _malformed(self, at: int) -> NoReturn:
        raise ModelError(f"{self._source}: got bytes that are no ONNX model (at byte {at}), expected a whole ONNX file")
