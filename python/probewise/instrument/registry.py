# SPDX-License-Identifier: BSD-3-Clause
"""From a URI to an instrument: backends are entry points of the group "probewise.instruments"."""

from __future__ import annotations

import inspect
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from probewise.errors import ConfigurationError
from probewise.types import Instrument

GROUP = "probewise.instruments"


def known_schemes() -> tuple[str, ...]:
    """Schemes of all installed backends, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=GROUP)}))


def open_instrument(uri: str, **options: Any) -> Instrument:
    """Open the instrument that `uri` names.

    uri      SCHEME:REST, such as "simulated:graphene" or "image:PATH"; what REST means is the backend's
    options  the backend's own keywords
    returns  an Instrument that has not moved the beam yet
    raises   TypeError unless `uri` is a string; ConfigurationError for an unknown scheme or option, or a backend that
             cannot be imported
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
    instrument = opener(rest, **options)
    if not isinstance(instrument, Instrument):
        raise ConfigurationError(
            f"instrument {uri!r} is a {type(instrument).__name__}, expected the verbs of probewise.types.Instrument"
        )
    return instrument


def options_of(uri: str) -> tuple[str, ...]:
    """Names of the options that the backend of `uri` lists; none where there is no such backend.

    raises  ConfigurationError for a backend that cannot be imported
    """
    scheme = uri.partition(":")[0]
    points = [point for point in entry_points(group=GROUP) if point.name == scheme]
    return tuple(_named(_load(points[0], uri))) if points else ()


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
