# SPDX-License-Identifier: BSD-3-Clause
import importlib
import pkgutil
import subprocess
import sys

import numpy as np
import pytest

from probewise import _core


def test_import_loads_numpy_and_the_core_only():
    heavy = "scipy sklearn skimage h5py pydantic typer rich matplotlib sqlite3"
    code = f"import sys, probewise; print([m for m in {heavy.split()} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_unknown_simd_level_is_refused():
    code = "from probewise import _core; _core.simd_level()"
    import os

    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PROBEWISE_SIMD": "sse9"},
    )
    assert run.returncode != 0
    assert "PROBEWISE_SIMD=sse9, expected base, avx2 or avx512" in run.stderr


@pytest.mark.parametrize(
    ("key", "stream", "index", "expected"),
    [(0, 0, 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8))],
)
def test_philox_known_answer(key, stream, index, expected):
    assert _core.philox(key, stream, index) == expected


def test_philox_streams_differ():
    blocks = {_core.philox(1, s, i) for s in range(4) for i in range(4)}
    assert len(blocks) == 16
    assert np.unique([b[0] for b in blocks]).size == 16


def test_no_module_hides_a_name_of_the_room_that_loads_late() -> None:
    """`from room import name` gives the module of that name once something has imported it."""
    package = importlib.import_module("probewise.instrument")
    assert not set(package.__all__) & {module.name for module in pkgutil.iter_modules(package.__path__)}
