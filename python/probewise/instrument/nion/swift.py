# SPDX-License-Identifier: BSD-3-Clause
"""The objects of Nion Swift that a scan needs: those of the program that runs, or of its simulator brought up here.

nionswift is GPL-3.0-only; it is imported when one of these is asked for, and not before.
"""

from __future__ import annotations

import asyncio
import importlib
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probewise.errors import ConfigurationError, InstrumentError

SAMPLES = ("flakes", "amorphous", "particles")  # of the simulator, by its own index


@dataclass(frozen=True)
class Swift:
    """What one microscope of Swift is.

    source   the scan's hardware source: settings, and whether Swift itself is scanning
    device   the scan device below it, which moves the beam
    stem     the microscope's controls
    camera   of its spectrometer, None where it has none
    release  puts away what was brought up for it
    """

    source: Any
    device: Any
    stem: Any
    camera: Any
    release: Callable[[], None]

    @property
    def name(self) -> str:
        return str(self.device.scan_device_id)

    def context(self, parameters: Any) -> Any:
        """The field of `parameters` as the scan device wants it beside a position of the probe."""
        return _module("nion.instrumentation.stem_controller").ScanContext(
            parameters.pixel_size, parameters.center_nm, parameters.fov_nm, parameters.rotation_rad
        )

    def point(self, yx: tuple[float, float]) -> Any:
        return _module("nion.utils.Geometry").FloatPoint(y=yx[0], x=yx[1])


def running() -> Swift:
    """The microscope of the Swift that this process is part of.

    raises  ConfigurationError without nionswift, InstrumentError without a microscope that can scan
    """
    stem = _module("nion.utils.Registry").get_component("stem_controller")
    source = None if stem is None else stem.scan_controller
    if source is None:
        raise InstrumentError(
            "Nion Swift has no scan in this process, expected to run inside Swift with its microscope's plug-in; "
            "nion:usim brings up the simulator"
        )
    return Swift(source, source.scan_device, stem, stem.eels_camera, lambda: None)


def simulator(sample: str) -> Swift:
    """Nion's simulated microscope without a window; one at a time in a process.

    sample  of SAMPLES
    raises  ConfigurationError without nionswift-usim, for another sample, or where a microscope is registered already
    """
    if sample not in SAMPLES:
        raise ConfigurationError(f"instrument option sample = {sample!r}, expected one of {', '.join(SAMPLES)}")
    _module("nion.usim_device.DeviceConfiguration")
    if _module("nion.utils.Registry").get_component("stem_controller") is not None:
        raise ConfigurationError("nion:usim: this process has a microscope of Swift already, expected nion: for it")
    # Swift's sources ask for their thread's event loop when they are made: the caller's is left alone.
    with ThreadPoolExecutor(1) as aside:
        return aside.submit(_bring_up, SAMPLES.index(sample)).result()


def _bring_up(sample: int) -> Swift:
    with ExitStack() as started:
        loop = asyncio.new_event_loop()
        started.callback(loop.close)
        asyncio.set_event_loop(loop)
        folder = Path(started.enter_context(tempfile.TemporaryDirectory(prefix="probewise-usim-")))
        hardware = _module("nion.instrumentation.HardwareSource")
        started.callback(lambda: hardware.HardwareSourceManager().close())
        # Each answers to what the later ones register: the microscope comes last and goes first.
        for name, arguments in (
            ("HardwareSource", ()),
            ("DriftTracker", ()),
            ("camera_base", (folder,)),
            ("scan_base", (folder,)),
        ):
            module = _module(f"nion.instrumentation.{name}")
            module.run(*arguments)
            started.callback(module.stop)
        configuration = _module("nion.usim_device.DeviceConfiguration")
        microscope = configuration.AcquisitionContextConfiguration(
            sample_index=sample, set_configuration_location=False
        )
        microscope.run()
        started.callback(microscope.stop)
        stem = microscope.instrument
        release = started.pop_all().close
    return Swift(stem.scan_controller, stem.scan_controller.scan_device, stem, stem.eels_camera, release)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and not missing.name.startswith("nion"):
            raise
        raise ConfigurationError(
            f"nion: needs {name}, which is not installed; type: pip install 'probewise[nion]'"
        ) from missing
