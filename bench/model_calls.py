# SPDX-License-Identifier: BSD-3-Clause
"""What do the checks and the deadline around a model's call cost, and how soon does a deadline stop it?

Six convolutions of 16 channels on a 256 x 256 frame, one thread: a plain onnxruntime session, the same with each of
the settings that probewise uses or leaves alone, and `Model.run`, called in turn. Then a model that does almost nothing
(what a call costs at least), an empty block under a `Deadline`, and an endless loop.

    python bench/model_calls.py [--calls 60]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_models as tiny
from model_fuzz import cpu_model, loop_body
from probewise.errors import ModelError
from probewise.experiment.recorder import machine
from probewise.inference import load_model
from probewise.inference.deadline import Deadline

CHANNELS, LAYERS = 16, 6


def convolutions():
    nodes, weights, before, name = [], [], 1, "x"
    generator = np.random.default_rng(0)
    for layer in range(LAYERS):
        after = CHANNELS if layer < LAYERS - 1 else 2
        values = generator.normal(scale=0.1, size=after * before * 9)
        weights.append(helper.make_tensor(f"w{layer}", TensorProto.FLOAT, [after, before, 3, 3], values))
        nodes.append(helper.make_node("Conv", [name, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("LeakyRelu", [f"c{layer}"], [f"r{layer}"]))
        before, name = after, f"r{layer}"
    nodes.append(helper.make_node("Softmax", [name], ["s"], axis=1))
    return tiny.as_model(tiny.segmenter_graph(nodes, weights, result="s"))


def endless():
    constants = [
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("v", TensorProto.FLOAT, [], [0]),
    ]
    loop = helper.make_node("Loop", ["", "yes", "v"], ["r"], body=loop_body())
    return tiny.as_model(
        tiny.segmenter_graph([loop, helper.make_node("Add", ["p", "r"], ["q"])], constants, result="q")
    )


def session(content: bytes, entries: Mapping[str, str] | None = None, disabled: tuple[str, ...] = ()):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for key, value in (entries or {}).items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(disabled)
    )


def in_turn(ways: Mapping[str, Callable[[], object]], calls: int) -> dict[str, float]:
    """Median milliseconds of processor time of each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(calls):
        for name, call in ways.items():
            begun = time.thread_time()
            call()
            taken[name].append(1e3 * (time.thread_time() - begun))
    return {name: round(statistics.median(values), 4) for name, values in taken.items()}


def under_deadline() -> None:
    with Deadline(10.0, lambda: None):
        pass


def time_to_stop(folder: Path, deadline_s: float) -> float:
    """Milliseconds between the deadline and the return of an endless loop, loading included in both."""
    path = tiny.write(folder, endless())
    begun = time.perf_counter()
    try:
        load_model(path, deadline_s=deadline_s)
    except ModelError:
        return 1e3 * (time.perf_counter() - begun - deadline_s)
    raise AssertionError("the loop ended")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=60)
    calls = parser.parse_args().calls
    frame = np.random.default_rng(1).random((1, 1, 256, 256), dtype=np.float32)
    small = np.ascontiguousarray(frame[:, :, :8, :8])
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        path = tiny.write(folder, convolutions())
        content = path.read_bytes()
        model = load_model(path)
        plain = session(content)
        sessions = {
            "onnxruntime": plain,
            "no_constant_folding": session(content, disabled=("ConstantFolding",)),
            "shared_arena": session(content, {"session.use_env_allocators": "1"}),
            "denormals_as_zero": session(content, {"session.set_denormal_as_zero": "1"}),
        }
        ways: dict[str, Callable[[], object]] = {
            name: lambda one=one: one.run(["y"], {"x": frame}) for name, one in sessions.items()
        }
        frame_ms = in_turn({**ways, "Model.run": lambda: model.run(frame)}, calls)
        path = tiny.write(folder, tiny.as_model(tiny.segmenter_graph()))
        least, least_plain = load_model(path), session(path.read_bytes())
        small_ms = in_turn(
            {
                "onnxruntime": lambda: least_plain.run(["y"], {"x": small}),
                "Model.run": lambda: least.run(small),
                "deadline_alone": under_deadline,
            },
            50 * calls,
        )
        stop_ms = statistics.median(time_to_stop(folder, 0.3) for _ in range(5))
    result = {
        "question": __doc__.splitlines()[0],
        "frame_256_ms": frame_ms,
        "least_call_ms": small_ms,
        "stopped_after_deadline_ms": round(stop_ms, 1),
        "calls": calls,
        "onnxruntime": onnxruntime.__version__,
        "cpu": cpu_model(),
        **machine(),
        "threads": 1,
    }
    (Path(__file__).parent / "results" / "model_calls.json").write_text(json.dumps(result, indent=2) + "\n")
    print(
        json.dumps(
            {key: result[key] for key in ("frame_256_ms", "least_call_ms", "stopped_after_deadline_ms")}, indent=2
        )
    )


if __name__ == "__main__":
    main()
