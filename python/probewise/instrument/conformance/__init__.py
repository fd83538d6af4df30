# SPDX-License-Identifier: BSD-3-Clause
"""Does a driver keep what the eight verbs promise? `check` asks an instrument, `python -m` this package a URI."""

from probewise.instrument.conformance.result import Result as Result
from probewise.instrument.conformance.suite import check as check

__all__ = ["Result", "check"]
