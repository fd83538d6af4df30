# SPDX-License-Identifier: BSD-3-Clause
"""F1 on home frames, where an atom counts as found in its place and with its class; and what their statistics are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from probewise.image import AtomFinder
from probewise.image.familiarity import FEWEST_ATOMS, Statistics
from probewise.training.atom_truth import CLASSES, IGNORED
from probewise.training.home import HomeFrame, home_frames
from probewise.training.matching import FrameEdge, Score
from probewise.types import Atoms

TOLERANCE_NM = 0.0355  # a quarter of the shortest distance between neighbours, in graphene
MARGIN_NM = 0.3
READ_F1 = 0.7  # of a home frame; of less the network cannot be said to be made for it


def f1_of(answers: Iterable[tuple[Atoms, HomeFrame]]) -> float:
    """Over all classes of all frames; found atoms near a place that counts neither way are left out. 0 of nothing."""
    from scipy.spatial import cKDTree

    score = Score()
    for found, frame in answers:
        tolerance, yx, label = TOLERANCE_NM / frame.pixel_nm, found.yx, found.label
        vague = frame.yx[frame.label == IGNORED]
        if len(vague) and len(yx):
            clear = cKDTree(vague).query(yx)[0] > 2 * tolerance
            yx, label = yx[clear], label[clear]
        edge = FrameEdge(frame.counts.shape, MARGIN_NM / frame.pixel_nm)
        for number, name in enumerate(CLASSES):
            ours = found.classes.index(name) if name in found.classes else -1
            score.add(yx[label == ours], frame.yx[frame.label == number], tolerance, edge)
    return score.f1 or 0.0


def home_statistics(finder: AtomFinder, count: int, *, seed: int) -> list[Statistics]:
    """What `fit_home` takes, of the frames among `count` that the finder reads rightly and that can be judged."""
    assert finder.card.pixel_nm is not None
    out = []
    for frame in itertools.islice(home_frames(seed, finder.card.pixel_nm), count):
        if is_read(finder(frame.counts, pixel_nm=frame.pixel_nm), frame):
            one = finder.statistics(frame.counts, pixel_nm=frame.pixel_nm)
            out += [] if one is None else [one]
    return out


def is_read(found: Atoms, frame: HomeFrame) -> bool:
    """F1 of places and classes over READ_F1, or hardly anything there and hardly anything found."""
    f1 = f1_of([(found, frame)])
    return f1 >= READ_F1 or max(len(found), int((frame.label >= 0).sum())) < FEWEST_ATOMS
