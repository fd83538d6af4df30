# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.errors import ConfigurationError
from probewise.experiment import Experiment, open_run
from probewise.experiment.config import Configuration
from probewise.experiment.loading import load
from probewise.experiment.resolved import digest, resolved

DEFAULTS = {  # the contract's table of defaults
    ("instrument", "idle"): "blank",
    ("instrument", "realtime"): False,
    ("instrument", "voltage_kV"): 60.0,
    ("instrument", "detector_mrad"): (54.0, 200.0),
    ("survey", "shape"): (1024, 1024),
    ("survey", "dwell_ns"): 1000,
    ("sites", "shape"): (25, 25),
    ("sites", "side_nm"): 8.0,
    ("sites", "revisit"): "never",
    ("sites", "retries"): 1,
    ("scan", "path"): "raster",
    ("scan", "dwell_ns"): 4000,
    ("descriptor", "workflow"): "linear",
    ("descriptor", "components"): 4,
    ("descriptor", "refit_every"): 20,
    ("component", "by"): "rare",
    ("surrogate", "kernel"): "matern52",
    ("surrogate", "lengthscale"): 2.0,
    ("surrogate", "noise"): 1e-2,
    ("surrogate", "fit_every"): 10,
    ("surrogate", "precision"): "float64",
    ("acquisition", "objective"): "cover",
    ("acquisition", "batch"): 1,
    ("run", "seed"): 0,
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_defaults_are_the_contract_s(name: tuple[str, str], value: object) -> None:
    configuration = load()
    assert getattr(getattr(configuration, name[0]), name[1]) == value


def test_resolved_defaults() -> None:
    configuration = load()
    assert configuration.fov_nm == (200.0, 200.0)
    assert configuration.current_pA == 60.0
    assert configuration.pixel_nm == 0.02
    assert configuration.start_sites == 20
    assert configuration.border == 1
    assert configuration.discard_lines == 2
    assert load(sets=["run.replay=true"]).border == 0  # no window of a picture is more distorted than another
    assert load(sets=["run.replay=true", "sites.border=2"]).border == 2
    assert load(sets=["run.replay=true", "instrument.uri='image:map.npz'"]).start_sites == 4  # no components to fit
    assert configuration.refine == 2  # windows of a frame have positions of their own
    assert load(sets=["measure.kind=point"]).refine == 1
    assert load(sets=["sites.list=[[50.0,50.0]]"]).refine == 1
    assert configuration.budget.limit_of_steps == 60
    assert not configuration.budget.given


def test_lines_are_discarded_where_there_are_lines() -> None:
    assert load().discard_lines == load(sets=["scan.path=serpentine"]).discard_lines == 2
    assert load(sets=["scan.discard_lines=0"]).discard_lines == 0
    assert load(sets=["scan.discard_lines=100"]).discard_lines == 100
    for path in ("spiral", "fermat", "hilbert", "lissajous", "jittered"):
        assert load(sets=[f"scan.path={path}"]).discard_lines == 0
        assert load(sets=[f"scan.path={path}", "scan.discard_lines=0"]).discard_lines == 0
        with pytest.raises(ConfigurationError, match=rf"scan\.discard_lines is 2 with path '{path}', expected 0"):
            load(sets=[f"scan.path={path}", "scan.discard_lines=2"])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sites.sid_nm=3", ("sites.sid_nm", "did you mean sites.side_nm")),
        ("sitez.shape=[3,3]", ("sitez", "did you mean sites")),
        ("sites.xyz=3", ("sites.xyz", "expected one of")),
        ("sites.side_nm=-1", ("sites.side_nm", "-1", "greater than 0")),
        ("sites.side_nm='5 nm'", ("sites.side_nm", "5 nm", "number")),
        ("sites.side_nm=9.0", ("sites.side_nm is 9", "pitch of 8 nm")),
        ("sites.shape=[0,3]", ("sites.shape", "0", "greater than or equal to 1")),
        ("sites.shape=[2,2]", ("sites.border is 1", "sites.shape")),
        ("sites.pixel_nm=nan", ("sites.pixel_nm", "finite")),
        ("sites.list=[[1.0,1.0]]", ("sites.list", "[1, 1]", "within 4 .. 196")),
        ("sites.list=[]", ("sites.list", "at least 1")),
        ("component.by='spacing'", ("component.by is 'spacing'", "spacing_nm", "FILE.npy")),
        ("component.sense='high'", ("component.sense", "deviation")),
        ("instrument.uri=''", ("instrument.uri is ''", "a text that is not empty")),
        ("sites.exclude=[700]", ("sites.exclude", "700", "below 625")),
        ("sites.window_px=56", ("sites.window_px", "replay")),
        ("descriptor.window_px=500", ("descriptor.window_px is 500", "400 px")),
        ("descriptor.window_px=63", ("descriptor.window_px is 63", "even")),
        ("acquisition.policy=best", ("acquisition.policy", "best", "ucb")),
        ("component.index=7", ("component.index is 7", "descriptor.components = 4")),
        ("component.by=index", ("component.by is 'index'", "component.index")),
        ("measure.energy_eV=[1.0,2.0]", ("measure.energy_eV is [1.0, 2.0]", "expected it with 'spectrum'")),
        ("survey.mask=['dust']", ("survey.mask", "dust", "vacuum")),
        ("instrument.detector_mrad=[200,54]", ("instrument.detector_mrad", "inner below outer")),
        ("instrument.park=[2.0,0.0]", ("instrument.park", "0..1")),
        ("instrument.current_source=guess", ("instrument.current_source", "guess")),
        ("run.device=tpu", ("run.device", "tpu", "auto|cpu|cuda")),
        ("run.seed=-1", ("run.seed", "-1")),
        ("budget.steps=-1", ("budget.steps", "-1")),
        ("scan.discard_lines=100000", ("scan.discard_lines is 100000", "less than or equal to 100")),
        ("survey.shape=[1,1]", ("survey.shape", "is 1", "greater than or equal to 32")),
        ("survey.shape=[1024,31]", ("survey.shape", "is 31", "greater than or equal to 32")),
        ("side_nm=3", ("side_nm=3", "table.key=value")),
        ("sites.side_nm=", ("sites.side_nm", "TOML")),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(setting: str, says: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(sets=[setting])
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def test_float16_is_refused_where_nothing_is_stored() -> None:
    with pytest.raises(ConfigurationError, match=r"surrogate\.precision is 'float16' with surrogate\.kernel 'rbf'"):
        load(sets=["surrogate.precision=float16", "surrogate.kernel=rbf"])
    assert load(sets=["surrogate.precision=float16"]).surrogate.precision == "float16"
    assert load(sets=["surrogate.precision=float16", "surrogate.kernel=rbf", "sites.list=[[50.0,50.0]]"])


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("run.replay=true", "measure.kind is 'spectrum' in a replay"),
        ("scan.path=serpentine", "scan.path is 'serpentine' with measure.kind 'spectrum', expected 'raster'"),
        ("scan.discard_lines=1", "scan.discard_lines is 1 with measure.kind 'spectrum', expected 0"),
        ("measure.energy_eV=[20.0,10.0]", r"measure.energy_eV is \[20.0, 10.0\], expected the lower energy first"),
    ],
)
def test_what_a_spectrum_cannot_be_measured_with(setting: str, says: str) -> None:
    assert load(sets=["measure.kind=spectrum"]).discard_lines == 0
    with pytest.raises(ConfigurationError, match=says):
        load(sets=["measure.kind=spectrum", setting])


def test_a_list_of_sites_has_no_finer_lattice() -> None:
    with pytest.raises(ConfigurationError, match=r"surrogate\.refine is 2 with sites\.list, expected 1"):
        load(sets=["sites.list=[[50.0,50.0]]", "surrogate.refine=2"])


def test_a_dose_budget_needs_a_current() -> None:
    sets = ["instrument.uri=image:a.png", "instrument.fov_nm=100.0", "sites.side_nm=4.0", "budget.electrons=1e9"]
    with pytest.raises(ConfigurationError, match=r"budget\.electrons is set but the beam current is unknown"):
        load(sets=sets)
    assert load(sets=[*sets, "instrument.beam_current_pA=20.0"]).current_pA == 20.0
    with pytest.raises(ConfigurationError, match="a replay has no dose"):
        load(sets=["run.replay=true", "budget.max_e_per_A2=1e5"])


def test_sites_may_overlap_only_when_told() -> None:
    assert load(sets=["sites.side_nm=9.0", "sites.overlap=true"]).sites.side_nm == 9.0


def test_file_then_sets_then_keywords(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[run]\nseed = 1\n[budget]\nsteps = 5\n[scan]\npath = "raster"\n')
    configuration = load(path, ["run.seed=2", "budget.steps=6"], {"run": {"seed": 3}})
    assert (configuration.run.seed, configuration.budget.steps) == (3, 6)


@pytest.mark.parametrize("text", ["[run\nseed = 1", "\xff\xfe"])
def test_a_file_that_is_not_toml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read: No such file"):
        load(tmp_path / "none.toml")


names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)
positive = st.floats(1e-3, 1e6)


@settings(max_examples=50, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "uri": names.map(lambda name: "simulated:" + name),
            "fov_nm": positive.map(lambda side: side + 400.0),
            "beam_current_pA": positive,
            "options": st.dictionaries(
                names, st.one_of(st.booleans(), st.integers(-9, 9), positive, names), max_size=3
            ),
        },
    ),
    st.integers(0, 2**63 - 1),
    st.one_of(st.none(), st.integers(0, 10**6)),
)
def test_toml_round_trip(instrument: dict[str, object], seed: int, steps: int | None) -> None:
    budget = {} if steps is None else {"steps": steps}
    configuration = load(overrides={"instrument": instrument, "run": {"seed": seed}, "budget": budget})
    text = configuration.to_toml()
    assert Configuration.model_validate(tomllib.loads(text)) == configuration
    assert configuration.budget.given is (steps is not None)


RESOLVED: dict[str, tuple[list[str], dict[str, dict[str, object]]]] = {
    "default": (
        [],
        {
            "instrument": {"fov_nm": 200.0, "beam_current_pA": 60.0},
            "sites": {"border": 1, "pixel_nm": 0.02, "window_px": None},
            "scan": {"discard_lines": 2},
            "descriptor": {"window_px": 128, "step_px": 64},  # 2.56 nm of 0.02 nm
            "surrogate": {"refine": 2},
            "acquisition": {"policy": "ucb", "beta": 1.0, "xi": None, "threshold": None},
            "start": {"sites": 20},
        },
    ),
    "own window": (["descriptor.window_px=100"], {"descriptor": {"window_px": 100, "step_px": 50}}),
    "small sites": (["sites.side_nm=1.5"], {"descriptor": {"window_px": 74, "step_px": 37}}),  # 75 px, even
    "discover": (["acquisition.objective=discover"], {"acquisition": {"policy": "straddle", "beta": 1.96}}),
    "own policy": (["acquisition.policy=log-ei"], {"acquisition": {"beta": None, "xi": 0.0}}),
    "baseline": (["acquisition.policy=halton"], {"acquisition": {"policy": "halton", "beta": None}}),
    "point": (["measure.kind=point"], {"surrogate": {"refine": 1}, "descriptor": {"window_px": None}}),
    "list": (["sites.list=[[50.0,50.0]]"], {"surrogate": {"refine": 1}, "sites": {"border": None}}),
    "picture": (
        ["instrument.uri='image:a.png'"],
        {"instrument": {"fov_nm": None, "beam_current_pA": None}, "sites": {"pixel_nm": None}},
    ),
    "replay": (
        ["instrument.uri='image:a.png'", "run.replay=true", "sites.window_px=32"],
        {"sites": {"border": 0, "window_px": 32, "step_px": 8}, "surrogate": {"refine": 1}},
    ),
    "told map": (["instrument.uri='image:a.npz'", "run.replay=true"], {"start": {"sites": 4}}),
    "oblong": (["instrument.fov_nm=[200,240]"], {"instrument": {"fov_nm": (200.0, 240.0)}}),
}


@pytest.mark.parametrize(("sets", "expected"), RESOLVED.values(), ids=RESOLVED.keys())
def test_what_is_decided_by_the_rest_is_written_out(
    tmp_path: Path, sets: list[str], expected: dict[str, dict[str, object]]
) -> None:
    given = load(sets=sets)
    whole = resolved(given)
    for name, table in expected.items():
        assert {key: getattr(getattr(whole, name), key) for key in table} == table
    path = tmp_path / "again.toml"
    path.write_text(whole.to_toml())
    again = load(path)
    assert again == whole == resolved(again)
    assert digest(again) == digest(given)
    assert not again.budget.given  # 60 steps given would switch the objective's stop rule off


def test_a_resolved_configuration_does_the_same(tmp_path: Path) -> None:
    sets = [
        "survey.shape=[64,64]", "sites.shape=[9,9]", "instrument.fov_nm=36", "sites.side_nm=4", "sites.pixel_nm=0.0625",
        "descriptor.components=2", "start.sites=6", "budget.steps=9",
    ]  # fmt: skip
    maps = []
    for name, configuration in (("given", load(sets=sets)), ("resolved", resolved(load(sets=sets)))):
        Experiment(configuration=configuration, out=tmp_path / name).run()
        with open_run(tmp_path / name) as run:
            maps.append((run.visited.tolist(), run.mean.tobytes()))
    assert maps[0] == maps[1]


def test_schema_and_digest() -> None:
    configuration = load()
    assert "side_nm" in str(configuration.json_schema())
    assert digest(configuration) == digest(load(sets=["run.out=elsewhere"]))
    assert digest(configuration) != digest(load(sets=["run.seed=1"]))


@pytest.mark.parametrize("by", ["rare", "residual", "intensity", "spacing_nm", "spacing_2_nm", "template.npy", 2])
def test_what_can_be_followed(by: str | int) -> None:
    configuration = load(overrides={"component": {"by": by, "sense": "deviation"}})
    assert (configuration.component.by, configuration.component.sense) == (by, "deviation")
