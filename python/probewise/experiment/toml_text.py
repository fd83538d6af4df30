# SPDX-License-Identifier: BSD-3-Clause
"""Configuration as TOML text; tables from TOML text and `a.b=1` settings; problems as one line."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probewise.errors import ConfigurationError


def write(tables: Mapping[str, Mapping[str, Any]], comments: Mapping[str, str]) -> str:
    """TOML text of all tables; what is unset is left out, a comment stands at the end of the table it is given for."""
    lines: list[str] = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        nested = {key: value for key, value in table.items() if isinstance(value, dict)}
        lines += [f"{key} = {_value(value)}" for key, value in table.items() if value is not None and key not in nested]
        if name in comments:
            lines.append(comments[name])
        for key, entries in nested.items():
            if entries:
                lines += ["", f"[{name}.{key}]"] + [f"{_key(k)} = {_value(v)}" for k, v in entries.items()]
        lines.append("")
    return "\n".join(lines)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)


def _text(value: str) -> str:
    """A JSON string is a TOML basic string, but for DEL and surrogate pairs."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)  # shortest text that reads back to the same double
    if isinstance(value, str):
        return _text(value)
    return "[" + ", ".join(_value(item) for item in value) + "]"


def read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(f"configuration {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"configuration {path} is not TOML: {error}") from error


def put(tables: dict[str, Any], setting: str) -> None:
    name, equals, text = setting.partition("=")
    keys = [part.strip() for part in name.split(".")]
    if not equals or len(keys) < 2 or not all(keys):
        raise ConfigurationError(f"--set {setting!r}: expected table.key=value")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        bare = text.strip()  # a word needs no quotes on a command line
        if not bare or not all(character.isalnum() or character in "-_.:/" for character in bare):
            raise ConfigurationError(f"--set {setting!r}: {bare!r} is not a TOML value") from None
        value = bare
    table = tables
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise ConfigurationError(f"--set {setting!r}: {key} is not a table")
    table[keys[-1]] = value


def merge(tables: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tables)
    for name, value in overrides.items():
        known = merged.get(name)
        if isinstance(known, Mapping) and isinstance(value, Mapping):
            merged[name] = merge(known, value)
        else:
            merged[name] = value
    return merged


def first_line(error: Any, tables: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> str:
    """The first problem of a ValidationError as one line; `known` names the keys of each table."""
    problem = error.errors(include_url=False)[0]
    keys = [key for key in problem["loc"] if isinstance(key, int) or _named(tables, problem["loc"], key)]
    name = ".".join(str(key) for key in keys)
    kind = problem["type"]
    if kind == "extra_forbidden":
        return f"{name} is unknown{_nearest([str(key) for key in problem['loc']], known)}"
    if not problem["loc"]:
        return str(problem["msg"]).removeprefix("Value error, ")
    given = _lookup(tables, keys)
    return f"{name} is {given!r}, expected: {_expected(problem)}"


def _named(tables: Any, loc: tuple[Any, ...], key: Any) -> bool:
    """False for the names of union members that pydantic puts into a location."""
    table = tables
    for part in loc:
        inside = isinstance(table, Mapping) and part in table
        if part is key:
            return inside or (isinstance(table, Mapping) and len(loc) <= 2)
        if inside:
            table = table[part]
    return False


def _lookup(tables: Any, keys: list[Any]) -> Any:
    value = tables
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return value
    return value


def _expected(problem: Mapping[str, Any]) -> str:
    context = problem.get("ctx", {})
    if "expected" in context:
        return str(context["expected"])
    if problem["type"] == "string_too_short":
        return "a text that is not empty"
    text = str(problem["msg"])
    return text.removeprefix("Input should be ").removeprefix("Value error, ")


def _nearest(loc: list[str], known: Mapping[str, Sequence[str]]) -> str:
    prefix = "" if len(loc) == 1 else loc[0] + "."
    names = list(known) if len(loc) == 1 else known[loc[0]]
    close = difflib.get_close_matches(loc[-1], names, n=1, cutoff=0.5)
    if close:
        return f", did you mean {prefix}{close[0]}?"
    return f", expected one of: {', '.join(prefix + name for name in names)}"
