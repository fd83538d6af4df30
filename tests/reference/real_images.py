# SPDX-License-Identifier: BSD-3-Clause
"""Where the real images are that some tests read; they are not part of the repository."""

import os
from pathlib import Path

import pytest


def real_image(name: str) -> Path:
    """The file `name` of the folder of real images; skips the test when it is not there."""
    root = Path(os.environ.get("PROBEWISE_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
    if not (root / name).is_file():
        pytest.skip(f"no {name} in the folder of real images (PROBEWISE_DATA or ../shared/data)")
    return root / name
