# SPDX-License-Identifier: BSD-3-Clause
"""The backend over Nion's own simulator. nionswift is GPL-3.0-only and an extra; CONTRIBUTING says how to run these."""

import json
import math
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nion.usim_device", reason="nionswift is not installed: pip install 'probewise[nion]'")

from scipy.ndimage import map_coordinates, uniform_filter

from probewise.app.cli import status
from probewise.errors import ConfigurationError, InstrumentError, ScanError
from probewise.experiment import Experiment, open_run
from probewise.experiment.loading import load
from probewise.instrument import open_instrument, session
from probewise.instrument.conformance import check
from probewise.types import Capability, Context, RasterROI

SIDE_NM = 200.0
SURVEY = Context((SIDE_NM, SIDE_NM))
FLYBACK_NS = 30_000


@pytest.fixture(scope="module")
def usim():
    instrument = open_instrument("nion:usim", fov_nm=SIDE_NM)
    with session(instrument) as opened:
        yield opened
    assert not any(thread.name.startswith("probewise") for thread in threading.enumerate())


@pytest.fixture(scope="module")
def survey(usim):
    """(400, 400) mean of four frames of the whole field, half a nm a pixel."""
    return np.mean([shot(usim, SURVEY, (400, 400)) for _ in range(4)], axis=0)


def shot(usim, context, shape=(80, 80), **where):
    return usim.acquire(RasterROI(shape, 1000, flyback_ns=FLYBACK_NS, **where), context, ["HAADF"]).image()


def crop(survey, context, shape, centre=(0.5, 0.5), size=(1.0, 1.0), *, turned=1):
    """What the frame should show: the survey where the pixels lie. y is downwards, rotation counter-clockwise."""
    r, c = np.indices(shape)
    y = (((r + 0.5) / shape[0] - 0.5) * size[0] + centre[0] - 0.5) * context.fov_nm[0]
    x = (((c + 0.5) / shape[1] - 0.5) * size[1] + centre[1] - 0.5) * context.fov_nm[1]
    cosine, sine = math.cos(turned * context.rotation_rad), math.sin(turned * context.rotation_rad)
    there = np.stack([cosine * y - sine * x, sine * y + cosine * x])
    there += np.array(context.shift_nm).reshape(2, 1, 1)
    pixels = (there / SIDE_NM + 0.5) * np.array(survey.shape).reshape(2, 1, 1) - 0.5
    return map_coordinates(survey, pixels, order=1, mode="nearest")


def alike(a, b):
    return np.corrcoef(a.ravel(), b.ravel())[0, 1]


@pytest.mark.parametrize(
    "context",
    [
        Context((60.0, 60.0), (40.0, -20.0)),
        Context((60.0, 60.0), (-30.0, 50.0)),
        Context((60.0, 60.0), (20.0, -30.0), 0.5),
        Context((60.0, 60.0), (-20.0, 30.0), -0.9),
    ],
)
def test_a_sub_scan_shows_its_place_in_the_survey_and_no_mirror_image_of_it(usim, survey, context):
    image = shot(usim, context)
    right = crop(survey, context, image.shape)
    swapped = Context(context.fov_nm, context.shift_nm[::-1], context.rotation_rad)
    wrong = {
        "transposed": right.T,
        "upside down": right[::-1],
        "mirrored": right[:, ::-1],
        "y and x of the shift swapped": crop(survey, swapped, image.shape),
        "shifted the other way": crop(survey, Context((60.0, 60.0), tuple(-s for s in context.shift_nm)), image.shape),
    }
    if context.rotation_rad:
        wrong["turned clockwise"] = crop(survey, context, image.shape, turned=-1)
    # One frame of the simulator has noise of about the contrast of a flake.
    assert alike(image, right) > 0.7
    for name, picture in wrong.items():
        assert alike(image, picture) < alike(image, right) - 0.15, name


def test_a_part_of_a_turned_field_that_is_not_square(usim, survey):
    context = Context((100.0, 80.0), (10.0, -15.0), 0.4)
    image = shot(usim, context, (60, 64), centre_yx=(0.3, 0.6), size_yx=(0.45, 0.6))
    assert alike(image, crop(survey, context, image.shape, (0.3, 0.6), (0.45, 0.6))) > 0.7


def test_discarded_lines_do_not_move_the_frame(usim, survey):
    context = Context((60.0, 60.0), (40.0, -20.0))
    image = shot(usim, context, discard_lines=16)
    above = Context((60.0, 60.0), (40.0 - 6.0, -20.0))  # half of 16 lines of 0.75 nm
    assert alike(image, crop(survey, context, image.shape)) > alike(image, crop(survey, above, image.shape)) + 0.05


def test_what_it_says_of_itself(usim):
    flags, limits = usim.instrument.describe()
    assert Capability.BLANK | Capability.ROTATED_ROI | Capability.PARTIAL_READ | Capability.SHIFT in flags
    assert Capability.VECTOR not in flags
    assert limits.channels == ("HAADF", "MAADF", "X1", "X2")
    assert (limits.flyback_ns, limits.max_fov_nm) == (FLYBACK_NS, SIDE_NM)
    frame = usim.acquire(RasterROI((8, 4), 2000, flyback_ns=FLYBACK_NS), Context((80.0, 40.0)), ["X2", "HAADF"])
    assert frame.counts.shape == (2, 8, 4)
    assert frame.duration_ns == 8 * (4 * 2000 + FLYBACK_NS)


def test_the_beam_is_blanked_between_scans_and_lit_in_them(usim):
    stem = usim.instrument.swift.stem
    assert stem.GetVal("C_Blank") == 1.0
    wait = usim.begin(RasterROI((64, 64), 20_000, flyback_ns=FLYBACK_NS), SURVEY, ["HAADF"])
    device = usim.instrument.swift.device
    while not device.is_scanning:
        time.sleep(0.001)
    assert stem.GetVal("C_Blank") == 0.0
    wait()
    assert stem.GetVal("C_Blank") == 1.0


def test_an_abort_in_the_middle_blanks_and_the_next_frame_is_whole(usim, survey):
    wait = usim.begin(RasterROI((512, 512), 10_000, flyback_ns=FLYBACK_NS), SURVEY, ["HAADF"])  # 2.6 s
    device = usim.instrument.swift.device
    while not device.is_scanning:
        time.sleep(0.001)
    usim.abort()
    assert not device.is_scanning
    assert usim.instrument.swift.stem.GetVal("C_Blank") == 1.0
    with pytest.raises(ScanError, match="aborted"):
        wait()
    context = Context((60.0, 60.0), (40.0, -20.0))
    image = shot(usim, context)
    assert alike(image, crop(survey, context, image.shape)) > 0.7


def test_the_probe_is_parked_where_it_was_told_to(usim):
    usim.call(lambda: usim.instrument.park((0.25, 0.75)))
    seen = usim.instrument.swift.stem._Instrument__probe_position
    assert (seen.y, seen.x) == (0.25, 0.75)
    usim.call(lambda: usim.instrument.park(None))
    assert usim.instrument.swift.stem._Instrument__probe_position is None


def test_nothing_is_scanned_while_swift_views(usim):
    source = usim.instrument.swift.source
    source.start_playing(source.get_frame_parameters(0))
    try:
        while not source.is_playing:
            time.sleep(0.001)
        with pytest.raises(InstrumentError, match="Swift scans with usim_scan_device"):
            shot(usim, SURVEY)
    finally:
        source.abort_playing(sync_timeout=5.0)
    assert shot(usim, SURVEY).shape == (80, 80)


def spectrum_at(usim, shift_nm, shape=(2, 2)):
    roi = RasterROI(shape, 20_000_000, flyback_ns=FLYBACK_NS)
    return usim.begin_spectrum(roi, Context((8.0, 8.0), shift_nm), ["HAADF"])()


def test_a_spectrum_is_that_of_its_place(usim, survey):
    inner = survey[40:-40, 40:-40]  # of 400 pixels of half a nm
    smooth = uniform_filter(inner, 24)[24:-24, 24:-24]
    places = [np.unravel_index(index, smooth.shape) for index in (smooth.argmax(), smooth.argmin())]
    thick, thin = (spectrum_at(usim, tuple((np.array(place) + 64.5) / 2 - SIDE_NM / 2)) for place in places)
    assert thick.counts.shape[:2] == thick.frame.shape == (2, 2)
    assert thick.frame.scan.flyback_ns == 2 * 20_000_000  # two exposures, as the simulator's scan says
    zero_loss = [int(spectrum.total.argmax()) for spectrum in (thick, thin)]
    assert all(abs(thick.energy_eV[channel]) < 2 for channel in zero_loss)
    # What is lost grows with the thickness.
    assert thick.share(5.0, 100.0) > thin.share(5.0, 100.0) + 0.1
    assert thick.frame.image().mean() > thin.frame.image().mean()


def test_an_abort_ends_a_spectrum_and_swift_shows_its_own_field_again_after_closing(usim):
    swift = usim.instrument.swift
    assert swift.source.get_frame_parameters(0).fov_nm == SIDE_NM  # since the spectra above
    roi = RasterROI((8, 8), 200_000_000, flyback_ns=FLYBACK_NS)  # 13 s
    wait = usim.begin_spectrum(roi, Context((8.0, 8.0)), ["HAADF"])
    while not swift.device.is_scanning:
        time.sleep(0.001)
    usim.abort()
    assert swift.stem.GetVal("C_Blank") == 1.0
    with pytest.raises(ScanError, match="aborted"):
        wait()
    with pytest.raises(ConfigurationError, match="scan has one pixel, expected at least two"):
        spectrum_at(usim, (0.0, 0.0), (1, 1))
    assert spectrum_at(usim, (0.0, 0.0)).counts.shape[:2] == (2, 2)
    usim.call(usim.instrument._spectrometer.release)
    assert swift.source.get_frame_parameters(0).fov_nm == 100.0


def test_one_simulator_at_a_time(usim):
    with pytest.raises(ConfigurationError, match="this process has a microscope of Swift already"):
        open_instrument("nion:usim")


def test_inside_swift_the_microscope_that_runs_is_taken_and_left(usim):
    inside = open_instrument("nion:", fov_nm=SIDE_NM)
    assert inside.swift.device is usim.instrument.swift.device
    assert Capability.BLANK not in inside.describe()[0]  # none was named
    assert [result for result in check(inside) if result.outcome == "failed"] == []
    assert shot(usim, SURVEY).shape == (80, 80)


TABLES = """
[instrument]
uri = "nion:usim"
fov_nm = 200
[survey]
shape = [64, 64]
mask = []
[sites]
shape = [6, 6]
side_nm = 20
pixel_nm = 0.5
[scan]
dwell_ns = 1000
[measure]
kind = "frame"
[start]
sites = 4
[budget]
steps = 6
"""


@pytest.fixture
def away(usim):
    """The simulator of the tests above ends, so that a command can bring up its own: these tests come last."""
    usim.close()


def test_outside_swift_there_is_nothing_to_take(away):
    with pytest.raises(InstrumentError, match="Nion Swift has no scan in this process"):
        open_instrument("nion:")


def test_it_conforms(away):
    assert [result for result in check(open_instrument("nion:usim")) if result.outcome == "failed"] == []


def test_a_run_of_a_few_steps(away, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(TABLES, encoding="utf-8")
    assert status(["run", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["source"], summary["measured"], summary["rejected"]) == ("nion:usim", 6, 0)
    with open_run(tmp_path / "out") as run:
        assert run.frames[0].shape == (40, 40)


def test_a_run_with_spectra(away, tmp_path):
    tables = TABLES.replace('"frame"', '"spectrum"\nenergy_eV = [5, 100]').replace("steps = 6", "steps = 3")
    tables = tables.replace("pixel_nm = 0.5", "pixel_nm = 10").replace("dwell_ns = 1000", "dwell_ns = 20_000_000")
    (tmp_path / "run.toml").write_text(tables, encoding="utf-8")
    with Experiment(configuration=load(tmp_path / "run.toml"), out=tmp_path / "out") as experiment:
        values = [step.value for step in experiment]
    assert len(values) == 3
    with open_run(tmp_path / "out") as run:
        assert [spectrum.share(5.0, 100.0) for spectrum in run.spectra] == pytest.approx(values)


def test_a_site_outside_of_the_field_is_refused_with_exit_code_2(away, tmp_path, capsys):
    (tmp_path / "run.toml").write_text(TABLES.replace("side_nm = 20", "side_nm = 40"), encoding="utf-8")
    assert status(["run", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")]) == 2
    assert "side_nm" in capsys.readouterr().err


def test_the_script_of_the_manual(away):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "nion-swift.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(script.splitlines()) <= 25
    names = {}
    exec(compile(script, "nion-swift.md", "exec"), names)  # noqa: S102  the page's own text
    frame = names["frame"]
    assert frame.context == names["site"]
    assert frame.image().mean() > names["survey"].image().mean()  # it looked at the brightest place
