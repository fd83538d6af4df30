# SPDX-License-Identifier: BSD-3-Clause
"""How long do the magnitude spectra of 14,641 windows of 64 px and their products with 16 components take?

Windows every 8 px of a 1024 x 1024 image, one thread. Beside ours, the same result by SciPy's transforms in blocks that
stay in the cache, by pyfftw's where that is installed, and by one transform after another in float64, as AtomAI's
sliding FFT has it. Floor: a copy of the spectra.
Run: python bench/window_spectra.py [--json FILE]
"""

from __future__ import annotations

import os

os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import argparse
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from image_bench import RESULTS, interleaved, write
from probewise._core import descriptors as core
from probewise.descriptors.spectra import spectra_at, window_corners

SIDE, STEP, COMPONENTS, BLOCK = 64, 8, 16, 121


def image():
    y, x = np.indices((1024, 1024))
    lattice = np.where(np.sin(x / 130 + np.sin(y / 170)) > 0, np.cos(0.9 * x) + np.cos(0.9 * y), np.cos(0.8 * x))
    return np.random.default_rng(0).poisson(100 + 20 * lattice).astype(np.float32)


def blocks(picture, transform):
    """Magnitudes (windows, SIDE, SIDE / 2 + 1), rows in the order of the transform."""
    windows = sliding_window_view(picture, (SIDE, SIDE))[::STEP, ::STEP]
    taper = np.sqrt(np.outer(np.hamming(SIDE), np.hamming(SIDE))).astype(np.float32)
    out = np.empty((windows.shape[0] * windows.shape[1], SIDE, SIDE // 2 + 1), np.float32)
    for number, line in enumerate(windows):
        out[number * BLOCK : (number + 1) * BLOCK] = np.abs(transform(line * taper))
    return out


def one_by_one(picture):
    windows = sliding_window_view(picture, (SIDE, SIDE))[::STEP, ::STEP].reshape(-1, SIDE, SIDE)
    taper = np.sqrt(np.outer(np.hamming(SIDE), np.hamming(SIDE)))
    return np.stack([np.abs(np.fft.fftshift(np.fft.fft2(window * taper))) for window in windows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", default=str(RESULTS / "window_spectra.json"))
    parser.add_argument("--times", type=int, default=9)
    arguments = parser.parse_args()
    from scipy import fft

    picture = image()
    corners = window_corners(picture.shape, SIDE, STEP)
    features = SIDE * (SIDE // 2 + 1)
    random = np.random.default_rng(1)
    basis = random.random((COMPONENTS, features))
    narrow = np.ascontiguousarray(basis.T.astype(np.float32))
    products, norms = np.empty((len(corners), COMPONENTS)), np.empty(len(corners))

    def ours():
        spectra, _ = spectra_at(picture, corners, SIDE, crop=1)
        core.project(spectra, basis, products, norms)
        return spectra

    def peer(transform):
        spectra = blocks(picture, transform).reshape(len(corners), features)
        return spectra, spectra @ narrow

    spectra = ours()
    tasks = {
        "probewise": ours,
        "scipy in blocks": lambda: peer(lambda windows: fft.rfft2(windows, workers=1)),
        "copy of the spectra": spectra.copy,
    }
    try:
        import pyfftw
    except ImportError:
        pass
    else:
        buffer = pyfftw.empty_aligned((BLOCK, SIDE, SIDE), np.float32)
        plan = pyfftw.builders.rfft2(buffer, threads=1, planner_effort="FFTW_MEASURE")
        tasks["pyfftw in blocks"] = lambda: peer(plan)
    theirs = np.fft.fftshift(blocks(picture, fft.rfft2), axes=1).reshape(len(corners), features)
    difference = float(np.abs(spectra - theirs).max() / theirs.max())
    rows = interleaved(tasks, arguments.times) + interleaved({"one by one, float64": lambda: one_by_one(picture)}, 1)
    write(Path(arguments.json), __doc__, rows, "copy of the spectra", largest_difference_to_scipy=difference)


if __name__ == "__main__":
    main()
