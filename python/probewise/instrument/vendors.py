# SPDX-License-Identifier: BSD-3-Clause
"""Openers of the vendors' drivers (`probewise_agent`) in this process: "autoscript:", "pyjem:", "dm:".

None of them was tried on a real instrument. Their packages come with the microscope and run on its own computer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from probewise.errors import ConfigurationError, InstrumentError
from probewise.instrument.driven import DrivenInstrument
from probewise.instrument.registry import IN_PROCESS, hardware


class VendorInstrument(DrivenInstrument):
    """A driven instrument that knows its survey field."""

    def __init__(self, driver: Any, source: str) -> None:
        super().__init__(driver, source)
        self.fov_nm: tuple[float, float] = driver.fov_nm
        self.notices: tuple[str, ...] = ()


@hardware
def open_autoscript(rest: str, *, fov_nm: float, **options: Any) -> VendorInstrument:
    """Open "autoscript:HOST" or "autoscript:HOST:PORT" (default localhost:9095).

    options  of probewise_agent.autoscript.AutoScriptDriver
    raises   ConfigurationError without Thermo Fisher's package, InstrumentError when the microscope does not answer
    """
    from probewise_agent.autoscript import AutoScriptDriver

    host, _, port = rest.partition(":")
    if port and not port.isdigit():
        raise ConfigurationError(f"instrument.uri is 'autoscript:{rest}', expected autoscript:HOST:PORT")
    return _opened(
        lambda: AutoScriptDriver(host or "localhost", int(port or 9095), fov_nm=fov_nm, **options),
        f"autoscript:{rest}",
        "autoscript_tem_microscope_client comes with AutoScript TEM from Thermo Fisher",
    )


@hardware
def open_pyjem(
    rest: str, *, fov_nm: float, channels: Sequence[str] = (), flyback_us: float = 100.0
) -> VendorInstrument:
    """Open "pyjem:" or "pyjem:HOST"; options are those of probewise_agent.pyjem.PyJemDriver.

    raises   ConfigurationError without PyJEM, InstrumentError when the microscope does not answer
    """
    from probewise_agent.pyjem import PyJemDriver

    return _opened(
        lambda: PyJemDriver(rest or None, fov_nm=fov_nm, channels=channels, flyback_us=flyback_us),
        f"pyjem:{rest}",
        "PyJEM comes from JEOL with the microscope",
    )


def open_dm(
    rest: str,
    *,
    fov_nm: float,
    signals: dict[str, int] | None = None,
    flyback_us: float = 500.0,
    dwell_us: tuple[float, float] = (1.0, 400_000.0),
) -> VendorInstrument:
    """Open "dm:" inside DigitalMicrograph; options are those of probewise_agent.digitalmicrograph's driver.

    Its module exists in DigitalMicrograph's process alone, so that no keeper can hold it; a notice says so.

    raises   ConfigurationError outside DigitalMicrograph
    """
    from probewise_agent.digitalmicrograph import DigitalMicrographDriver

    if rest:
        raise ConfigurationError(f"instrument.uri is 'dm:{rest}', expected dm: alone")
    opened = _opened(
        lambda: DigitalMicrographDriver(fov_nm=fov_nm, signals=signals, flyback_us=flyback_us, dwell_us=dwell_us),
        "dm:",
        "DigitalMicrograph is the module that Gatan's own Python has, inside DigitalMicrograph (GMS 3.4 or newer)",
    )
    opened.notices = (IN_PROCESS,)
    return opened


def _opened(make: Callable[[], Any], uri: str, origin: str) -> VendorInstrument:
    from probewise_agent.driver import DriverError

    try:
        driver = make()
    except ImportError as error:
        raise ConfigurationError(f"instrument {uri!r} cannot be opened: {error}; {origin}") from error
    except DriverError as error:
        raise InstrumentError(f"instrument {uri!r} does not answer: {error}") from error
    return VendorInstrument(driver, uri)
