# SPDX-License-Identifier: BSD-3-Clause
"""What the commands do, each ending in an exit code; the options are parsed in `cli`."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probewise.errors import ConfigurationError, Error, InstrumentError

if TYPE_CHECKING:
    from probewise.experiment import Experiment, Summary

TRACEBACK = "traceback.txt"


def run(config: Path | None, sets: Sequence[str], overrides: Mapping[str, Any], *, dry_run: bool, as_json: bool) -> int:
    from probewise.app.ask import Asker, check_answerable, confirmer
    from probewise.experiment import Experiment, load

    configuration = load(config, sets, overrides)
    if configuration.component.by == "ask":
        check_answerable()
    if dry_run:
        from probewise.app.plan import predict

        return predict(configuration, as_json=as_json)
    experiment = Experiment(configuration=configuration, ask=Asker(lambda: experiment.directory), confirm=confirmer())
    return perform(experiment, as_json=as_json)


def resume(directory: Path, *, as_json: bool) -> int:
    from probewise.app.ask import Asker, confirmer
    from probewise.experiment import Experiment

    experiment = Experiment.resume(directory, ask=Asker(lambda: directory), confirm=confirmer())
    return perform(experiment, as_json=as_json)


def perform(experiment: Experiment, *, as_json: bool) -> int:
    """Run to the end or to a signal, draw the report, say how it went."""
    from probewise.app.progress import Progress
    from probewise.experiment.signals import Signals

    with traceback_in(lambda: experiment.directory), Signals(experiment) as signals:
        try:
            with Progress(experiment.configuration.budget.limit_of_steps) as progress:
                progress.listen(experiment)
                summary = experiment.run()
        except InstrumentError as cut:
            if signals.exit_code is None:
                raise
            return _aborted(experiment, str(cut), signals.exit_code)
        assert experiment.directory is not None
        if signals.aborted:
            return _aborted(experiment, "no report was drawn", signals.exit_code)
        picture = draw(experiment.directory)
    say(summary, picture, as_json=as_json)
    return signals.exit_code or 0


def _aborted(experiment: Experiment, why: str, exit_code: int | None) -> int:
    print(f"aborted: {why}; probewise resume {experiment.directory} goes on", file=sys.stderr)
    return exit_code or 0


def draw(directory: Path) -> Path:
    from probewise.app.report import draw_report
    from probewise.experiment import open_run

    with open_run(directory) as opened:
        return draw_report(opened, directory)[0]


def say(summary: Summary, picture: Path, *, as_json: bool) -> None:
    """Five lines and the picture's path; with `as_json` those go to stderr and stdout ends in the summary."""
    lines = [*summary.lines(), str(picture)]
    print("\n".join(lines), file=sys.stderr if as_json else sys.stdout)
    if as_json:
        print(summary.to_json())


def report(directory: Path) -> int:
    with traceback_in(lambda: directory):
        print(draw(directory))
    return 0


def export(directory: Path, path: Path) -> int:
    from probewise.app.export import export_hspy
    from probewise.experiment import open_run

    with open_run(directory) as opened:
        print(export_hspy(opened, path))
    return 0


@contextlib.contextmanager
def traceback_in(directory: Callable[[], Path | None]) -> Iterator[None]:
    """Keep the traceback of an internal error in the run's folder, where a report of it can be made from."""
    try:
        yield
    except Error:
        raise
    except Exception as problem:
        folder = directory()
        with contextlib.suppress(OSError):  # the folder may be what failed; then stderr gets it
            if folder is not None and folder.is_dir():
                path = folder / TRACEBACK
                path.write_text("".join(traceback.format_exception(problem)))
                problem.add_note(f"traceback: {path}")
        raise


def overrides(options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Tables from "table.key": value, without those not given."""
    tables: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if value is not None:
            table, key = name.split(".")
            tables.setdefault(table, {})[key] = value
    return tables


def uri(*, specimen: str | None, image: Path | None, instrument: str | None) -> str | None:
    given = {"--specimen": specimen, "--image": image, "--instrument": instrument}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise ConfigurationError(f"instrument.uri: got {' and '.join(named)}, expected one of them")
    if specimen is not None:
        return f"simulated:{specimen}"
    if image is not None:
        return f"image:{image}"
    return instrument


def component(given: str | None) -> dict[str, Any]:
    """`component.by` and `component.index` from what --component got: a rule, a number or a file."""
    if given is None:
        return {}
    if given.isascii() and given.isdigit():
        return {"component.by": "index", "component.index": int(given)}
    return {"component.by": given}
