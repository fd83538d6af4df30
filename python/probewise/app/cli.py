# SPDX-License-Identifier: BSD-3-Clause
"""The command line. Everything heavy is imported by the command that needs it, so that `--help` is quick."""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import typer

from probewise.errors import Error

ClickException: type[Exception] = typer.BadParameter.__mro__[2]  # typer keeps its own copy of click, or uses click's

app = typer.Typer(
    name="probewise",
    help="Automated experiments in scanning transmission electron microscopy.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

models = typer.Typer(help="Networks and their cards.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(models, name="models")
train = typer.Typer(help="Make a network of one's own (extra train).", no_args_is_help=True, rich_markup_mode=None)
models.add_typer(train, name="train")

Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run; must be new or empty.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting as table.key=value; repeatable.")
]
Config = Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Settings; all have defaults.")]
Json = Annotated[bool, typer.Option("--json", help="The last line on stdout is the result as JSON.")]
Rotation = Literal["full", "small", "none"]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a run.")]


@app.command()
def run(
    config: Config = None,
    specimen: Annotated[str | None, typer.Option(metavar="NAME", help="Simulated specimen, such as nio-lsmo.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="A picture as the sample.")] = None,
    instrument: Annotated[str | None, typer.Option(metavar="URI", help="Any other instrument.")] = None,
    workflow: Annotated[
        str | None, typer.Option(metavar="linear|dcnn|rvae", help="How a frame becomes a value.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(metavar="NAME|FILE.onnx", help="A network of the workflow; repeatable.")
    ] = None,
    objective: Annotated[str | None, typer.Option(metavar="cover|discover|reconstruct")] = None,
    policy: Annotated[str | None, typer.Option(metavar="NAME", help="An acquisition or a baseline.")] = None,
    component: Annotated[
        str | None, typer.Option(metavar="ask|rare|max-variance|INDEX|COLUMN|FILE", help="What a site's value is.")
    ] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Budget in sub-scans.")] = None,
    seconds: Annotated[float | None, typer.Option(metavar="T", help="Budget in seconds.")] = None,
    max_fluence: Annotated[float | None, typer.Option(metavar="E", help="Budget in e/A^2 at any place.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="Q", help="Sites chosen at a time.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S")] = None,
    out: Out = None,
    sets: Sets = None,
    replay: Annotated[bool, typer.Option("--replay", help="Visit overlapping windows of a known picture.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Predict time, dose and positions; move nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Perform an experiment and draw its report (default: simulated NiO-LSMO)."""
    from probewise.app import commands

    overrides = commands.overrides(
        {
            "descriptor.workflow": workflow,
            "descriptor.models": model or None,
            "acquisition.objective": objective,
            "acquisition.policy": policy,
            "acquisition.batch": batch,
            "budget.steps": steps,
            "budget.seconds": seconds,
            "budget.max_e_per_A2": max_fluence,
            "run.seed": seed,
            "run.replay": True if replay else None,
            "run.out": None if out is None else str(out),
            "instrument.uri": commands.uri(specimen=specimen, image=image, instrument=instrument),
            **commands.component(component),
        }
    )
    raise typer.Exit(commands.run(config, sets or [], overrides, dry_run=dry_run, as_json=as_json))


@app.command()
def survey(
    uri: Annotated[str, typer.Argument(metavar="URI", help="simulated:NAME, image:FILE or another instrument.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the frame, masks and pictures.")],
    sets: Sets = None,
    as_json: Json = False,
) -> None:
    """Take one survey frame; save its masks and its components."""
    from probewise.app import survey as taken
    from probewise.experiment import load

    configuration = load(None, sets or [], {"instrument": {"uri": uri}, "run": {"out": str(out)}})
    raise typer.Exit(taken.survey(configuration, as_json=as_json))


@app.command()
def resume(directory: Folder, as_json: Json = False) -> None:
    """Go on where a killed, stopped or paused run left off."""
    from probewise.app import commands

    raise typer.Exit(commands.resume(directory, as_json=as_json))


@app.command()
def report(directory: Folder) -> None:
    """Draw report.png and report.html from the journal again."""
    from probewise.app import commands

    raise typer.Exit(commands.report(directory))


@app.command()
def export(
    directory: Folder,
    path: Annotated[Path, typer.Argument(metavar="OUT.hspy", help="File that HyperSpy opens.")],
) -> None:
    """Write frames, survey and posterior as one HyperSpy file."""
    from probewise.app import commands

    raise typer.Exit(commands.export(directory, path))


@app.command()
def config(
    source: Config = None,
    sets: Sets = None,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON schema of the configuration instead.")] = False,
) -> None:
    """Print the resolved configuration as TOML."""
    from probewise.experiment import Configuration, load
    from probewise.experiment.resolved import resolved

    if schema:
        print(json.dumps(Configuration.model_json_schema(), indent=2))
    else:
        print(resolved(load(source, sets or [])).to_toml(), end="")


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that come with the package."""
    from probewise.app.models import list_models

    raise typer.Exit(list_models(as_json=as_json))


@models.command()
def show(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE.onnx", help="A shipped model, or a file with its card.")],
    as_json: Json = False,
) -> None:
    """Check, load and run a model once; print its card."""
    from probewise.app.models import show

    raise typer.Exit(show(model, as_json=as_json))


@models.command()
def import_atomai(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What Segmentor.save_model or rVAE.save_model wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the models and their cards.")],
    translation_prior: Annotated[
        float, typer.Option(metavar="S", help="Of an rVAE's training, which AtomAI does not save.")
    ] = 0.1,
) -> None:
    """Convert an AtomAI checkpoint to ONNX; nothing that the file names is run."""
    from probewise.app.models import import_atomai

    raise typer.Exit(import_atomai(file, out, translation_prior=translation_prior))


Frames = Annotated[list[Path], typer.Option("--frames", metavar="FILE|DIR", help="Your frames; repeatable.")]
Pixel = Annotated[float | None, typer.Option("--pixel-nm", metavar="NM", help="Where the files do not say it.")]


@models.command()
def adapt(
    model: Annotated[str, typer.Argument(metavar="NAME|FILE.onnx", help="The atom finder to start from.")],
    frames: Frames,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the new models and their cards.")],
    pixel_nm: Pixel = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE.csv", help="NAME.csv with y,x[,class] in pixels, where known.")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Default: the parent's, -adapted.")] = None,
    members: Annotated[int, typer.Option(metavar="N", help="Networks of an ensemble.")] = 1,
    minutes: Annotated[float, typer.Option(metavar="T", help="Of one processor, for each member.")] = 5.0,
    seed: Annotated[int, typer.Option(metavar="S")] = 0,
    as_json: Json = False,
) -> None:
    """Train an atom finder on with your own frames (extra train)."""
    from probewise.app.adapting import adapt

    raise typer.Exit(
        adapt(
            model,
            frames,
            out,
            pixel_nm=pixel_nm,
            labels=labels,
            name=name,
            members=members,
            minutes=minutes,
            seed=seed,
            as_json=as_json,
        )
    )


@models.command()
def evaluate(
    model: Annotated[list[str], typer.Argument(metavar="NAME|FILE.onnx...", help="Several are an ensemble.")],
    frames: Frames,
    labels: Annotated[Path, typer.Option(metavar="DIR|FILE.csv", help="NAME.csv with y,x[,class] in pixels.")],
    pixel_nm: Pixel = None,
    tolerance_nm: Annotated[float, typer.Option(metavar="NM", help="Between a found and a labelled atom.")] = 0.06,
    threshold: Annotated[float, typer.Option(metavar="P", help="Of the probability.")] = 0.5,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Overlays and risk against coverage.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare what an atom finder finds with labelled frames."""
    from probewise.app.adapting import evaluate

    raise typer.Exit(
        evaluate(
            model,
            frames,
            labels,
            pixel_nm=pixel_nm,
            tolerance_nm=tolerance_nm,
            threshold=threshold,
            picture=picture,
            as_json=as_json,
        )
    )


@app.command()
def bench(
    path: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also write the figures there.")] = None,
) -> None:
    """Measure the latency of decisions and their parts on this machine (a minute)."""
    from probewise.app.bench import as_text, measure

    measured = measure(lambda what: print(f"{what} ...", file=sys.stderr))
    if path is not None:
        path.write_text(json.dumps(measured, indent=1) + "\n")
    print("\n".join(as_text(measured)))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine and installation offer, and what is wrong."""
    from probewise.app.doctor import as_text, examine

    findings = examine()
    print(json.dumps(findings) if as_json else "\n".join(as_text(findings)))


@train.command("rvae")
def train_rvae(
    image: Annotated[Path, typer.Option("--image", metavar="FILE", help="The picture whose windows are learnt.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder for the models and their cards.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the models; default: the picture's.")] = None,
    window_px: Annotated[int, typer.Option(metavar="PX", help="Side of a window.")] = 32,
    shown: Annotated[
        Literal["raw", "spectrum"], typer.Option("--input", metavar="raw|spectrum", help="What of a window is learnt.")
    ] = "raw",
    rotation: Annotated[Rotation, typer.Option(metavar="full|small|none", help="What the content ignores.")] = "full",
    translation: Annotated[
        bool | None, typer.Option(help="Whether the content ignores where the pattern sits; default: of raw windows.")
    ] = None,
    content: Annotated[int, typer.Option(metavar="N", help="Latent variables besides angle and shift.")] = 3,
    steps: Annotated[int, typer.Option(metavar="N", help="Of the training, 128 windows each.")] = 1500,
    seed: Annotated[int, typer.Option(metavar="S")] = 0,
    as_json: Json = False,
) -> None:
    """Learn an autoencoder from the windows of a picture, or from their spectra."""
    from probewise.app.training import train_rvae

    raise typer.Exit(
        train_rvae(
            image,
            out,
            name=name,
            window_px=window_px,
            spectrum=shown == "spectrum",
            rotation=rotation,
            translation=translation,
            content=content,
            steps=steps,
            seed=seed,
            as_json=as_json,
        )
    )


def version(value: bool) -> None:
    if value:
        from probewise import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    shown: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script: one line on stderr and an exit code for whatever goes wrong."""
    sys.exit(status(sys.argv[1:] if arguments is None else arguments))


def status(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code."""
    try:
        code = app(list(arguments), prog_name="probewise", standalone_mode=False)
    except ClickException as problem:
        return complain(_usage(problem, arguments), 2)
    except Error as problem:
        return complain(" ".join(str(problem).split()), problem.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return complain("interrupted", 130)
    except BrokenPipeError:
        return 1
    except Exception as problem:  # noqa: BLE001  the last line of defence; the traceback is kept, never swallowed
        return complain(_internal(problem), 1)
    return int(code or 0)


def complain(text: str, code: int) -> int:
    print(f"error: {text}", file=sys.stderr)
    return code


def _usage(problem: Exception, arguments: Sequence[str]) -> str:
    """One line "option: got ..., expected ..." from what the option parser says."""
    message = " ".join(str(getattr(problem, "message", problem)).split())
    parameter = getattr(problem, "param", None)
    name = parameter.opts[-1] if parameter is not None and parameter.opts else ""
    if parameter is not None and parameter.param_type_name == "argument":
        name = parameter.metavar or parameter.name.upper()
    given = [value for option, value in pairwise(arguments) if option == name]
    kind = re.search(r"a valid \w+", message)
    if given and kind:
        return f"{name}: got {given[-1]!r}, expected {kind[0]}"
    if type(problem).__name__ == "MissingParameter":
        return f"{name}: got nothing, expected a value"
    if type(problem).__name__ == "NoSuchOption":
        return f"{getattr(problem, 'option_name', 'option')}: got an unknown option, expected one that --help lists"
    return f"{name}: {message}" if name else message


def _internal(problem: Exception) -> str:
    """One line that says where the traceback is; without a run's folder it goes to stderr."""
    kept = [note for note in getattr(problem, "__notes__", ()) if note.startswith("traceback: ")]
    if not kept:
        traceback.print_exception(problem)
    where = kept[-1] if kept else "traceback above"
    return f"internal: {type(problem).__name__}: {' '.join(str(problem).split())}; {where}"
