# SPDX-License-Identifier: BSD-3-Clause
"""A run that meets frames which its networks were not made for."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from probewise import models
from probewise.app.ask import confirmer
from probewise.errors import ModelError
from probewise.experiment import Experiment, open_run
from probewise.experiment.loading import build
from probewise.experiment.watch import ASKED, PATIENCE, Watch
from probewise.inference import Card
from probewise.instrument import SimulatedInstrument
from probewise.types import Familiarity

HOME, STRANGE = Familiarity(0.5, 0.01, "score is 0.9"), Familiarity(2.0, 0.01, "spacing is 3, 1 in frames of C")


def after(watch: Watch, *frames: Familiarity | None) -> str | None:
    for one in frames:
        watch.see("atoms", one)
        watch.frame_done()
    return watch.question()


def test_unfamiliar_frames_running_are_a_question() -> None:
    assert after(Watch(asks=True), STRANGE, STRANGE) is None
    assert after(Watch(asks=True), STRANGE, STRANGE, HOME, STRANGE) is None
    assert after(Watch(asks=True), STRANGE, STRANGE, None, STRANGE) is None  # too small a frame says nothing
    question = after(Watch(asks=True), *[STRANGE] * PATIENCE)
    assert question is not None
    assert "spacing is 3, 1 in frames of C" in question


def test_nothing_is_asked_where_only_notices_are_wanted_or_somebody_has_decided() -> None:
    assert after(Watch(asks=False), *[STRANGE] * PATIENCE) is None
    assert after(Watch(asks=True, noticed=["other", f"{ASKED} at step 3: why"]), *[STRANGE] * PATIENCE) is None
    watch = Watch(asks=True)
    assert after(watch, *[STRANGE] * PATIENCE) is not None
    watch.answered()
    assert after(watch, STRANGE) is None


def test_the_worst_of_several_networks_is_noted() -> None:
    watch = Watch(asks=True)
    watch.see("atoms", STRANGE)
    watch.see("segments", HOME)
    assert watch.frame_done() == (
        "the model atoms was not made for such frames: spacing is 3, 1 in frames of C "
        "(2 times the limit that 0.01 of its own frames pass)"
    )
    watch.see("atoms", HOME)
    assert watch.frame_done() is None


def test_an_answer_at_the_terminal_is_yes_or_no(capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["perhaps", " YES ", "no"])
    confirm = confirmer(lambda: next(answers))
    assert confirm is not None
    assert confirm("3 frames are unfamiliar") is True
    assert "got 'perhaps', expected yes or no" in capsys.readouterr().err
    assert confirm("again") is False

    def ended() -> str:
        raise EOFError

    silent = confirmer(ended)
    assert silent is not None
    assert silent("nobody is there") is False


def test_the_policy_is_checked() -> None:
    assert build({}).descriptor.on_unfamiliar == "ask"
    with pytest.raises(ValueError, match=r"descriptor.on_unfamiliar is 'guess', expected"):
        build({"descriptor": {"on_unfamiliar": "guess"}})


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """The shipped finder of atoms, whose card says that it has seen no carbon."""
    pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra cpu or gpu")
    path = tmp_path / "stranger.onnx"
    shutil.copy(models.path("atoms"), path)
    length = 9
    ood = {
        "rate": 0.01,
        "few": [],
        "groups": {"nothing": {"frames": 20, "limit": 1.0, "mean": [0.0] * length, "whitening": ["0"] * length}},
    }
    ood["groups"]["nothing"]["whitening"] = [" ".join(["0"] * row + ["1"]) for row in range(length)]
    card = dataclasses.replace(
        Card.load(models.path("atoms").with_suffix(".json")),
        name="stranger",
        ood=ood,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    path.with_suffix(".json").write_text(card.to_json())
    return path


STEPS = PATIENCE + 2


def tables(stranger: Path, **descriptor: Any) -> dict[str, Any]:
    return {
        "instrument": {"idle": "scan"},
        "survey": {"shape": (64, 64)},
        "sites": {"shape": (6, 6), "side_nm": 3.0, "pixel_nm": 0.02, "border": 0},
        "descriptor": {"workflow": "dcnn", "models": [str(stranger)], **descriptor},
        "component": {"by": "C"},
        "start": {"sites": 5},
        "budget": {"steps": STEPS},
    }


def test_where_nobody_can_answer_the_run_ends_safe_and_resuming_it_is_the_answer(
    stranger: Path, tmp_path: Path
) -> None:
    scope = SimulatedInstrument("graphene", fov_nm=24.0)
    with pytest.raises(
        ModelError, match=rf"{PATIENCE} frames running are unfamiliar: .* most atoms are taken for C"
    ) as caught:
        Experiment(scope, out=tmp_path / "r", **tables(stranger)).run()
    assert caught.value.exit_code == 4
    assert scope.beam == "blanked"
    with open_run(tmp_path / "r") as run:
        assert len(run.visited) == PATIENCE
    summary = Experiment.resume(tmp_path / "r", SimulatedInstrument("graphene", fov_nm=24.0)).run()
    assert summary["measured"] == STEPS
    assert [text for text in summary["notices"] if text.startswith(ASKED)] == [
        f"{ASKED} at step {PATIENCE}: {caught.value.args[0].split('. The beam')[0]}"
    ]


@pytest.mark.parametrize("answer", [True, False])
def test_somebody_is_asked_while_the_beam_is_safe(stranger: Path, tmp_path: Path, answer: bool) -> None:
    scope = SimulatedInstrument("graphene", fov_nm=24.0)
    seen: list[tuple[str, bool]] = []

    def confirm(question: str) -> bool:
        seen.append((scope.beam, f"{PATIENCE} frames running are unfamiliar" in question))
        return answer

    experiment = Experiment(scope, out=tmp_path / "r", confirm=confirm, **tables(stranger))
    if answer:
        assert experiment.run()["measured"] == STEPS
    else:
        with pytest.raises(ModelError, match="resume the run to go on all the same"):
            experiment.run()
    assert seen == [("blanked", True)]


def test_notices_alone(stranger: Path, tmp_path: Path) -> None:
    scope = SimulatedInstrument("graphene", fov_nm=24.0)
    summary = Experiment(scope, out=tmp_path / "r", **tables(stranger, on_unfamiliar="notice")).run()
    assert summary["measured"] == STEPS
    assert sum("was not made for such frames" in text for text in summary["notices"]) == 1  # one of a kind
