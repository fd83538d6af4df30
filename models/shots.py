# SPDX-License-Identifier: BSD-3-Clause
"""Frames to judge a finder by: the default simulated microscope at a place of a specimen, the dose set by the SNR."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from judge import FrameEdge
from probewise.instrument import Detector, SimulatedInstrument
from probewise.instrument.optics import Probe
from probewise.instrument.specimens import Specimen
from probewise.types import ELEMENTARY_CHARGE_C, Context, Float32Array, RasterROI
from scenes import Scene, atom_snr, make_scene, scene_tables

FIRST_SEED = 2**33  # training draws below 2**31, calibrate.py and what was looked at on the way from 2**32 on
SIDE_NM = 7.0
MARGIN_NM = 0.3
READ_NOISE = Detector().read_noise / Detector().gain  # electrons


class Shot:
    """One place of a specimen under the default microscope, at any dose."""

    def __init__(
        self, specimen: Specimen, name: str, number: int, pixel_nm: float, at_nm: tuple[float, float] | None = None
    ) -> None:
        random = np.random.default_rng([7, number])
        cells = round(SIDE_NM / pixel_nm)
        half_field = specimen.truth.fov_nm[0] / 2
        reach = half_field - SIDE_NM / math.sqrt(2) - 0.4
        shift = (
            random.uniform(-reach, reach, 2) if at_nm is None else np.clip(np.array(at_nm) - half_field, -reach, reach)
        )
        self.specimen, self.seed = specimen, number
        self.scan = RasterROI((cells, cells), 4000, discard_lines=2)
        self.context = Context(
            (SIDE_NM, SIDE_NM), (float(shift[0]), float(shift[1])), float(random.uniform(0, 2 * math.pi))
        )
        quiet = SimulatedInstrument(specimen, seed=number, detector=Detector.ideal())
        table = scene_tables(Probe(), specimen, quiet.distortions.tilt_deg)
        self.scene = make_scene(quiet, self.scan, self.context, specimen, name, table)

    def electrons_for(self, label: int, snr: float) -> float:
        """Electrons per pixel at which the median atom of a class has the SNR."""
        chosen = np.flatnonzero(self.scene.label == label)[:80]
        part = only(self.scene, chosen)
        electrons = (snr / float(np.median(part.unit_snr))) ** 2
        for _ in range(8):  # read noise asks for more; the SNR grows with a power of 1/2 to 1 of the dose
            now = float(np.median(atom_snr(part, electrons=electrons, read_noise=READ_NOISE)))
            electrons *= (snr / now) ** 1.5
        return electrons

    def counts(self, electrons: float) -> Float32Array:
        """Through the default detector, with so many electrons on a pixel."""
        current = electrons * ELEMENTARY_CHARGE_C / (self.scan.dwell_ns * 1e-9) * 1e12
        scope = SimulatedInstrument(self.specimen, seed=self.seed, beam_current_pA=current)
        armed = scope.arm(self.scan, self.context)
        scope.start(armed)
        out = np.empty((1, self.scan.shape[0] * self.scan.shape[1]), dtype=np.float32)
        return scope.read_into(armed, out, timeout_s=math.inf).counts[0]

    @property
    def edge(self) -> FrameEdge:
        return FrameEdge(self.scan.shape, MARGIN_NM / self.scene.pixel_nm)


def only(scene: Scene, chosen: np.ndarray) -> Scene:
    names = ("yx", "label", "species", "weight", "unit_snr")
    return dataclasses.replace(scene, **{name: getattr(scene, name)[chosen] for name in names})
