# SPDX-License-Identifier: BSD-3-Clause
"""What can fail, each with the exit code that the command line gives for it.

A wrong argument of a function is a ValueError or TypeError; these are for everything else.
"""

from __future__ import annotations

from typing import ClassVar

from probewise._core import Error as _CoreError
from probewise._core import NotPositiveDefinite as NotPositiveDefinite


class Error(_CoreError):
    """Base of the errors that probewise raises itself."""

    exit_code: ClassVar[int] = 1


class CudaError(Error):
    """The CUDA driver or a device failed."""


class ConfigurationError(Error, ValueError):
    """Usage, configuration, input file, missing extra, units or positions refused before the beam moved."""

    exit_code: ClassVar[int] = 2


class InstrumentError(Error):
    """Unreachable instrument, hardware fault, or too many bad frames. The beam is already safe."""

    exit_code: ClassVar[int] = 3


class ScanError(InstrumentError):
    """One scan failed (fault, abort, malformed data); the beam was made safe before this was raised."""


class ScanTimeout(ScanError):
    """A scan passed its deadline and was aborted."""


class ModelError(Error):
    """A model is refused, or inference failed or passed its deadline. The beam is already safe."""

    exit_code: ClassVar[int] = 4


class StorageError(Error):
    """Disk full, folder not writable, or journal damaged."""

    exit_code: ClassVar[int] = 5
