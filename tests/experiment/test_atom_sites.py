# SPDX-License-Identifier: BSD-3-Clause
"""Atoms that one frame showed as the places of a second measurement."""

from pathlib import Path

import numpy as np
import pytest

import probewise as pw
from probewise.types import Atoms

FIELD = (10.0, 8.0)


def seen(shift_nm: tuple[float, float] = (0.0, 0.0), rotation_rad: float = 0.0) -> pw.Frame:
    """A frame of 2 x 4 nm with 20 x 20 pixels."""
    context = pw.Context((2.0, 4.0), shift_nm, rotation_rad)
    return pw.render("graphene", pw.RasterROI((20, 20), 1000), seed=1, context=context)


ATOMS = Atoms(
    np.array([[-0.5, -0.5], [9.5, 9.5], [19.5, 4.5], [9.5, 14.5]]), np.array([0, 0, 1, 1]), np.ones(4), ("C", "Si")
)


def test_places_are_those_of_the_survey_field() -> None:
    places = pw.atom_sites(seen((3.0, -1.0)), ATOMS, side_nm=0.2, fov_nm=FIELD)
    # The frame's middle is that of the field and the shift: (8, 3); its sides reach 1 and 2 nm from there.
    assert np.allclose(places, [[7.0, 1.0], [8.0, 3.0], [9.0, 2.0], [8.0, 4.0]])
    assert np.allclose(pw.atom_sites(seen(), ATOMS, side_nm=0.2), [[1.0, 2.0], [1.0, 3.0]])  # two lie on its edge
    assert np.allclose(pw.atom_sites(seen(), ATOMS, side_nm=0.2, of=["Si"]), [[1.0, 3.0]])


def test_what_cannot_be_a_site_is_named() -> None:
    with pytest.raises(ValueError, match="of holds 'gold', expected some of C, Si"):
        pw.atom_sites(seen(), ATOMS, side_nm=0.2, of=["gold"])
    with pytest.raises(ValueError, match=r"none of the 4 atoms is left .* expected one of any class at least 1.5 nm"):
        pw.atom_sites(seen(), ATOMS, side_nm=3.0)
    with pytest.raises(ValueError, match=r"frame is rotated by 0.1 rad, expected one along the survey's axes"):
        pw.atom_sites(seen(rotation_rad=0.1), ATOMS, side_nm=0.2)


def test_atoms_of_one_run_are_the_sites_of_the_next(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime comes with the extra cpu or gpu")
    field = {"instrument": {"fov_nm": 24.0}, "run": {"seed": 3}}
    pw.Experiment(
        "simulated:graphene", out=tmp_path / "seen", sites={"shape": (6, 6), "side_nm": 3.0, "border": 0},
        survey={"shape": (64, 64)}, measure={"scalarize": lambda frame: 0.0}, budget={"steps": 1}, **field,
    ).run()  # fmt: skip
    with pw.open_run(tmp_path / "seen") as run:
        frame = run.frames[0]
    places = pw.atom_sites(frame, pw.AtomFinder("atoms")(frame), side_nm=0.1, fov_nm=(24.0, 24.0), of=["C"])
    measured: list[float] = []

    def second(spot: pw.Frame) -> float:
        measured.append(float(spot.counts.mean(dtype=np.float64)))
        return measured[-1]

    summary = pw.Experiment(
        "simulated:graphene", out=tmp_path / "again", sites={"list": places, "side_nm": 0.1, "pixel_nm": 0.02},
        survey={"shape": "none"}, scan={"dwell_ns": 20000, "discard_lines": 0}, measure={"scalarize": second},
        start={"sites": 12}, budget={"steps": 20}, **field,
    ).run()  # fmt: skip
    assert summary["sites"] == len(places) > 250  # 38.2 atoms per nm^2 of 9 nm^2, but for those at the rim
    with pw.open_run(tmp_path / "again") as run:
        assert np.allclose(run.values, measured)
        assert np.allclose(run.sites.centres_nm, places)
    # The columns of the specimen lie 0.142 nm apart; a frame is up to 2.5 % larger than commanded.
    low, high = places.min(axis=0) - 0.2, places.max(axis=0) + 0.2
    columns, _ = pw.truth("graphene", seed=3, fov_nm=24.0).atoms((low[0], low[1], high[0], high[1]))
    nearest = np.linalg.norm(columns[None] - places[:, None], axis=2).min(axis=1)
    assert np.median(nearest) < 0.05
