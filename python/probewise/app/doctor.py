# SPDX-License-Identifier: BSD-3-Clause
"""What this machine and installation offer, and what is wrong with them."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from probewise.errors import ConfigurationError
from probewise.inference import runtime
from probewise.inference.runtime import version

CORE = ("numpy", "scipy", "scikit-learn", "scikit-image", "h5py", "pydantic", "typer", "rich", "matplotlib")
EXTRAS = {
    "cpu": ("onnxruntime",),
    "gpu": ("onnxruntime-gpu", "cupy-cuda13x"),
    "train": ("torch", "onnx", "onnxscript"),
    "read": ("rosettasciio",),
    "bluesky": ("bluesky",),
    "tango": ("pytango",),
    "pyro": ("Pyro5",),
    "nion": ("nionswift", "nionswift-instrumentation", "nionswift-usim"),
    "test": ("pytest", "hypothesis", "pysptools", "onnx"),
}
VARIABLES = (
    "PROBEWISE_THREADS",
    "PROBEWISE_SIMD",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)


def examine(directory: Path | None = None) -> dict[str, Any]:
    """Everything `probewise doctor --json` prints; `directory` is where runs would be kept (default: here)."""
    from probewise import __version__
    from probewise._core import simd_level
    from probewise.app.models import state_of_models

    findings: dict[str, Any] = {
        "probewise": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": _cores(),
        "simd": simd_level(),
        "threads": _threads(),
        "environment": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": {name: version(name) for name in CORE},
        "extras": {extra: {name: version(name) for name in names} for extra, names in EXTRAS.items()},
        "onnxruntime": runtime.installed(),
        "providers": runtime.providers(),
        "cuda": _cuda(),
        "models": state_of_models(),
        "sqlite": sqlite3.sqlite_version,
        "disk": _disk(directory or Path.cwd()),
        "instruments": _instruments(),
        "untried": _untried(),
    }
    findings["problems"] = _problems(findings)
    return findings


def _cuda() -> dict[str, Any]:
    """Is there CUDA code, and a device for it? None missing is a problem on a machine without one."""
    from probewise.device import choose_device, cuda_module, devices_found

    names, missing = devices_found()
    module = cuda_module()
    built = module is not None
    taken = choose_device("auto")
    return {
        "built": built,
        "emulated": built and bool(module.emulated()),
        "devices": names,
        "missing": missing,
        "auto": f"{taken.name}: {taken.why}",
    }


def _cores() -> int:
    """Cores this process may run on, which a container or a scheduler can make fewer than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _threads() -> dict[str, Any]:
    """Who computes with how many threads and whether they spin while they wait, which takes a core from the others."""
    from threadpoolctl import threadpool_info  # type: ignore[import-untyped]

    from probewise import _core

    try:
        core: int | str = _core.threads()
    except ValueError as problem:
        core = str(problem)
    try:
        networks: int | str = runtime.default_threads()
    except ConfigurationError as problem:
        networks = str(problem)
    import numpy  # noqa: F401  its linear algebra is asked for its threads
    import scipy.linalg  # noqa: F401

    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {"core": core, "networks": networks, "networks_spin": runtime.SPINS, "blas": blas, "affinity": affinity}


def _disk(directory: Path) -> dict[str, Any]:
    """Can a journal be kept here, and how long does a durable commit take?"""
    try:
        with tempfile.TemporaryDirectory(prefix=".probewise-doctor-", dir=directory) as folder:
            connection = sqlite3.connect(Path(folder) / "try.sqlite")
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE step (content BLOB)")
            begun = time.perf_counter()
            with connection:
                connection.execute("INSERT INTO step VALUES (?)", (bytes(1 << 20),))
            took = (time.perf_counter() - begun) * 1e3
            connection.close()
    except (OSError, sqlite3.Error) as problem:
        return {"writable": False, "wal": False, "commit_1_MiB_ms": None, "free_GiB": None, "problem": str(problem)}
    import shutil

    free = shutil.disk_usage(directory).free / 2**30
    return {"writable": True, "wal": mode == "wal", "commit_1_MiB_ms": round(took, 2), "free_GiB": round(free, 1)}


def _instruments() -> dict[str, str]:
    points = metadata.entry_points(group="probewise.instruments")
    return {point.name: point.value for point in sorted(points, key=lambda point: point.name)}


def _untried() -> list[str]:
    """Own backends of real hardware: they ran against simulators and fakes, never on a microscope."""
    own = [name for name, value in _instruments().items() if value.startswith("probewise.")]
    return [name for name in own if name not in ("simulated", "image", "pyro5")]


def _problems(findings: dict[str, Any]) -> list[str]:
    conflict = runtime.conflict(findings["onnxruntime"])
    problems = [] if conflict is None else [conflict]
    problems += [f"model {name}: {state}" for name, state in findings["models"].items() if state != "ok"]
    problems += [
        f"{name} is missing; type: pip install {name}" for name, found in findings["packages"].items() if not found
    ]
    threads = findings["threads"]
    problems += [threads[user] for user in ("core", "networks") if not isinstance(threads[user], int)]
    disk = findings["disk"]
    if not disk["writable"]:
        problems.append(f"this folder cannot hold a journal: {disk['problem']}")
    elif not disk["wal"]:
        problems.append("this folder's file system has no shared memory for a write-ahead log; choose --out elsewhere")
    elif disk["free_GiB"] < 1:
        problems.append(f"only {disk['free_GiB']} GiB free in this folder; a default run keeps about 0.1 GiB")
    if not findings["instruments"]:
        problems.append("no instruments are registered; install the package again: pip install .")
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        problems.append(f"python {findings['python']} is not one of 3.11 and 3.12")
    return problems


def as_text(findings: dict[str, Any]) -> list[str]:
    """The findings as aligned lines, problems last."""
    disk = findings["disk"]
    kept = "not writable"
    if disk["writable"]:
        commit = f"1 MiB commit {disk['commit_1_MiB_ms']} ms"
        kept = f"writable, WAL {'yes' if disk['wal'] else 'no'}, {commit}, {disk['free_GiB']} GiB free"
    lines = [
        f"probewise    {findings['probewise']}, python {findings['python']}, {findings['platform']}",
        f"cores        {findings['cores']}, SIMD level {findings['simd']}",
        f"threads      {_threads_in_words(findings['threads'])}",
        f"environment  {_pairs(findings['environment']) or 'no thread or SIMD variable set'}",
        f"packages     {_pairs(findings['packages'])}",
        *(f"extra        {name}: {_pairs(found)}" for name, found in findings["extras"].items()),
        f"models       {len(findings['models'])} shipped; providers: {', '.join(findings['providers']) or 'none'}",
        f"cuda         {', '.join(findings['cuda']['devices']) or findings['cuda']['missing']}",
        f"journal      sqlite {findings['sqlite']}; this folder: {kept}",
        f"instruments  {', '.join(findings['instruments']) or 'none'}",
        f"             not tried on a real instrument: {', '.join(findings['untried']) or 'none'}",
    ]
    return lines + ([f"problem      {text}" for text in findings["problems"]] or ["problems     none"])


def _threads_in_words(threads: dict[str, Any]) -> str:
    waiting = "spin" if threads["networks_spin"] else "sleep"
    blas = "/".join(map(str, threads["blas"])) or "none"
    where = "any core" if threads["affinity"] is None else "cores " + ", ".join(map(str, threads["affinity"]))
    return f"core {threads['core']}, networks {threads['networks']} ({waiting} while waiting), BLAS {blas}; on {where}"


def _pairs(found: dict[str, str | None]) -> str:
    return ", ".join(f"{name} {value or 'absent'}" for name, value in found.items())
