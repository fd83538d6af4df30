# SPDX-License-Identifier: BSD-3-Clause
import importlib.util
from pathlib import Path

import pytest

_PATH = Path(__file__).parents[2] / ".ci" / "kernel_limits.py"
_spec = importlib.util.spec_from_file_location("kernel_limits", _PATH)
assert _spec is not None
assert _spec.loader is not None
limits = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(limits)


def printed(target, kernel="_ZN9probewise4cuda5applyPKf", stores=0, registers=40):
    return (
        f"ptxas info    : Compiling entry function '{kernel}' for '{target}'\n"
        f"    0 bytes stack frame, {stores} bytes spill stores, 0 bytes spill loads\n"
        f"ptxas info    : Used {registers} registers, used 1 barriers, 2048 bytes smem\n"
    ).splitlines()


def everywhere(**changed):
    return [line for target in limits.TARGETS for line in printed(target, **changed)]


def test_kernels_within_limits_are_no_problem():
    assert list(limits.problems(everywhere(registers=limits.MOST_REGISTERS))) == []


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["nothing of the kind"], ["no kernel was compiled"]),
        (everywhere(stores=8), ["for sm_75 spills: ", "for sm_80 spills: ", "for sm_90 spills: "]),
        (everywhere()[:-3] + printed("sm_90", registers=97), ["for sm_90 uses 97 registers, expected at most 96"]),
        (everywhere()[:-3], ["was not compiled for sm_90"]),
        (
            everywhere() + printed("sm_80", kernel="_ZN9probewise4cuda5otherPKf"),
            ["not compiled for sm_75", "not compiled for sm_90"],
        ),
    ],
)
def test_what_is_wrong_is_one_line_each(lines, says):
    found = list(limits.problems(lines))
    assert len(found) == len(says)
    for problem, expected in zip(found, says, strict=True):
        assert expected in problem
