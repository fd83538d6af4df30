# SPDX-License-Identifier: BSD-3-Clause
"""From a URI to an instrument: backends are entry points of the group "probewise.instruments"."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar

from probewise.errors import ConfigurationError
from probewise.types import Instrument

GROUP = "probewise.instruments"
Keeper = Literal["process", "in-process"]
Opener = TypeVar("Opener", bound=Callable[..., Instrument])
IN_PROCESS = (
    "the beam has no keeper of its own (keeper = 'in-process'): it stays as it is when this process is killed or hangs"
)


def hardware(opener: Opener) -> Opener:
    """Mark a backend's opener as one of real hardware, which a keeper holds by default."""
    opener.hardware = True  # type: ignore[attr-defined]
    return opener


def known_schemes() -> tuple[str, ...]:
    """Schemes of all installed backends, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def open_instrument(
    uri: str, *, keeper: Keeper = "process", max_beam_s: float | None = None, **options: Any
) -> Instrument:
    """Open the instrument that `uri` names.

    uri         SCHEME:REST, such as "simulated:graphene" or "image:PATH"; what REST means is the backend's
    keeper      who holds real hardware: a process of its own that takes the beam off when this one dies or hangs, or
                this one, which is faster and cannot do that. What is simulated is held here always
    max_beam_s  the keeper lets the beam be on so long in all, idle time included
    options     the backend's own keywords
    returns     an Instrument that has not moved the beam yet
    raises      TypeError unless `uri` is a string; ConfigurationError for an unknown scheme or option, or a backend
                that cannot be imported; InstrumentError when real hardware is in use or cannot be reached
    """
    if not isinstance(uri, str):
        raise TypeError(f"uri is {uri!r} ({type(uri).__name__}), expected a string such as 'simulated:graphene'")
    scheme, colon, rest = uri.partition(":")
    found = {point.name: point for point in entry_points(group=GROUP)}
    if not colon or scheme not in found:
        known = ", ".join(f"{name}:" for name in sorted(found))
        raise ConfigurationError(f"instrument.uri is {uri!r}, expected a URI that begins with one of {known}")
    opener = _load(found[scheme], uri)
    _check_options(opener, scheme, options)
    real = bool(getattr(opener, "hardware", False))
    _check_keeper(keeper, max_beam_s, kept=real and keeper == "process")
    if real and keeper == "process":
        from probewise.instrument.kept import open_kept

        return open_kept(uri, options, max_beam_s)
    instrument = opener(rest, **options)
    if not isinstance(instrument, Instrument):
        raise ConfigurationError(
            f"instrument {uri!r} is a {type(instrument).__name__}, expected the verbs of probewise.types.Instrument"
        )
    if real:
        instrument.notices = (*getattr(instrument, "notices", ()), IN_PROCESS)  # type: ignore[attr-defined]
    return instrument


def options_of(uri: str) -> tuple[str, ...]:
    """Names of the options that the backend of `uri` lists; none where there is no such backend.

    raises  ConfigurationError for a backend that cannot be imported
    """
    scheme = uri.partition(":")[0]
    points = [point for point in entry_points(group=GROUP) if point.name == scheme]
    return tuple(_named(_load(points[0], uri))) if points else ()


def _check_keeper(keeper: str, max_beam_s: float | None, *, kept: bool) -> None:
    if keeper not in ("process", "in-process"):
        raise ConfigurationError(f"instrument.keeper is {keeper!r}, expected 'process' or 'in-process'")
    if max_beam_s is None:
        return
    if not kept:
        raise ConfigurationError("instrument.max_beam_s needs real hardware and keeper = 'process', which counts it")
    if not 0 < max_beam_s < 1e9:
        raise ConfigurationError(f"instrument.max_beam_s is {max_beam_s}, expected a positive number of seconds")


def _load(point: EntryPoint, uri: str) -> Any:
    try:
        return point.load()
    except ImportError as error:
        raise ConfigurationError(f"instrument {uri!r} cannot be loaded: {error}") from error


def _check_options(opener: Any, scheme: str, options: dict[str, Any]) -> None:
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(opener).parameters.values()):
        return  # the backend checks them itself
    known = _named(opener)
    for name, value in options.items():
        if name not in known:
            expected = ", ".join(known) or "no option"
            raise ConfigurationError(
                f"instrument option {name} = {value!r} is unknown to {scheme}:, expected {expected}"
            )


def _named(opener: Any) -> list[str]:
    parameters = list(inspect.signature(opener).parameters.values())[1:]
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [parameter.name for parameter in parameters if parameter.kind not in variable]
