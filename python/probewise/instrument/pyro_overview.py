# SPDX-License-Identifier: BSD-3-Clause
"""The overview image of a DTMicroscope server as the sample: "pyro5://HOST:PORT/OBJECT".

The server's interface (initialize_microscope, register_data, get_overview_image, get_point_data) has no sub-scan,
dwell, blanker, parking or abort. So the one picture is fetched when the instrument is opened and scanned in this
process; what a run does reaches no beam, and none can be blanked: idle is "scan".

Source: pycroscopy/DTMicroscope, server/server_stem.py and client_stem.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument.picture import PictureInstrument
from probewise.instrument.picture_view import PictureNoise
from probewise.types import Capability, Float32Array, Limits

SERIALIZER = "serpent"  # plain values only, as the server's; never pickle


class OverviewInstrument(PictureInstrument):
    """A picture without a blanker."""

    def describe(self) -> tuple[Capability, Limits]:
        capability, limits = super().describe()
        return capability & ~Capability.BLANK, limits

    def blank(self, on: bool) -> None:
        raise InstrumentError("the server has no blanker")


def open_overview(
    rest: str,
    *,
    fov_nm: float,
    microscope: str = "STEM",
    data: str | None = None,
    timeout_s: float = 10.0,
) -> OverviewInstrument:
    """Open "pyro5:REST", REST `//HOST:PORT` with `/OBJECT` where that is not `microscope.server`.

    fov_nm      side of the picture along x, pixels taken as square: the server tells no calibration
    microscope  told to initialize_microscope: the server makes a microscope for each client
    data        told to register_data, a file on the server's machine; None: not called
    timeout_s   for each call; a picture of 128 x 128 took DTMicroscope 0.2 s
    raises      ConfigurationError without the extra `pyro` or for a wrong option, InstrumentError when the server does
                not answer or gives no picture
    """
    try:
        import Pyro5.api
    except ImportError as error:
        raise ConfigurationError(f"pyro5: needs Pyro5 ({error}): pip install 'probewise[pyro]'") from error
    host, _, name = rest.removeprefix("//").partition("/")
    place, colon, port = host.rpartition(":")
    if not (rest.startswith("//") and place and colon and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ConfigurationError(f"instrument.uri is 'pyro5:{rest}', expected pyro5://HOST:PORT/OBJECT")
    for option, number in (("fov_nm", fov_nm), ("timeout_s", timeout_s)):
        if not (math.isfinite(number) and number > 0):
            raise ConfigurationError(f"instrument.{option} is {number!r}, expected a positive number")
    name = name or "microscope.server"
    source = f"pyro5://{host}/{name}"
    with Pyro5.api.Proxy(f"PYRO:{name}@{host}") as proxy:
        proxy._pyroSerializer = SERIALIZER
        proxy._pyroTimeout = float(timeout_s)
        _asked(source, "initialize_microscope", lambda: proxy.initialize_microscope(microscope))
        if data is not None:
            _asked(source, "register_data", lambda: proxy.register_data(data))
        answer = _asked(source, "get_overview_image", proxy.get_overview_image)
    picture, notices = _picture(answer)
    rows, cols = picture.shape
    return OverviewInstrument(
        picture,
        (fov_nm * rows / cols, float(fov_nm)),
        source=source,
        noise=PictureNoise(),
        seed=0,
        beam_current_pA=None,
        realtime=False,
        notices=("one picture of the server, fetched when it was opened: scans reach no beam", *notices),
    )


def _asked(source: str, name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # the server's own errors come as any class
        raise InstrumentError(f"{source}: {name} failed: {type(error).__name__}: {error}") from error


def _picture(answer: Any) -> tuple[Float32Array, tuple[str, ...]]:
    """(rows, cols) out of (nested lists, shape, dtype)."""
    try:
        values, shape, dtype_name = answer
        dtype = np.dtype(str(dtype_name))
        rows, cols = (int(side) for side in shape)
        picture = np.asarray(values, dtype=dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InstrumentError(f"get_overview_image gave no (lists, (rows, cols), dtype): {error}") from error
    if dtype.kind not in "uif" or picture.shape != (rows, cols) or min(rows, cols) < 2:
        raise InstrumentError(
            f"get_overview_image gave {picture.dtype} of shape {picture.shape}, said to be ({rows}, {cols}), "
            "expected a picture of numbers"
        )
    with np.errstate(over="ignore"):
        kept = np.ascontiguousarray(picture, dtype=np.float32)
    if not np.isfinite(kept).all():
        raise InstrumentError("get_overview_image gave values that are not finite as float32")
    return kept, () if dtype == np.float32 else (f"values were {dtype}, kept as float32",)
