# SPDX-License-Identifier: BSD-3-Clause
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probewise as pw
from probewise import models
from probewise.app.ask import Asker
from probewise.errors import ConfigurationError, ModelError
from probewise.experiment import Experiment, open_run
from probewise.experiment.loading import build
from probewise.experiment.networks import Networks, open_networks
from probewise.experiment.resolved import resolved
from probewise.inference import LatentLayout, ModelInput, ModelOutput
from tiny_models import encoder as tiny_encoder
from tiny_models import segmenter_card

pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra cpu or gpu")


GRAPHENE = ("atoms", "graphene-encoder")


def tiny(out: Path, ask: Asker | None = None, **changes: Any) -> Experiment:
    tables: dict[str, Any] = {
        "instrument": {"fov_nm": 24.0},
        "survey": {"shape": (64, 64)},
        "sites": {"shape": (6, 6), "side_nm": 3.0, "pixel_nm": 0.02, "border": 0},
        "descriptor": {"workflow": "dcnn"},
        "start": {"sites": 6},
        "budget": {"steps": 8},
        "run": {"out": str(out)},
    }
    for name, table in changes.items():
        tables[name] = {**tables.get(name, {}), **table}
    return Experiment("simulated:graphene", ask=ask, **tables)


def configured(**descriptor: Any) -> Any:
    return build({"descriptor": {"workflow": "dcnn", **descriptor}})


def test_a_run_sees_atoms_and_says_with_what(tmp_path: Path) -> None:
    summary = tiny(tmp_path / "r", component={"by": "C", "sense": "maximise"}).run()
    assert summary["measured"] == 8
    assert [row["name"] for row in summary["models"]] == ["atoms", "segments"]
    assert summary["models"][0]["sha256"] == json.loads(models.path("atoms").with_suffix(".json").read_text())["sha256"]
    with open_run(tmp_path / "r") as run:
        assert run.models == summary["models"]
        # 38.2 atoms per nm^2; the scan is up to 2.5 % larger than commanded, and atoms at its rim come and go.
        assert (abs(run.values - 38.2) < 2.5).all()


def test_a_run_reads_patches_about_its_atoms(tmp_path: Path) -> None:
    summary = tiny(
        tmp_path / "r",
        descriptor={"workflow": "rvae", "models": GRAPHENE, "of": ["C"]},
        component={"by": "density", "sense": "maximise"},
    ).run()
    assert summary["workflow"] == "rvae"
    assert [row["name"] for row in summary["models"]] == list(GRAPHENE)
    with open_run(tmp_path / "r") as run:  # its networks are not opened for that
        # 38.2 atoms per nm^2; the scan is up to 2.5 % larger than commanded, and patches reach over 54 % of the area.
        assert (abs(run.values - 38.2) < 3.0).all()
        assert (abs(run.mean[run.visited] - 38.2) < 3.0).all()  # elsewhere it falls to the lowest of a quarter


@pytest.mark.parametrize("steps", [9, 12], ids=["asked for", "taken"])
def test_a_run_that_asked_for_another_basis_is_read_without_its_networks(tmp_path: Path, steps: int) -> None:
    tables = {"workflow": "rvae", "models": GRAPHENE, "refit_every": 2}
    tiny(tmp_path / "r", descriptor=tables, budget={"steps": steps}).run()
    with open_run(tmp_path / "r") as run:
        # What was kept of the steps, for which there is no public name.
        assert "basis" in [run._recorder.lesson(row.step, row.value).asked for row in run._steps]
        assert np.isfinite(run.mean).all()


def test_windows_of_a_frame_need_no_atoms(tmp_path: Path) -> None:
    summary = tiny(
        tmp_path / "r",
        descriptor={"workflow": "rvae", "models": ["graphene-encoder"], "step_px": 20},
        component={"by": "angle cos"},
    ).run()
    assert [row["name"] for row in summary["models"]] == ["graphene-encoder"]
    assert any(text.startswith("graphene-encoder was trained without translation") for text in summary["notices"])
    with open_run(tmp_path / "r") as run:
        assert np.isfinite(run.values).all()
        # 3 nm are 150 px: windows of 27 at about 20 px, 7 along a side.
        description = run._recorder.description(0)  # what was kept of a step, for which there is no public name
        assert description is not None
        assert description.centre_yx.shape == (49, 2)


@pytest.mark.parametrize("descriptor", [{}, {"workflow": "rvae", "models": GRAPHENE}], ids=["dcnn", "rvae"])
def test_a_resumed_run_goes_the_same_way(tmp_path: Path, descriptor: dict[str, Any]) -> None:
    whole = tiny(tmp_path / "whole", descriptor=descriptor).run()
    first = tiny(tmp_path / "parted", descriptor=descriptor)
    for _ in zip(range(5), first, strict=False):
        pass
    first.close()
    parted = Experiment.resume(tmp_path / "parted").run()
    assert parted["truth"] == whole["truth"]
    with open_run(tmp_path / "whole") as one, open_run(tmp_path / "parted") as other:
        assert (one.visited == other.visited).all()
        assert (one.values == other.values).all()


def test_another_model_does_not_go_on_with_the_run() -> None:
    opened = open_networks(configured())
    opened.check_journalled(opened.table)
    with pytest.raises(ModelError, match=r"began with the models atoms \(0000") as caught:
        opened.check_journalled([{"name": "atoms", "sha256": "0" * 64}])
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("descriptor", [{}, {"workflow": "rvae", "models": GRAPHENE}], ids=["dcnn", "rvae"])
def test_networks_look_at_a_spiral_too(tmp_path: Path, descriptor: dict[str, Any]) -> None:
    summary = tiny(
        tmp_path / "r", descriptor=descriptor, scan={"path": "spiral"}, start={"sites": 2}, budget={"steps": 2},
        component={"by": "C" if not descriptor else "density"},
    ).run()  # fmt: skip
    assert any(text.startswith("pixels without a sample") for text in summary["notices"])
    with open_run(tmp_path / "r") as run:
        assert (run.values > 38.2 / 2).all()  # atoms per nm^2; the corners, a fifth of the frame, show none


def test_an_encoder_of_spectra_reads_windows_only(tmp_path: Path) -> None:
    card = segmenter_card(
        name="spots-encoder",
        kind="encoder",
        input=ModelInput("x", "NHW", 1, 7),
        outputs=(ModelOutput("z_mean", "none", 1), ModelOutput("z_logsd", "none", 1)),
        classes=(),
        background="absent",
        pixel_nm=None,
        normalisation="spectrum",
        latent=LatentLayout("full", False, 2, 2),
    )
    path = str(tiny_encoder(tmp_path, side=7, card=card))
    with pytest.raises(ConfigurationError, match="none that finds atoms: 'spots-encoder' reads spectra of windows"):
        open_networks(configured(workflow="rvae", models=["atoms", path]))
    with pytest.raises(ConfigurationError, match=r"frames of 15 x 15 px, expected at least the 16 px that the model"):
        open_networks(configured(workflow="rvae", models=[path])).check_frames((15, 15), 0.02)


def test_frames_smaller_than_a_patch_are_refused_before_the_survey(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"frames of 26 x 26 px, expected at least the 27 px that the model"):
        tiny(tmp_path / "r", descriptor={"workflow": "rvae", "models": GRAPHENE}, sites={"side_nm": 0.52}).run()
    assert not (tmp_path / "r" / "run.sqlite").exists()


def test_pixels_outside_the_range_of_the_model_are_refused_before_the_survey(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sites.pixel_nm is 0.15, expected 0.0\d* to 0.0\d* for the model"):
        tiny(tmp_path / "r", sites={"pixel_nm": 0.15}).run()
    assert not (tmp_path / "r" / "run.sqlite").exists()


@pytest.mark.parametrize(
    ("descriptor", "says"),
    [
        ({"models": ["atoms", "segments", "segments"]}, "expected at most one that finds areas"),
        ({"models": ["segments"]}, "expected at least one that finds atoms among them"),
        ({"models": ["atoms", "graphene-decoder"]}, "expected none that draws patches among them"),
        ({"workflow": "rvae"}, r"not set, expected an encoder .* bfo-encoder, graphene-encoder, mos2-encoder or a"),
        ({"workflow": "rvae", "models": ["atoms"]}, "expected one that reads patches among them"),
        ({"workflow": "rvae", "models": ["mos2-encoder", "segments"]}, "expected none that finds areas among them"),
        ({"workflow": "rvae", "models": ["bfo-encoder", "mos2-decoder"]}, "draws other patches than 'bfo-encoder'"),
        ({"workflow": "rvae", "models": ["mos2-encoder"], "of": ["C"]}, "of holds 'C', expected .* there is none"),
        (
            {"workflow": "rvae", "models": ["atoms", "mos2-encoder"], "of": ["gold"]},
            "'gold', expected classes .* C, dop",
        ),
        ({"models": ["nothing"]}, "model is 'nothing', expected a shipped one"),
        ({"workflow": "linear", "models": ["atoms"]}, "expected none: nothing here runs a network"),
    ],
)
def test_models_that_make_no_sense(descriptor: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        open_networks(configured(**descriptor))


def test_a_workflow_without_networks_opens_none() -> None:
    assert open_networks(build({})) == Networks()
    assert open_networks(build({"descriptor": {"workflow": "dcnn"}, "measure": {"kind": "point"}})).all == ()


@pytest.mark.parametrize(
    ("descriptor", "says"),
    [
        ({"of": ["C"]}, r"descriptor.of is \['C'\] with descriptor.workflow 'dcnn', expected it with 'rvae'"),
        ({"window_px": 64}, "descriptor.window_px is 64 with descriptor.workflow 'dcnn', expected it with 'linear'"),
        ({"workflow": "rvae", "window_px": 64}, "expected it with 'linear': the models say what they look at"),
        ({"step_px": 8}, "descriptor.step_px is 8 with descriptor.workflow 'dcnn', which has no windows"),
    ],
)
def test_settings_of_another_workflow(descriptor: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        configured(**descriptor)


def test_the_resolved_configuration_of_a_network_loads_again() -> None:
    whole = resolved(configured(workflow="rvae", models=GRAPHENE))
    assert build(tomllib.loads(whole.to_toml())) == whole


def test_a_column_that_no_model_gives(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"component.by is 'gold': .* expected a rule, an index or one of atoms"
    ):
        tiny(tmp_path / "r", component={"by": "gold"}).run()
    assert not (tmp_path / "r" / "run.sqlite").exists()


def test_atoms_have_no_picture_as_a_template() -> None:
    with pytest.raises(ConfigurationError, match=r"component.by is 'a.npy' with descriptor.workflow 'dcnn'"):
        build({"descriptor": {"workflow": "dcnn"}, "component": {"by": "a.npy"}})


@pytest.mark.parametrize(
    ("descriptor", "answer", "models"),
    [
        ({}, "spacing", ["atoms", "segments"]),
        ({"workflow": "rvae", "models": GRAPHENE}, "outlier", [*GRAPHENE, "graphene-decoder"]),
    ],
    ids=["dcnn", "rvae"],
)
def test_a_person_is_asked_with_a_picture(
    tmp_path: Path, descriptor: dict[str, Any], answer: str, models: list[str]
) -> None:
    asked: list[str] = []

    def read() -> str:
        asked.append(answer)
        return answer

    asker = Asker(lambda: tmp_path / "r", read=read)
    summary = tiny(tmp_path / "r", asker, descriptor=descriptor, component={"by": "ask"}).run()
    assert asked == [answer]
    assert [row["name"] for row in summary["models"]] == models
    assert (tmp_path / "r" / "components.png").read_bytes().startswith(b"\x89PNG")
    with open_run(tmp_path / "r") as run:
        assert run._learner.describer.columns[run._learner.describer.component] == answer  # type: ignore[attr-defined]


def test_the_decoder_beside_an_encoder_is_found_to_ask_and_only_then(tmp_path: Path) -> None:
    for part in ("encoder", "decoder"):
        for ending in ("onnx", "json"):
            name = f"graphene-{part}.{ending}"
            (tmp_path / name).write_bytes((models.path("atoms").parent / name).read_bytes())
    path = str(tmp_path / "graphene-encoder.onnx")
    asked = {"component": {"by": "ask"}}
    found = open_networks(build({"descriptor": {"workflow": "rvae", "models": [path]}, **asked}))
    assert [model.card.name for model in found.decoder] == ["graphene-decoder"]
    assert open_networks(configured(workflow="rvae", models=[path])).decoder == ()
    named = open_networks(build({"descriptor": {"workflow": "rvae", "models": [path, "graphene-decoder"]}, **asked}))
    assert len(named.decoder) == 1


def test_several_finders_are_one_ensemble() -> None:
    opened = open_networks(configured(models=["atoms", "atoms"]))
    assert len(opened.atoms) == 2
    frame = pw.render("graphene", pw.RasterROI((128, 128), 4000), context=pw.Context((2.56, 2.56)))
    from probewise.image import AtomFinder

    both, one = AtomFinder(opened.atoms, refine=False)(frame), AtomFinder(opened.atoms[0], refine=False)(frame)
    assert len(both) == len(one)
    assert (both.score == one.score).all()  # a network agrees with itself
