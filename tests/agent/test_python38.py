# SPDX-License-Identifier: BSD-3-Clause
"""An instrument's computer has an old Python: the syntax is checked here, the behaviour where there is one."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[2] / "agent" / "probewise_agent"
STANDARD = sys.stdlib_module_names | {"numpy", "probewise_agent"}
# What the vendors' own modules are called: imported where a driver is made.
VENDORS = {"autoscript_tem_microscope_client", "PyJEM", "DigitalMicrograph"}


@pytest.mark.parametrize("path", sorted(AGENT.rglob("*.py")), ids=lambda path: path.name)
def test_it_is_python_3_8_and_needs_the_standard_library_and_numpy_only(path):
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module]
        for name in names:
            assert name.split(".")[0] in STANDARD | VENDORS, name


def run(python):
    script = Path(__file__).with_name("exercise.py")
    return subprocess.run([python, str(script)], capture_output=True, text=True, timeout=120)


def test_the_exercise_passes_here():
    done = run(sys.executable)
    assert done.returncode == 0, done.stderr
    assert "done" in done.stdout


def test_the_exercise_passes_on_python_3_8():
    python = os.environ.get("PROBEWISE_PYTHON38")
    if python is None:
        pytest.skip("PROBEWISE_PYTHON38 names no Python 3.8 with numpy")
    done = run(python)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, 8)")
