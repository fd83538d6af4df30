# SPDX-License-Identifier: BSD-3-Clause
"""How long does the shipped atom finder take for one 256 x 256 frame, beside a U-Net of AtomAI's default shape?

Ours: the shipped `atoms` model through `load_model` (ONNX Runtime, one thread, both outputs).
Peer: the U-Net (16, 32, 64, 128 channels, 594 k parameters, random weights) in torch, as AtomAI runs it, and the same
U-Net exported and run by ONNX Runtime. Frames alternate between the three; one thread each. Needs the extra `train`.
Run: python bench/atom_network.py [--json FILE]
"""

from __future__ import annotations

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch

import probewise
from probewise.inference import load_model

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "models"))
from export import INPUT, export
from networks import Exported, ReferenceUNet

REPEATS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", default=str(ROOT / "bench" / "results" / "atom_network.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("atoms", threads=1)
    network = ReferenceUNet(len(model.card.classes)).eval()
    peer = Exported(network).eval()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        export(network, Path(folder) / "unet.onnx")
        session = onnxruntime.InferenceSession(str(Path(folder) / "unet.onnx"), options, ["CPUExecutionProvider"])
    frame = np.random.default_rng(0).random((1, 1, 256, 256), dtype=np.float32)
    tensor = torch.from_numpy(frame)

    def in_torch() -> None:
        with torch.inference_mode():
            peer(tensor)

    runs = {
        "probewise atoms": lambda: model.run(frame),
        "U-Net, torch": in_torch,
        "U-Net, ONNX Runtime": lambda: session.run(None, {INPUT: frame}),
    }
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(REPEATS + 3):
        for name, run in runs.items():
            begun, used = time.perf_counter(), time.process_time()
            run()
            if repeat >= 3:  # the first few fill caches
                cpu[name].append(1e3 * (time.process_time() - used))
                wall[name].append(1e3 * (time.perf_counter() - begun))
    rows = []
    for name in runs:
        rows.append(
            {
                "what": name,
                "median_ms": round(float(np.median(wall[name])), 3),
                "best_ms": round(min(wall[name]), 3),
                "median_cpu_ms": round(float(np.median(cpu[name])), 3),
                "ratio_of_cpu": round(float(np.median(cpu[name]) / np.median(cpu["probewise atoms"])), 2),
            }
        )
        print(rows[-1])
    model_name = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    result = {
        "question": str(__doc__).splitlines()[0],
        "cpu": model_name,
        "threads": 1,
        "versions": {
            "probewise": probewise.__version__,
            "onnxruntime": onnxruntime.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "rows": rows,
    }
    Path(arguments.json).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
