# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fake_spectrometer import ENERGY_EV, FakeSpectrometer
from fakes import SAFE, FakeInstrument, Fault
from probewise.errors import ConfigurationError, InstrumentError, ScanError, ScanTimeout
from probewise.experiment import Experiment, open_run
from probewise.instrument import session
from probewise.types import Context, RasterROI, Spectrum, SpectrumInstrument
from tiny_experiment import tables

WINDOW = (10.0, 30.0)
DWELL_NS = 1_000_000
ROI = RasterROI((2, 3), DWELL_NS)
SITE = Context((8.0, 8.0))


def spectral(directory: Path, instrument: FakeInstrument, **changes: dict[str, Any]) -> Experiment:
    told = tables(
        sites={"pixel_nm": 4.0},
        scan={"dwell_ns": DWELL_NS},
        budget={"steps": 12},
        measure={"kind": "spectrum", "scalarize": None, "energy_eV": WINDOW},
    )
    for name, table in changes.items():
        told[name] = {**told[name], **table}
    return Experiment(instrument, out=directory, **told)


def share(counts: np.ndarray[Any, Any]) -> float:
    """By loops, over pixels and energies."""
    inside = whole = 0.0
    for pixel in counts.reshape(-1, len(ENERGY_EV)):
        for energy, count in zip(ENERGY_EV, pixel, strict=True):
            whole += float(count)
            inside += float(count) if WINDOW[0] <= energy <= WINDOW[1] else 0.0
    return inside / whole


def test_values_come_from_spectra_and_the_journal_keeps_them(tmp_path: Path) -> None:
    fake = FakeSpectrometer()
    assert isinstance(fake, SpectrumInstrument)
    assert not isinstance(FakeInstrument(), SpectrumInstrument)
    summary = spectral(tmp_path / "run", fake).run()
    assert (summary["measured"], summary["rejected"]) == (12, 0)
    with open_run(tmp_path / "run") as run:
        assert len(run.spectra) == len(run.frames) == 12
        for spectrum, frame, value in zip(run.spectra, run.frames, run.values, strict=True):
            assert spectrum.counts.shape == (2, 2, len(ENERGY_EV))
            np.testing.assert_array_equal(spectrum.energy_eV, ENERGY_EV)
            np.testing.assert_array_equal(spectrum.frame.counts, frame.counts)
            assert value == pytest.approx(share(spectrum.counts))
        assert run.survey is not None
        assert run.survey.shape == (64, 64)  # the survey stays a frame
        best = np.argmax([spectrum.frame.image().mean() for spectrum in run.spectra])
        assert np.argmax(run.values) == best


def test_the_flyback_of_the_spectrometer_is_booked(tmp_path: Path) -> None:
    experiment = spectral(tmp_path / "run", FakeSpectrometer(), budget={"steps": 3})
    experiment.run()
    with open_run(tmp_path / "run") as run:
        for step in run.steps:
            assert step.duration_ns == 2 * (2 + 2) * DWELL_NS
            assert step.electrons == pytest.approx(50e-12 / 1.602176634e-19 * step.duration_ns * 1e-9)


def test_a_callable_values_a_spectrum(tmp_path: Path) -> None:
    seen: list[Spectrum] = []

    def strongest_eV(spectrum: Spectrum) -> float:
        seen.append(spectrum)
        return float(spectrum.energy_eV[spectrum.total.argmax()])

    changes = {"measure": {"scalarize": strongest_eV, "energy_eV": None}, "budget": {"steps": 2}}
    spectral(tmp_path / "run", FakeSpectrometer(), **changes).run()
    with open_run(tmp_path / "run") as run:
        np.testing.assert_array_equal(run.values, [20.0, 20.0])
        np.testing.assert_array_equal(run.spectra[1].counts, seen[1].counts)


def test_a_run_goes_on_after_its_process_ended(tmp_path: Path) -> None:
    whole = spectral(tmp_path / "whole", FakeSpectrometer())
    whole.run()
    begun = spectral(tmp_path / "begun", FakeSpectrometer())
    with begun:
        for _ in range(7):
            begun.step()
    Experiment.resume(tmp_path / "begun", FakeSpectrometer()).run()
    with open_run(tmp_path / "whole") as one, open_run(tmp_path / "begun") as other:
        np.testing.assert_array_equal(one.visited, other.visited)
        np.testing.assert_array_equal(one.values, other.values)


def without_counts(spectrum: Spectrum) -> Spectrum:
    return replace(spectrum, counts=np.zeros_like(spectrum.counts))


def not_finite(spectrum: Spectrum) -> Spectrum:
    spectrum.counts[0, 0, 3] = np.nan
    return spectrum


@pytest.mark.parametrize("spoil", [without_counts, not_finite])
def test_a_spectrum_without_counts_is_rejected(spoil: Any, tmp_path: Path) -> None:
    with pytest.raises(InstrumentError, match=r"5 bad frames running, the last: .*the spectrum holds no counts, or a"):
        spectral(tmp_path / "run", FakeSpectrometer(spoil=spoil)).run()


@pytest.mark.parametrize(
    ("instrument", "changes", "says"),
    [
        (FakeInstrument, {}, "measure.kind is 'spectrum' but fake: measures none, expected 'frame'"),
        (FakeSpectrometer, {"measure": {"energy_eV": None}}, "measure.energy_eV is not set, expected"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_beam_moves(
    instrument: type[FakeInstrument], changes: Any, says: str, tmp_path: Path
) -> None:
    fake = instrument()
    with pytest.raises(ConfigurationError, match=says):
        spectral(tmp_path / "run", fake, **changes).run()
    assert fake.calls("start") == 0


def test_a_session_lights_the_beam_for_a_spectrum_and_rests_it_after() -> None:
    fake = FakeSpectrometer()
    with session(fake) as opened:
        spectrum = opened.begin_spectrum(ROI, SITE, ["HAADF"])()
        assert fake.beam == "blanked"
        assert spectrum.frame.scan.flyback_ns == 2 * DWELL_NS
        assert opened.last_pixel_ns > 0


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("read_into", "raise"), ScanError),
        (Fault("read_into", "hang-until-abort"), ScanTimeout),
        (Fault("arm", "raise", error=ValueError("too many pixels")), ConfigurationError),
    ],
)
def test_after_an_error_the_beam_is_safe(fault: Fault, error: type[Exception]) -> None:
    fake = FakeSpectrometer([fault])
    with session(fake, margin_s=0.2) as opened:
        with pytest.raises(error):
            opened.begin_spectrum(ROI, SITE, ["HAADF"])()
        assert fake.beam in SAFE
        assert opened.begin_spectrum(ROI, SITE, ["HAADF"])().counts.shape == (2, 3, len(ENERGY_EV))
    fake.release()


def test_a_spectrum_of_another_scan_is_refused() -> None:
    def older(spectrum: Spectrum) -> Spectrum:
        return replace(spectrum, frame=replace(spectrum.frame, sequence=spectrum.frame.sequence - 1))

    with session(FakeSpectrometer(spoil=older)) as opened, pytest.raises(ScanError, match="scan 0 came, expected one"):
        opened.begin_spectrum(ROI, SITE, ["HAADF"])()


def test_an_instrument_without_spectra_says_so() -> None:
    with session(FakeInstrument()) as opened, pytest.raises(ConfigurationError, match="FakeInstrument measures no"):
        opened.begin_spectrum(ROI, SITE, ["HAADF"])


def test_a_spectrum_shows_itself() -> None:
    fake = FakeSpectrometer()
    with session(fake) as opened:
        spectrum = opened.begin_spectrum(ROI, SITE, ["HAADF"])()
    assert repr(spectrum) == "Spectrum(shape=2 x 3 x 40, energy_eV=-20 to 58, duration_s=0.01)"
    assert spectrum.share(*WINDOW) == pytest.approx(share(spectrum.counts))
    assert np.isnan(replace(spectrum, counts=np.zeros_like(spectrum.counts)).share(*WINDOW))
    (line,) = spectrum.plot().get_lines()
    np.testing.assert_allclose(line.get_ydata(), spectrum.counts.astype(np.float64).sum(axis=(0, 1)))
