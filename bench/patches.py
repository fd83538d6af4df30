# SPDX-License-Identifier: BSD-3-Clause
"""How long do 10,000 patches of 32 x 32 into a reused buffer take, beside a plain copy of as many bytes?

Image 1024 x 1024 float32. Ours beside NumPy's sliding_window_view and take, cv2.getRectSubPix (sub-pixel) and AtomAI's
extract_subimages where they are installed, in turn in the same run, one thread. The floor is a copy of the output.
Usage: python bench/patches.py [--json FILE]
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PROBEWISE_THREADS"):
    os.environ[_name] = "1"

import argparse
from pathlib import Path

import numpy as np

import image_bench
import probewise as pw

SIDE = 32
COUNT = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=image_bench.RESULTS / "patches.json")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    image = rng.normal(0, 1, (1024, 1024)).astype(np.float32)
    whole = np.floor(rng.uniform(20, 1000, (COUNT, 2)))
    between = whole + rng.uniform(0, 1, whole.shape)
    out = np.zeros((COUNT, SIDE, SIDE), dtype=np.float32)
    source = np.ones_like(out)
    corner = whole.astype(np.int64) - SIDE // 2
    windows = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE))
    offset = (np.arange(SIDE)[:, None] * 1024 + np.arange(SIDE)).ravel()
    flat = (corner[:, 0] * 1024 + corner[:, 1])[:, None] + offset

    def sliding() -> None:
        out[:] = windows[corner[:, 0], corner[:, 1]]

    calls = {
        "copy of the output": lambda: np.copyto(out, source),
        "probewise": lambda: pw.extract_patches(image, whole, SIDE, out=out),
        "probewise, circular": lambda: pw.extract_patches(image, whole, SIDE, circular=True, out=out),
        "probewise, sub-pixel": lambda: pw.extract_patches(image, between, SIDE, subpixel=True, out=out),
        "numpy sliding_window_view into the buffer": sliding,
        "numpy sliding_window_view, new array": lambda: windows[corner[:, 0], corner[:, 1]],
        "numpy take into the buffer": lambda: np.take(image.reshape(-1), flat, out=out.reshape(COUNT, -1), mode="clip"),
    }
    try:
        import cv2
    except ImportError:
        print("cv2 is not installed: not run")
    else:
        cv2.setNumThreads(1)

        def rectangles() -> None:
            for patch, (y, x) in zip(out, between, strict=True):
                cv2.getRectSubPix(image, (SIDE, SIDE), (x, y), patch)

        calls["cv2.getRectSubPix, sub-pixel"] = rectangles
    try:
        from atomai.utils import extract_subimages
    except ImportError as missing:
        print(f"atomai: {missing}: not run")
    else:
        labelled = np.concatenate([whole, np.zeros((COUNT, 1))], axis=1)
        calls["atomai extract_subimages"] = lambda: extract_subimages(image[None], labelled, SIDE)
    rows = image_bench.interleaved(calls, rounds=15)
    image_bench.write(arguments.json, __doc__, rows, floor="copy of the output", patches=COUNT, side=SIDE)


if __name__ == "__main__":
    main()
