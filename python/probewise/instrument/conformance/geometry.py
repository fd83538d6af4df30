# SPDX-License-Identifier: BSD-3-Clause
"""Does a scan lie where it was asked for?

A frame of the survey field is the reference. What a scan of a part of it should show follows from that frame, and so
does what it would show after each of the usual mistakes (expected.py): the scan must look more like the first than
like any of the others. No more is needed of the sample than structure without symmetry, wider than a few pixels.
Only `orientation` needs to know the sample: frames that are all mirrored in the same way agree with each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probewise.instrument.conformance.expected import AS_ASKED, Reference, correlation, explained, ways
from probewise.instrument.conformance.refusals import path
from probewise.instrument.conformance.result import Failed, NotApplicable
from probewise.instrument.conformance.subject import Subject
from probewise.types import Armed, Capability, Context, FloatArray, RasterROI, Scan

REFERENCE_PX = (256, 512, 1024)
FIELD_SHAPES = ((24, 32), (32, 32), (64, 64), (128, 128), (256, 256), (512, 512))
OTHER_PX = (184, 512, 1024)
DWELLS_NS = (4000.0, 40_000.0)  # the second where the first is too noisy
BLOCK_PX = 8
STRUCTURE = 0.6  # least correlation of two frames of the survey field on different grids: a lattice alone has less
LIKE = 0.3  # least correlation of a scan with what it should show
INSIDE = 0.8  # share of samples inside the survey field that a mistake needs to be told apart
ROTATION_RAD = 0.35
POSITIONS = 600
Request = tuple[RasterROI, Context]
Box = tuple[int, int, int, int]  # top, bottom, left, right in sixteenths of the field
# The same number of sixteenths on both axes where an instrument scans squares only.
BOXES: tuple[Box, ...] = ((2, 8, 6, 14), (2, 10, 7, 15))
PLACES: tuple[tuple[Box, ...], ...] = (((1, 6, 1, 8), (1, 7, 1, 7)), ((8, 13, 7, 14), (8, 14, 8, 14)))


@dataclass(frozen=True, eq=False)
class Place:
    """A scan that the instrument accepts, and what it should show."""

    request: Request

    def expected(self, reference: Reference) -> FloatArray:
        scan, context = self.request
        return reference.at(ways(scan, context, reference.fov_nm)[AS_ASKED])[0]


def reference_of(subject: Subject) -> Reference:
    """A frame of the whole survey field whose structure is wider than its pixels and its noise."""
    if subject.geometry_dwell_ns is not None:
        return _survey_frame(subject, REFERENCE_PX, subject.geometry_dwell_ns)
    for dwell_ns in DWELLS_NS:
        reference = _survey_frame(subject, REFERENCE_PX, dwell_ns)
        other = _survey_frame(subject, OTHER_PX, dwell_ns).picture
        whole = ways(subject.raster(other.shape), subject.survey, subject.fov_nm)[AS_ASKED]
        alike = correlation(other.astype(np.float64), reference.at(whole)[0])
        if alike >= STRUCTURE:
            subject.geometry_dwell_ns = dwell_ns
            return reference
    raise NotApplicable(
        f"frames of the survey field with {reference.picture.shape} and {other.shape} pixels correlate by {alike:.2f}, "
        f"expected at least {STRUCTURE}: a sample with structure wider than a pixel is needed, or a smaller field"
    )


def _survey_frame(subject: Subject, sides: Sequence[int], dwell_ns: float) -> Reference:
    """The first of these numbers of pixels along the longer side that is accepted."""
    longer = max(subject.fov_nm)
    shapes = [tuple(max(8, round(side * fov / longer)) for fov in subject.fov_nm) for side in sides]
    choices = [(subject.raster((r, c), dwell_ns=dwell_ns), subject.survey) for r, c in shapes]
    frame = subject.take(subject.arm_first(choices, "frame of the survey field"))
    return Reference(frame.image().astype(np.float32), subject.fov_nm)


def orientation(subject: Subject) -> str:
    """A frame of the survey field is not mirrored or turned against what is known to be there."""
    if subject.shows is None:
        raise NotApplicable("what the survey field holds is not known (shows): a mirrored world would not be noticed")
    shape = (REFERENCE_PX[0], REFERENCE_PX[0])
    scan = subject.raster(shape, dwell_ns=DWELLS_NS[-1])
    picture = subject.take(subject.arm_first([(scan, subject.survey)], "frame of the survey field")).image()
    y, x = ((np.arange(side) + 0.5) / side for side in shape)
    turns: dict[str, tuple[FloatArray, FloatArray]] = {
        AS_ASKED: (y[:, None], x[None, :]),
        "upside down": (1 - y[:, None], x[None, :]),
        "mirrored left to right": (y[:, None], 1 - x[None, :]),
        "turned by half a turn": (1 - y[:, None], 1 - x[None, :]),
        "with rows and columns swapped": (x[None, :], y[:, None]),
        "turned by a quarter turn": (x[None, :], 1 - y[:, None]),
        "turned by three quarter turns": (1 - x[None, :], y[:, None]),
        "mirrored about the other diagonal": (1 - x[None, :], 1 - y[:, None]),
    }
    known = subject.shows
    found = {}
    for name, (v, u) in turns.items():
        row = np.minimum((v * known.shape[0]).astype(np.int64), known.shape[0] - 1)
        col = np.minimum((u * known.shape[1]).astype(np.int64), known.shape[1] - 1)
        found[name] = explained(picture.astype(np.float64), known[row, col], BLOCK_PX)
    if max(found.values()) < STRUCTURE:
        raise NotApplicable(
            f"what the field is said to hold explains little of its frame (correlation {max(found.values()):.2f})"
        )
    return _best(found, dict.fromkeys(found, 0.0), picture.size // BLOCK_PX**2, "a frame of the survey field")


def sub_scan(subject: Subject) -> str:
    """A rectangle of the survey field shows that part of its frame."""
    reference = reference_of(subject)
    armed = subject.arm_first(
        ((scan, subject.survey) for box in BOXES for scan in _sub_scans(subject, box)), "rectangle of the survey field"
    )
    return _judge(subject, reference, armed, "a rectangle of the survey field")


def site_field(subject: Subject) -> str:
    """A field of its own shows that part of the survey frame."""
    reference = reference_of(subject)
    shifted = Capability.SHIFT in subject.capability
    armed = _claimed(subject, Capability.SHIFT if shifted else Capability.NONE, _fields(subject, shifted, 0.0))
    return _judge(subject, reference, armed, "a field of its own")


def rotation(subject: Subject) -> str:
    """A rotated field shows that part of the survey frame, turned the right way about its own centre."""
    if Capability.ROTATED_ROI not in subject.capability:
        raise NotApplicable("ROTATED_ROI is not claimed")
    reference = reference_of(subject)
    choices = _fields(subject, Capability.SHIFT in subject.capability, ROTATION_RAD)
    return _judge(subject, reference, _claimed(subject, Capability.ROTATED_ROI, choices), "a rotated field")


def positions(subject: Subject) -> str:
    """A list of positions gives the counts of those positions, in its order."""
    if Capability.VECTOR not in subject.capability:
        raise NotApplicable("VECTOR is not claimed")
    reference = reference_of(subject)
    yx = np.random.default_rng(3).uniform(0.02, 0.98, (POSITIONS, 2))
    scan = path(yx, subject.dwell_ns(_dwell_ns(subject)))
    if Capability.POINT_DWELL in subject.capability:
        scan.dwell_ns[::2] = subject.dwell_ns(2 * _dwell_ns(subject))
    armed = _claimed(subject, Capability.VECTOR, [(scan, subject.survey)])
    executed = armed.scan
    if isinstance(executed, RasterROI) or not np.array_equal(executed.dwell_ns, scan.dwell_ns):
        raise Failed(
            "the dwells of a list of positions are not executed as asked, expected them within the limits to be"
        )
    counts = subject.take(armed).counts[0].astype(np.float64)
    for dwell_ns in np.unique(scan.dwell_ns):  # some detectors count longer, some average longer
        own = scan.dwell_ns == dwell_ns
        counts[own] = (counts[own] - counts[own].mean()) / max(float(counts[own].std()), 1e-12)
    y, x = yx.T
    ideas = {
        AS_ASKED: yx,
        "with y and x swapped": yx[:, ::-1],
        "with y counted from the bottom": np.stack([1 - y, x], axis=1),
        "with x counted from the right": np.stack([y, 1 - x], axis=1),
        "in the opposite order": yx[::-1],
        "as a raster": np.stack(np.divmod(np.arange(POSITIONS), 25), axis=1) / (POSITIONS / 25, 25.0),
    }
    fov = np.array(subject.fov_nm)
    return _compare(
        counts, {name: (idea - 0.5) * fov for name, idea in ideas.items()}, reference, "a list of positions"
    )


def reachable(subject: Subject) -> str:
    """A small site away from the centre can be scanned at all, as a rectangle or as a field of its own."""
    for what, choices in (
        ("as a rectangle of the survey field", [(s, subject.survey) for b in BOXES for s in _sub_scans(subject, b)]),
        ("as a shifted field", list(_fields(subject, True, 0.0))),
    ):
        try:
            armed = subject.arm_first(choices, "site")
        except NotApplicable as reason:
            refusal = reason
        else:
            return f"{what}, {armed.scan.shape[0]} x {armed.scan.shape[1]} pixels"
    raise Failed(f"neither rectangles of the survey field nor shifted fields are accepted, expected one: {refusal}")


def two_places(subject: Subject) -> tuple[Reference, Place, Place]:
    """Two scans of one shape that show different parts of the survey field."""
    reference = reference_of(subject)
    pairs: list[tuple[Request, Request]] = []
    for first, second in zip(*PLACES, strict=True):
        scans = zip(_sub_scans(subject, first), _sub_scans(subject, second), strict=True)
        pairs += [((one, subject.survey), (other, subject.survey)) for one, other in scans]
    pairs += zip(_fields(subject, True, 0.0, -1), _fields(subject, True, 0.0, 1), strict=True)
    for requests in pairs:
        try:
            for scan, context in requests:
                subject.arm(scan, context)
        except ValueError:
            continue
        return reference, Place(requests[0]), Place(requests[1])
    raise NotApplicable("no two parts of the survey field are accepted")


def _claimed(
    subject: Subject, flag: Capability, choices: Iterator[tuple[Scan, Context]] | Sequence[tuple[Scan, Context]]
) -> Armed:
    """The first that is accepted; a claim that every use of is refused is a failure."""
    try:
        return subject.arm_first(choices, "such scan")
    except NotApplicable as reason:
        if flag:
            raise Failed(f"{flag.name} is claimed, but {reason}") from reason
        raise


def _dwell_ns(subject: Subject) -> float:
    return subject.geometry_dwell_ns or DWELLS_NS[0]


def _sub_scans(subject: Subject, box: Box) -> Iterator[RasterROI]:
    """The box with few pixels, then on the grids of whole frames of 256 and more."""
    top, bottom, left, right = box
    centre = ((top + bottom) / 32, (left + right) / 32)
    size = ((bottom - top) / 16, (right - left) / 16)
    yield subject.raster((4 * (bottom - top), 4 * (right - left)), centre, size, _dwell_ns(subject))
    for grid in REFERENCE_PX:
        shape = ((bottom - top) * grid // 16, (right - left) * grid // 16)
        yield subject.raster(shape, centre, size, _dwell_ns(subject))


def _fields(subject: Subject, shifted: bool, rotation_rad: float, sign: int = 1) -> Iterator[Request]:
    """Fields inside the survey field, most demanding first: with a rectangle in them, oblong, with few pixels.

    The last are half the survey field on its own grid of 256 pixels and more.
    """
    fov_y, fov_x = subject.fov_nm
    shorter = min(fov_y, fov_x)
    oblong, square = (0.5 * shorter, 0.4 * shorter), (0.45 * shorter, 0.45 * shorter)
    for (centre, size), fov, (down, along), shapes in (
        (((0.45, 0.56), (0.8, 0.7)), oblong, (0.1, 0.17), FIELD_SHAPES),
        (((0.5, 0.5), (1.0, 1.0)), oblong, (0.1, 0.17), FIELD_SHAPES),
        (((0.5, 0.5), (1.0, 1.0)), square, (0.1, 0.17), FIELD_SHAPES),
        (
            ((0.5, 0.5), (1.0, 1.0)),
            (fov_y / 2, fov_x / 2),
            (0.125, 0.1875),
            [(side // 2,) * 2 for side in REFERENCE_PX],
        ),
    ):
        shift = (sign * down * fov_y, -sign * along * fov_x) if shifted else (0.0, 0.0)
        for rows, cols in shapes:
            yield subject.raster((rows, cols), centre, size, _dwell_ns(subject)), Context(fov, shift, rotation_rad)


def _judge(subject: Subject, reference: Reference, armed: Armed, what: str) -> str:
    """Compare a frame of an accepted scan with what each way of taking it would show."""
    scan = armed.scan
    assert isinstance(scan, RasterROI)
    picture = subject.take(armed).image().astype(np.float64)
    kind = f"{what}, {scan.shape[0]} x {scan.shape[1]} pixels,"
    return _compare(picture, ways(scan, armed.context, subject.fov_nm), reference, kind)


def _compare(picture: FloatArray, ideas: dict[str, FloatArray], reference: Reference, what: str) -> str:
    asked = reference.at(ideas[AS_ASKED])[0]
    found: dict[str, float] = {}
    alike: dict[str, float] = {}
    for name, yx_nm in ideas.items():
        if name != AS_ASKED and np.allclose(yx_nm, ideas[AS_ASKED]):
            continue  # the same, as a swap is where both are equal
        values, inside = reference.at(yx_nm)
        if inside.mean() >= INSIDE:
            found[name] = correlation(picture[inside], values[inside])
            alike[name] = correlation(asked[inside], values[inside])
    return _best(found, alike, picture.size, what)


def _best(found: dict[str, float], alike: dict[str, float], samples: int, what: str) -> str:
    """Is AS_ASKED the likeliest? Three standard errors of a difference of correlations are let pass.

    alike   correlation of each idea with AS_ASKED
    source  error of the difference of two correlations with a variable in common, large samples
    """
    asked = found[AS_ASKED]
    best = max(found, key=lambda name: found[name])
    if best != AS_ASKED:
        spread = (1 - min(found[best], 1.0) ** 2) * math.sqrt(2 * max(1 - alike[best], 0.0) / samples)
        if found[best] - asked > 0.01 + 3 * spread:
            raise Failed(
                f"{what} looks as if taken {best} (correlation {found[best]:.2f}), expected {AS_ASKED} ({asked:.2f})"
            )
    if asked < LIKE:
        raise Failed(
            f"{what} correlates by {asked:.2f} with what it should show, expected at least {LIKE}; "
            f"none of the usual mistakes explains it (the likeliest, {best}: {found[best]:.2f})"
        )
    others = {name: value for name, value in found.items() if name != AS_ASKED}
    nearest = max(others, key=lambda name: others[name])
    return (
        f"{what} is as asked: correlation {asked:.2f}; after each of {len(others)} mistakes less, or no more than "
        f"noise explains (the nearest, {nearest}: {others[nearest]:.2f})"
    )
