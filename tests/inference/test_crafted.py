# SPDX-License-Identifier: BSD-3-Clause
"""Models made to do harm: each is refused or stopped, with nothing read but the model and its card."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="the extra test is not installed: onnx writes the crafted models")
pytest.importorskip("onnxruntime", reason="the extra cpu is not installed")

from onnx import TensorProto, helper

import tiny_models as tiny
from probewise.app import cli
from probewise.app import models as command
from probewise.errors import ModelError
from probewise.inference import load_model, runtime


class Opened:
    """Paths opened by Python while it listens; an audit hook cannot be taken away again."""

    def __init__(self):
        self.paths = None
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if event == "open" and self.paths is not None and isinstance(arguments[0], (str, bytes, os.PathLike)):
            self.paths.append(Path(os.fsdecode(arguments[0])))


_opened = Opened()


@pytest.fixture
def opened():
    _opened.paths = []
    yield _opened.paths
    _opened.paths = None


def external(location, **more):
    """A tensor that says its data is in another file."""
    tensor = helper.make_tensor("e", TensorProto.FLOAT, [4], [0.0] * 4)
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": str(location), "length": "16", **more}.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def with_initialiser(tensor, **changes):
    return tiny.as_model(tiny.segmenter_graph(initialisers=[tensor], **changes))


def secret(folder):
    """A pipe outside the model's folder: whoever opens it waits for ever."""
    path = folder / "secret"
    os.mkfifo(path)
    return path


def by_parent_folder(folder):
    secret(folder)
    return with_initialiser(external("../secret"))


def by_absolute_path(folder):
    return with_initialiser(external(secret(folder)))


def by_symbolic_link(folder):
    (folder / "inside" / "data.bin").symlink_to(secret(folder))
    return with_initialiser(external("data.bin"))


def by_hard_link(folder):
    os.link(secret(folder), folder / "inside" / "data.bin")
    return with_initialiser(external("data.bin"))


def by_memory_address(folder):
    return with_initialiser(external("*/_ORT_MEM_ADDR_/*", offset="4096"))


def by_entries_alone(folder):
    tensor = external(secret(folder))
    tensor.data_location = TensorProto.DEFAULT
    return with_initialiser(tensor)


def in_a_constant(folder):
    node = helper.make_node("Constant", [], ["e"], value=external(secret(folder)))
    return tiny.as_model(tiny.segmenter_graph([node]))


def in_a_subgraph(folder):
    constant = helper.make_node("Constant", [], ["inner"], value=external(secret(folder)))
    inner = helper.make_graph([constant], "g", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])])
    condition = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    node = helper.make_node("If", ["yes"], ["e"], then_branch=inner, else_branch=inner)
    return tiny.as_model(tiny.segmenter_graph([node], [condition]))


def in_a_function(folder):
    opset = helper.make_opsetid("", 20)
    constant = helper.make_node("Constant", [], ["e"], value=external(secret(folder)))
    function = helper.make_function("ai.onnx", "Mine", [], ["e"], [constant], [opset])
    graph = tiny.segmenter_graph([helper.make_node("Mine", [], ["e"], domain="ai.onnx")])
    return tiny.as_model(graph, functions=[function])


def custom_operator(folder):
    node = helper.make_node("Shell", ["p"], ["q"], domain="evil")
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)]
    return tiny.as_model(tiny.segmenter_graph([node], result="q"), opset_imports=opsets)


def unknown_operator(folder):
    return tiny.as_model(tiny.segmenter_graph([helper.make_node("Shell", ["p"], ["q"])], result="q"))


def another_format(folder):
    """A valid ONNX file that onnxruntime would take for its own format, by the bytes 4 to 7."""
    model = tiny.as_model(tiny.segmenter_graph()).SerializeToString()
    return bytes([0x32, 6]) + b"..ORTM" + model  # field 6, doc_string, of 6 bytes


def nested_too_deep(folder):
    graph = tiny.segmenter_graph()
    for _ in range(8):
        condition = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
        node = helper.make_node("If", ["yes"], ["q"], then_branch=graph, else_branch=graph)
        graph = tiny.segmenter_graph([node], [condition])
    return tiny.as_model(graph)


def huge_tensor(folder):
    tensor = helper.make_tensor("e", TensorProto.FLOAT, [4], [0.0] * 4)
    tensor.dims[0] = 1 << 40
    return with_initialiser(tensor)


def sparse_tensor(folder):
    values = helper.make_tensor("e", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    graph = tiny.segmenter_graph()
    graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [1 << 40]))
    return tiny.as_model(graph)


def training(folder):
    model = tiny.as_model(tiny.segmenter_graph())
    model.training_info.add()
    return model


def old_opset(folder):
    return tiny.as_model(tiny.segmenter_graph(), opset_imports=[helper.make_opsetid("", 9)])


def truncated(folder):
    return tiny.as_model(tiny.segmenter_graph()).SerializeToString()[:-40]


def no_model(folder):
    return b"\xff" * 1000


def huge_allocation(folder):
    """2^36 zeros, made while the model runs."""
    shape = helper.make_tensor("s", TensorProto.INT64, [1], [1 << 36])
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["z"]),
        helper.make_node("ReduceSum", ["z"], ["r"], keepdims=0),
        helper.make_node("Add", ["p", "r"], ["q"]),
    ]
    return tiny.as_model(tiny.segmenter_graph(nodes, [shape], result="q"))


def endless_loop(folder):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["v", "one"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, []),
        ],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )
    first = [
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("v0", TensorProto.FLOAT, [], [0]),
    ]
    nodes = [helper.make_node("Loop", ["", "yes", "v0"], ["r"], body=body), helper.make_node("Add", ["p", "r"], ["q"])]
    return tiny.as_model(tiny.segmenter_graph(nodes, first, result="q"))


def wrong_type(folder):
    graph = tiny.segmenter_graph()
    graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    graph.node.insert(0, helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT))
    graph.node[1].input[0] = "x32"
    return tiny.as_model(graph)


def wrong_rank(folder):
    graph = tiny.segmenter_graph(x=("h", "w"))
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], [0, 1])
    graph.initializer.append(axes)
    graph.node.insert(0, helper.make_node("Unsqueeze", ["x", "axes"], ["x4"]))
    graph.node[1].input[0] = "x4"
    return tiny.as_model(graph)


def wrong_classes(folder):
    node = helper.make_node("Concat", ["p", "p"], ["q"], axis=1)
    return tiny.as_model(tiny.segmenter_graph([node], y=("n", 4, "h", "w"), result="q"))


def hidden_wrong_classes(folder):
    """As many copies of the classes as the values of the frame ask for."""
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("two", TensorProto.INT64, [1], [2]),
    ]
    nodes = [
        helper.make_node("ReduceMin", ["x"], ["low"], keepdims=0),
        helper.make_node("Cast", ["low"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "two"], ["copies"]),
        helper.make_node("Concat", ["one", "copies", "one", "one"], ["repeats"], axis=0),
        helper.make_node("Tile", ["p", "repeats"], ["q"]),
    ]
    return tiny.as_model(tiny.segmenter_graph(nodes, constants, y=("n", "c", "h", "w"), result="q"))


def not_a_number(folder):
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0])
    nodes = [helper.make_node("Mul", ["p", "zero"], ["o"]), helper.make_node("Div", ["o", "zero"], ["q"])]
    return tiny.as_model(tiny.segmenter_graph(nodes, [zero], result="q"))


def name_that_is_no_text(folder):
    """An axis called by bytes that are no UTF-8."""
    model = tiny.as_model(tiny.segmenter_graph(x=("n", 1, "~axis~", "w"))).SerializeToString()
    return model.replace(b"~axis~", b"\x80axis~")


REFUSED_UNSEEN = {  # the runtime never gets these bytes
    by_parent_folder: "tensor 'e' with data outside the file",
    by_absolute_path: "tensor 'e' with data outside the file",
    by_symbolic_link: "tensor 'e' with data outside the file",
    by_hard_link: "tensor 'e' with data outside the file",
    by_memory_address: "tensor 'e' with data outside the file",
    by_entries_alone: "tensor 'e' with data outside the file",
    in_a_constant: "tensor 'e' with data outside the file",
    in_a_subgraph: "tensor 'e' with data outside the file",
    in_a_function: "functions of its own",
    custom_operator: "operator Shell of domain 'evil'",
    nested_too_deep: "graphs nested 5 deep",
    huge_tensor: "declared with 1099511627776 elements",
    sparse_tensor: "a sparse initialiser",
    training: "training info",
    old_opset: "opset 9",
    truncated: "bytes that are no ONNX model",
    no_model: "bytes that are no ONNX model",
}
STOPPED = {
    unknown_operator: "refused by onnxruntime",
    huge_allocation: "ConstantOfShape",
    endless_loop: "no result within 0.5 s",
    wrong_type: "input 'x' is tensor(double), expected tensor(float)",
    name_that_is_no_text: "an input has a name that is no text",
    wrong_rank: "input 'x' has shape ['h', 'w'], expected 4 axes",
    wrong_classes: "expected axis 1 to be 2",
    hidden_wrong_classes: "output 'y' is float32 (1, 4, 64, 64), expected float32 (1, 2, 64, 64)",
    not_a_number: "output 'y' holds non-finite numbers",
}


@pytest.fixture
def inside(tmp_path):
    (tmp_path / "inside").mkdir()
    return tmp_path / "inside"


@pytest.mark.parametrize(("make", "says"), REFUSED_UNSEEN.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_seen_in_the_bytes_never_reaches_the_runtime(make, says, inside, opened, monkeypatch):
    path = tiny.write(inside, make(inside.parent))
    monkeypatch.setattr(runtime, "open_session", lambda *_, **__: pytest.fail("the runtime was given the bytes"))
    opened.clear()
    with pytest.raises(ModelError) as refusal:
        load_model(path)
    assert says in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert set(opened) == {path, path.with_suffix(".json")}


@pytest.mark.parametrize(("make", "says"), STOPPED.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_what_only_shows_in_the_runtime_is_stopped(make, says, inside, opened):
    path = tiny.write(inside, make(inside.parent))
    opened.clear()
    with pytest.raises(ModelError) as refusal:
        load_model(path, deadline_s=0.5)
    assert says in str(refusal.value)
    assert {file for file in opened if inside.parent in file.parents} == {path, path.with_suffix(".json")}


@pytest.mark.parametrize("make", [*REFUSED_UNSEEN, *STOPPED], ids=lambda make: make.__name__)
def test_the_command_line_ends_with_one_line_and_exit_code_4(make, inside, monkeypatch, capfd):
    path = tiny.write(inside, make(inside.parent))
    monkeypatch.setattr(command, "DEADLINE_S", 0.5)
    assert cli.status(["models", "show", str(path)]) == 4
    out, err = capfd.readouterr()  # of the file descriptors: the runtime's own log goes there
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_bytes_that_look_like_another_format_are_read_as_onnx(inside):
    path = tiny.write(inside, another_format(inside))
    assert path.read_bytes()[4:8] == b"ORTM"
    assert load_model(path).card.name == "tiny"
