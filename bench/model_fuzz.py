# SPDX-License-Identifier: BSD-3-Clause
"""Does any damaged model bring the process down, get by with data outside its file, or hang?

Mutants of four small models (a plain one, one whose weights lie in another file, one with such a tensor hidden in a
subgraph, one with an endless loop) get a card with their own hash, so that the hash stops none of them, and are loaded
in a forked child each, under limits of time and memory. The "other file" is a pipe that nobody writes to: whoever
opens it waits until the child is killed. Counted: what became of each mutant, and those that `probewise.inference`
let pass to the runtime although onnx, which reads the file independently, finds data outside it.

    python bench/model_fuzz.py [--mutants 20000] [--seed 0]
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import collections
import json
import platform
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import tiny_models as tiny
from probewise.errors import Error, ModelError
from probewise.experiment.recorder import machine
from probewise.inference import load_model
from probewise.inference.structure import examine

DEADLINE_S = 0.2
HANG_S = 20
OUTCOMES = {
    0: "ran",
    10: "refused before the runtime",
    11: "refused or stopped by the runtime",
    12: "another error",
    13: "passed with outside data",
}


def external(location: Path) -> onnx.TensorProto:
    tensor = helper.make_tensor("e", TensorProto.FLOAT, [4], [0.0] * 4)
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", str(location)
    return tensor


def originals(pipe: Path) -> list[bytes]:
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    hidden = helper.make_node("Constant", [], ["inner"], value=external(pipe))
    branch = helper.make_graph([hidden], "g", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])])
    choice = helper.make_node("If", ["yes"], ["e"], then_branch=branch, else_branch=branch)
    loop = helper.make_node("Loop", ["", "yes", "v"], ["r"], body=loop_body())
    total = helper.make_node("Add", ["p", "r"], ["q"])
    start = helper.make_tensor("v", TensorProto.FLOAT, [], [0.0])
    graphs = [
        tiny.segmenter_graph(),
        tiny.segmenter_graph(initialisers=[external(pipe)]),
        tiny.segmenter_graph([choice], [yes]),
        tiny.segmenter_graph([loop, total], [yes, start], result="q"),
    ]
    return [tiny.as_model(graph).SerializeToString() for graph in graphs]


def loop_body() -> onnx.GraphProto:
    info = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "one"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("a", TensorProto.FLOAT, [])],
        [info("on", TensorProto.BOOL, []), info("b", TensorProto.FLOAT, [])],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])],
    )


def mutant(content: bytes, other: bytes, random_: random.Random) -> bytes:
    """One to four changes: a bit, a byte, a run deleted, repeated or taken from another model, the end cut off."""
    changed = bytearray(content)
    kinds = random_.choice((2, 7))  # the first two keep all lengths, so that more of them reach the runtime
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        at = random_.randrange(len(changed))
        run = random_.randint(1, 24)
        match random_.randrange(kinds):
            case 0:
                changed[at] ^= 1 << random_.randrange(8)
            case 1:
                changed[at] = random_.choice((0, 1, 0x7F, 0x80, 0xFF, random_.randrange(256)))
            case 2:
                del changed[at : at + run]
            case 3:
                changed[at:at] = changed[at : at + run]
            case 4:
                begin = random_.randrange(len(other))
                changed[at:at] = other[begin : begin + run]
            case 5:
                changed[at : at + 1] = b"\xff" * random_.randint(1, 9) + b"\x01"  # a number far out of range
            case 6:
                del changed[max(1, at) :]
        if not changed:
            return b"\x00"
    return bytes(changed)


def outside(message) -> bool:
    """Does any tensor below `message`, as the protobuf library reads it, lie outside the file?"""
    if isinstance(message, onnx.TensorProto):
        return bool(message.external_data) or message.data_location != TensorProto.DEFAULT
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE and any(map(outside, value if hasattr(value, "__len__") else [value])):
            return True
    return False


def attempt(folder: Path, content: bytes) -> int:
    """What becomes of a mutant that was not refused; runs in the child."""
    try:
        if outside(onnx.load_model_from_string(content)):
            return 13
    except Exception:  # noqa: BLE001  onnx refuses it: then onnxruntime has to
        pass
    try:
        load_model(tiny.write(folder, content), deadline_s=DEADLINE_S)
    except ModelError:
        return 11
    except (Error, Exception):  # noqa: BLE001  counted as such
        return 12
    return 0


def fate(folder: Path, content: bytes) -> str:
    """What becomes of one mutant; all but the walk, which is pure Python, in a child."""
    try:
        examine(content, "mutant")
    except ModelError:
        return OUTCOMES[10]
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(HANG_S)
        os._exit(attempt(folder, content))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        return "hung" if -code == signal.SIGALRM else f"killed by {signal.Signals(-code).name}"
    return OUTCOMES[code]


def cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random_ = random.Random(options.seed)
    begun = time.perf_counter()
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pipe = folder / "outside"
        os.mkfifo(pipe)
        models = originals(pipe)
        whole = [fate(folder, content) for content in models]
        for index in range(options.mutants):
            content = mutant(models[index % len(models)], random_.choice(models), random_)
            outcome = fate(folder, content)
            counts[outcome] += 1
            if outcome not in ("ran", *(OUTCOMES[code] for code in (10, 11))):
                print(f"mutant {index}: {outcome}", file=sys.stderr)
    bad = sum(count for outcome, count in counts.items() if outcome not in [OUTCOMES[code] for code in (0, 10, 11)])
    result = {
        "question": "Does any damaged model bring the process down, get by with data outside its file, or hang?",
        "mutants": options.mutants,
        "seed": options.seed,
        "unchanged": dict(zip(("plain", "outside", "hidden", "loop"), whole, strict=True)),
        "outcomes": dict(sorted(counts.items())),
        "failures": bad,
        "seconds": round(time.perf_counter() - begun, 1),
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "cpu": cpu_model(),
        **machine(),
    }
    path = Path(__file__).parent / "results" / "model_fuzz.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(
        json.dumps({key: result[key] for key in ("mutants", "unchanged", "outcomes", "failures", "seconds")}, indent=2)
    )


if __name__ == "__main__":
    raise SystemExit(main())
