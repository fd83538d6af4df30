# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import json

import numpy as np
import pytest
from rsciio.hspy import file_reader

from app.standin_run import standin
from probewise.app.export import export_hspy
from probewise.errors import ConfigurationError, StorageError


def signals(path):
    return {signal["metadata"]["General"]["title"]: signal for signal in file_reader(str(path))}


@pytest.fixture
def run(tmp_path):
    return standin(tmp_path, shape=(9, 11), steps=12, frame_px=16, refine=2, rejected=1)


def test_frames_come_back_as_a_navigation_stack(run, tmp_path):
    stack = signals(export_hspy(run, tmp_path / "run.hspy"))["sites"]
    assert stack["data"].dtype == np.float32
    np.testing.assert_array_equal(stack["data"], np.stack([frame.image() for frame in run.frames]))
    visit, y, x = stack["axes"]
    assert (visit["name"], visit["navigate"], visit["size"]) == ("visit", True, 11)
    for axis, step in zip((y, x), run.frames[0].pixel_nm, strict=True):
        assert (axis["navigate"], axis["units"], axis["size"]) == (False, "nm", 16)
        assert axis["scale"] == step


def test_survey_and_posterior_share_the_fields_coordinates(run, tmp_path):
    found = signals(export_hspy(run, tmp_path / "run.hspy"))
    np.testing.assert_array_equal(found["survey"]["data"], run.survey.image())
    np.testing.assert_array_equal(found["posterior mean"]["data"].ravel(), run.mean)
    np.testing.assert_array_equal(found["posterior standard deviation"]["data"].ravel(), run.std)
    for title in ("survey", "posterior mean", "posterior standard deviation"):
        for axis, side in zip(found[title]["axes"], run.sites.fov_nm, strict=True):
            assert axis["scale"] * axis["size"] == pytest.approx(side)
            assert axis["offset"] == pytest.approx(axis["scale"] / 2)  # of the first pixel's centre
            assert axis["units"] == "nm"


def test_the_ae_group_holds_the_run(run, tmp_path):
    stack = signals(export_hspy(run, tmp_path / "run.hspy"))["sites"]
    assert stack["package"] == ""
    kept = stack["metadata"]["AE"]
    np.testing.assert_array_equal(kept["visited"], run.visited)
    np.testing.assert_array_equal(kept["visited_yx_nm"], run.sites.centres_nm[run.visited])
    np.testing.assert_array_equal(kept["values"], run.values)
    np.testing.assert_array_equal(kept["posterior_mean"], run.mean)
    np.testing.assert_array_equal(kept["posterior_std"], run.std)
    np.testing.assert_array_equal(kept["states"], run.states)
    np.testing.assert_array_equal(kept["excluded"].astype(bool), run.excluded)
    np.testing.assert_array_equal(kept["dose_map_e_per_A2"], run.dose_map())
    assert kept["dose"]["max_e_per_A2"] == run.summary["dose"]["max_e_per_A2"]
    assert kept["seed"] == run.summary["seed"]
    assert kept["versions"] == run.versions
    assert kept["journal_sha256"] == run.journal_hash
    assert json.loads("\n".join(kept["summary_json"])) == json.loads(json.dumps(run.summary))
    microscope = stack["metadata"]["Acquisition_instrument"]["TEM"]
    assert microscope["beam_energy"] == 60.0  # keV
    assert microscope["beam_current"] == pytest.approx(0.06)  # nA
    assert stack["original_metadata"]["configuration_toml"] == run.configuration.to_toml().splitlines()


def test_a_replay_is_in_pixels_and_has_no_dose(tmp_path):
    run = standin(tmp_path, shape=(8, 8), steps=5, replay=True, survey=False, frame_px=16)
    found = signals(export_hspy(run, tmp_path / "run.hspy"))
    assert set(found) == {"sites", "posterior mean", "posterior standard deviation"}
    assert {axis["units"] for axis in found["sites"]["axes"][1:]} == {"px"}
    assert "dose" not in found["sites"]["metadata"]["AE"]
    assert "beam_current" not in found["sites"]["metadata"]["Acquisition_instrument"]["TEM"]


def test_a_told_map_has_no_frames(tmp_path):
    run = standin(tmp_path, shape=(8, 8), steps=5, replay=True, told=True, survey=False)
    found = signals(export_hspy(run, tmp_path / "run.hspy"))
    assert set(found) == {"posterior mean", "posterior standard deviation"}
    assert {axis["units"] for axis in found["posterior mean"]["axes"]} == {"sites"}
    assert found["posterior mean"]["metadata"]["AE"]["visited_yx_sites"].shape == (5, 2)


def test_a_run_without_a_step_still_exports_its_maps(tmp_path):
    run = standin(tmp_path, shape=(8, 8), steps=0)
    assert set(signals(export_hspy(run, tmp_path / "run.hspy"))) == {
        "survey",
        "posterior mean",
        "posterior standard deviation",
    }


def test_a_failed_export_leaves_the_old_file_and_no_other(run, tmp_path):
    path = export_hspy(run, tmp_path / "run.hspy")
    before = path.read_bytes()
    run.frames[3] = standin(tmp_path, shape=(9, 11), steps=1, frame_px=8).frames[0]
    with pytest.raises(ConfigurationError, match=r"visit 3 has shape \(8, 8\), expected .*\(16, 16\)"):
        export_hspy(run, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.hspy"]


def test_wrong_names_and_places_are_refused(run, tmp_path):
    with pytest.raises(ConfigurationError, match=r"OUT: got run\.h5, expected a name that ends in \.hspy"):
        export_hspy(run, tmp_path / "run.h5")
    with pytest.raises(StorageError, match=r"run\.hspy: got No such file or directory, expected a writable place$"):
        export_hspy(run, tmp_path / "absent" / "run.hspy")
