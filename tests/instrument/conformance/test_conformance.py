# SPDX-License-Identifier: BSD-3-Clause
"""The suite passes what is right and names what is wrong."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from scipy import ndimage

from probewise.errors import ConfigurationError
from probewise.instrument import SimulatedInstrument
from probewise.instrument.conformance import Result, check
from probewise.instrument.conformance.__main__ import main
from probewise.instrument.conformance.suite import CHECKS
from probewise.instrument.picture import open_picture

AT_ONCE = {"abort in mid-scan", "safe after a timeout"}  # frames that are computed come too soon to be cut


def not_applicable(results):
    return {result.name for result in results if result.outcome == "not applicable"}


def failures(results):
    return [f"{result.name}: {result.sentence}" for result in results if result.outcome == "failed"]


def test_the_simulated_microscope_passes():
    results = check(SimulatedInstrument("particles", seed=2))
    assert failures(results) == []
    assert not_applicable(results) - AT_ONCE == {"unclaimed capabilities refused"}
    assert [result.name for result in results] == [name for name, _ in CHECKS]


def test_what_takes_time_passes_in_real_time():
    timed = ["duration", "abort in mid-scan", "safe after a timeout", "late frames"]
    results = check(SimulatedInstrument("particles", seed=2, fov_nm=100.0, realtime=True), only=timed)
    assert {result.name: result.outcome for result in results} == dict.fromkeys(
        ["describe", "blanker", "close", *timed], "passed"
    )


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """An oblong picture without symmetry."""
    grey = ndimage.gaussian_filter(np.random.default_rng(8).normal(size=(220, 300)), 6)
    file = tmp_path_factory.mktemp("shown") / "grey.npy"
    np.save(file, (1000 + 5000 * grey).astype(np.float32))
    return file


def test_a_picture_passes_and_shows_itself(picture):
    results = check(open_picture(picture, fov_nm=60.0), shows=np.load(picture))
    assert failures(results) == []
    assert not_applicable(results) - AT_ONCE == {"unclaimed capabilities refused"}


def test_a_picture_that_is_said_to_be_another_way_round_fails(picture):
    results = check(open_picture(picture, fov_nm=60.0), shows=np.load(picture)[::-1], only=["orientation of a frame"])
    assert "looks as if taken upside down" in failures(results)[0]


def test_a_lattice_alone_is_no_sample_for_geometry():
    (result,) = (r for r in check(SimulatedInstrument("graphene"), only=["site field"]) if r.name == "site field")
    assert result.outcome == "not applicable"
    assert "a sample with structure wider than a pixel is needed" in result.sentence


def test_a_hanging_driver_is_left(make_fake):
    from fakes import Fault

    fake = make_fake([Fault("read_into", "hang", call=None)])
    results = check(fake, fov_nm=100.0, limit_s=0.5)
    assert results[2] == Result("frame", "failed", "did not end within 0.5 s, expected no verb to hang")
    assert {result.sentence for result in results[3:]} == {"not asked, since the check before it did not end"}
    assert fake.beam == "blanked"


def test_the_survey_field_must_be_known(make_fake):
    with pytest.raises(ConfigurationError, match="the survey field is not known, expected fov_nm"):
        check(make_fake())
    with pytest.raises(ConfigurationError, match=r"fov_nm is -3\.0, expected a positive length"):
        check(make_fake(), fov_nm=-3.0)


def test_an_unknown_check_is_refused(make_fake):
    with pytest.raises(ConfigurationError, match="there is no check 'colour', expected one of protocol, describe"):
        check(make_fake(), fov_nm=8.0, only=["colour"])


def test_what_is_no_picture_is_refused(make_fake):
    with pytest.raises(ConfigurationError, match=r"shows is float64 of shape \(3,\), expected a finite picture"):
        check(make_fake(), fov_nm=8.0, shows=np.ones(3))


def test_the_command_prints_a_table_and_json(picture, capsys):
    asked = [f"image:{picture}", "--option", "fov_nm=60", "--only", "dwell", "--only", "channels refused"]
    assert main(asked) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:2] == ["describe", "passed"]
    assert out[-1] == "5 passed, 0 failed, 0 not applicable"
    assert main([*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["uri"] == asked[0]
    assert Counter(result["outcome"] for result in told["results"]) == {"passed": 5}
    assert told["failed"] == 0


def test_on_a_terminal_it_is_a_table(picture, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main([f"image:{picture}", "--option", "fov_nm=60", "--only", "dwell"]) == 0
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()  # without its colours
    assert out[0].split() == ["check", "outcome", "what", "came"]
    assert any(line.split()[:2] == ["dwell", "passed"] for line in out)


def test_the_command_ends_with_3_when_something_failed(picture, capsys):
    options = ["--option", "fov_nm=60", "--only", "orientation of a frame", "--shows"]
    turned = picture.with_name("turned.npy")
    np.save(turned, np.load(picture)[::-1, ::-1])
    assert main([f"image:{picture}", *options, str(turned)]) == 3
    assert "turned by half a turn" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["nothing:"], "expected a URI that begins with one of"),
        (["simulated:particles", "--option", "seed"], "--option is 'seed', expected KEY=VALUE"),
        (["simulated:particles", "--option", "fov_nm=3"], "fov_nm is"),
        (["simulated:particles", "--shows", "absent.npy"], "absent.npy"),
        (["simulated:particles", "--only", "colour"], "there is no check 'colour'"),
    ],
)
def test_usage_ends_with_2(asked, message, capsys):
    assert main(asked) == 2
    assert message in capsys.readouterr().err


def test_no_uri_ends_with_2():
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
