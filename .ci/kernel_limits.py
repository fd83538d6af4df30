# SPDX-License-Identifier: BSD-3-Clause
"""Do the kernels keep their limits? Reads what `nvcc -Xptxas -v` printed from the file named, or standard input.

Fails for a kernel that spills registers or uses more than 96 of them (then fewer than 640 threads fit on a
multiprocessor, too few to hide its memory), for a kernel that one target has and another has not, and for a target that
is missing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

TARGETS = ("sm_75", "sm_80", "sm_90")
MOST_REGISTERS = 96

_ENTRY = re.compile(r"Compiling entry function '(?P<kernel>\w+)' for '(?P<target>sm_\d+)'")
_SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")


def problems(lines: Iterable[str]) -> Iterator[str]:
    """What is wrong, one line each."""
    seen: dict[str, set[str]] = {target: set() for target in TARGETS}
    kernel = target = ""
    for line in lines:
        if entry := _ENTRY.search(line):
            kernel, target = entry["kernel"], entry["target"]
            seen.setdefault(target, set()).add(kernel)
        elif (spill := _SPILL.search(line)) and any(int(count) for count in spill.groups()):
            yield f"{kernel} for {target} spills: {line.strip()}"
        elif (used := _USED.search(line)) and int(used[1]) > MOST_REGISTERS:
            yield f"{kernel} for {target} uses {used[1]} registers, expected at most {MOST_REGISTERS}"
    everything = set().union(*seen.values())
    if not everything:
        yield "no kernel was compiled with -Xptxas -v"
    for one, kernels in seen.items():
        for missing in sorted(everything - kernels):
            yield f"{missing} was not compiled for {one}"


def main() -> int:
    text = Path(sys.argv[1]).read_text() if len(sys.argv) > 1 else sys.stdin.read()
    found = list(problems(text.splitlines()))
    for problem in found:
        print(problem)
    if not found:
        kernels = len(_ENTRY.findall(text)) // len(TARGETS)
        most = max(int(count) for count in _USED.findall(text))
        print(f"{kernels} kernels for {', '.join(TARGETS)}: no spills, at most {most} registers")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
