# SPDX-License-Identifier: BSD-3-Clause
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_beam_server import TOP, UNIT_NS, carried_out
from probewise._core import open_beam as core
from probewise.errors import ConfigurationError
from probewise.instrument.open_beam.program import CHUNK_NS, HEAD, Calibration, Encoder
from probewise.types import Context, RasterROI, ScanPath

FIELD = (200.0, 200.0)
WHOLE = ((0.0, float(TOP), 0.0), (0.0, 0.0, float(TOP)))


def path(yx, dwell_ns=1000, shape=(1, 1)):
    n = len(yx)
    dwell = np.broadcast_to(np.asarray(dwell_ns, dtype=np.int64), (n,)).copy()
    return ScanPath(np.asarray(yx, float), dwell, np.ones(n, bool), np.zeros(n, np.int32), shape)


def encode(yx, dwell_ns, chunk_ns=CHUNK_NS, placement=WHOLE):
    """(bytes, chunks) of a list of positions."""
    yx, dwell_ns = np.asarray(yx, dtype=np.float64), np.asarray(dwell_ns, dtype=np.int64)
    chunks, room = core.room_for_vectors(len(yx), int(dwell_ns.sum()), chunk_ns)
    out, ends = np.zeros(room, dtype=np.uint8), np.zeros((chunks, 3), dtype=np.int64)
    ends = ends[: core.encode_vectors(yx, dwell_ns, placement, chunk_ns, out, ends)]
    return out[: ends[-1, 1]].tobytes(), ends


def sent(scan, context, calibration=None):
    """Pixels (n, 3) y, x, units that the hardware scans for an armed scan, and its answers."""
    program = Encoder(calibration or Calibration(FIELD)).encode(scan, context)
    program.synchronize(0x1234)
    server, answers = carried_out(program.data.tobytes())
    assert answers[:4] == b"\xff\xff\x12\x34"
    assert len(answers) == 4 + 2 * program.samples
    return server.codes(), program


GOLDEN = [  # from the protocol's reference, bytes that its own client sends
    (core.synchronize(True, True, 0x1234), "011234"),
    (core.raster_pixel_run(4095, 8), "c00fff0008"),
    (core.vector_pixel(2, 1, 8), "e0000100020008"),
    (core.array_of_vector_pixels(3), "8e0003"),
    (core.blank(True, False), "51"),
]


@pytest.mark.parametrize(("command", "expected"), GOLDEN)
def test_commands_are_the_bytes_of_the_reference(command, expected):
    assert command.hex() == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (core.synchronize(False, False, 0xBEEF), struct.pack(">BH", 0 | 2 << 1, 0xBEEF)),
        (core.abort_region(), bytes([0x10])),
        (core.flush(), bytes([0x20])),
        (core.external_control(True), bytes([0x31])),
        (core.external_control(False), bytes([0x30])),
        (core.select_electron_beam(), bytes([0x41])),
        (core.blank(False, False), bytes([0x50])),
        (core.blank(True, True), bytes([0x53])),
        (core.delay(4800), struct.pack(">BH", 0x60, 4800)),
        (core.raster_pixel(7), struct.pack(">BH", 0xB0, 7)),
        (core.vector_pixel_least_dwell(9, 16383), struct.pack(">BHH", 0xF0, 16383, 9)),
        (core.raster_region((1, 2, 3), (4, 5, 6)), struct.pack(">B6H", 0xA0, 4, 5, 6, 1, 2, 3)),
    ],
)
def test_commands_follow_the_layout_of_the_protocol(command, expected):
    assert command == expected


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_positions_are_rounded_once_and_every_pixel_is_scanned_in_order(data):
    n = data.draw(st.integers(1, 300))
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    yx = random.random((n, 2))
    yx[random.random((n, 2)) < 0.1] = data.draw(st.sampled_from([0.0, 1.0, 0.5]))
    units = random.integers(1, data.draw(st.sampled_from([2, 40, 65537])), n)
    chunk_ns = data.draw(st.sampled_from([UNIT_NS, 100_000, CHUNK_NS]))
    raw, ends = encode(yx, units * UNIT_NS, chunk_ns)
    codes = carried_out(raw)[0].codes()
    np.testing.assert_array_equal(codes[:, :2], np.rint(yx * TOP))
    np.testing.assert_array_equal(codes[:, 2], units)
    np.testing.assert_array_equal(ends[:, 2], np.cumsum(units * UNIT_NS)[ends[:, 0] - 1])
    first = np.concatenate([[0], ends[:-1, 0]])
    before_last = np.array([units[a : b - 1].sum() * UNIT_NS for a, b in zip(first, ends[:, 0], strict=True)])
    assert (before_last < chunk_ns).all()  # so that no chunk is a pixel longer than it need be
    for begin, end in zip(np.concatenate([[0], ends[:-1, 1]]), ends[:, 1], strict=True):
        carried_out(raw[begin:end])  # each ends with a whole command


@given(
    rows=st.integers(1, 60), cols=st.integers(1, 60), turn=st.floats(-3.2, 3.2), flip=st.tuples(*[st.booleans()] * 2),
    shift=st.tuples(*[st.floats(-60, 60)] * 2), side=st.floats(10, 50), discard=st.integers(0, 3),
    flyback_ns=st.sampled_from([0, 1000]), least=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_a_raster_lies_within_half_a_code_of_where_it_was_asked_for(
    rows, cols, turn, flip, shift, side, discard, flyback_ns, least
):
    field = (200.0, 240.0)
    turn = 0.0 if abs(turn) < 1 else turn
    dwell_ns = UNIT_NS if least else 1000
    roi = RasterROI((rows, cols), dwell_ns, (0.5, 0.45), (0.8, 0.9), discard_lines=discard, flyback_ns=flyback_ns)
    context = Context((side, side / 2), shift, turn)
    codes, program = sent(roi, context, Calibration(field, *flip))
    keep = np.ones(len(codes), dtype=bool) if program.keep is None else program.keep
    kept = codes[keep]
    assert len(kept) == rows * cols
    assert (kept[:, 2] == dwell_ns // UNIT_NS).all()
    assert codes[:, 2].sum() * UNIT_NS == roi.duration_ns
    row, col = (index.ravel() for index in np.indices((rows, cols)))
    y = (0.5 - 0.4 + 0.8 * (row + 0.5) / rows - 0.5) * side
    x = (0.45 - 0.45 + 0.9 * (col + 0.5) / cols - 0.5) * side / 2
    for axis, (along, off) in enumerate(((y, x), (x, y))):
        sign = -1 if axis == 0 else 1
        at_nm = field[axis] / 2 + shift[axis] + math.cos(turn) * along + sign * math.sin(turn) * off
        share = at_nm / field[axis]
        expected = (1 - share if flip[axis] else share) * TOP
        assert np.abs(kept[:, axis] - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("resolution", [64, 512, 1000, 1024, 3000, 4095])
def test_a_full_field_of_any_resolution_is_true_to_half_a_code(resolution):
    roi = RasterROI((1, resolution), UNIT_NS)
    codes, _ = sent(roi, Context(FIELD))
    expected = (np.arange(resolution) + 0.5) / resolution * TOP
    assert np.abs(codes[:, 1] - expected).max() <= 0.5


@given(
    first=st.floats(0, TOP), pitch=st.one_of(st.floats(0.01, 260), st.integers(1, 254).map(float)),
    count=st.integers(1, 2000),
)  # fmt: skip
@settings(deadline=None, max_examples=200)
def test_a_region_is_used_where_its_steps_hold_every_pixel(first, pitch, count):
    first = round(first) if pitch == round(pitch) else first
    axis = core.raster_axis(first, pitch, count)
    wanted = first + np.arange(count) * pitch
    if axis is not None:
        start, pixels, step = axis
        assert pixels == count
        got = start + (np.arange(count) * step >> 8)
        assert np.abs(got - wanted).max() <= 0.5
        assert got.max() <= TOP
    elif wanted[-1] <= TOP:
        assert pitch > 254 or pitch != round(pitch) or first != round(first)  # whole codes always have a region


def test_whole_codes_go_as_a_region_and_runs():
    side = 32 * 8  # codes of 32 pixels
    context = Context((side * 200 / TOP,) * 2)
    start = 4000
    shift = (start - 0.5 * 8 + side / 2) * 200 / TOP - 100
    roi = RasterROI((32, 32), 125_000)
    codes, program = sent(roi, Context(context.fov_nm, (shift, shift)))
    assert program.raster
    assert len(program.ns_end) == math.ceil(32 * 32 / 16)  # 2 ms each
    row, col = np.divmod(np.arange(32 * 32), 32)
    np.testing.assert_array_equal(codes, np.stack([start + 8 * row, start + 8 * col, np.full(1024, 1000)], axis=1))


@pytest.mark.parametrize(
    ("dwell_ns", "expected"),
    [
        (1010, r"dwell_ns\[1\] is 1010, expected a multiple of 125 such as 1000 or 1125"),
        (100, r"dwell_ns\[1\] is 100, expected 125 to 8192000"),
        (8_192_125, r"dwell_ns\[1\] is 8192125, expected 125 to 8192000"),
        (-1000, r"dwell_ns\[1\] is -1000, expected 125"),
    ],
)
def test_a_dwell_the_hardware_cannot_keep_is_refused(dwell_ns, expected):
    with pytest.raises(ValueError, match=expected):
        encode([(0.5, 0.5)] * 2, [1000, dwell_ns])
    if dwell_ns > 0:
        with pytest.raises(ValueError, match=expected.replace(r"\[1\]", "")):
            Encoder(Calibration((TOP * 1.0, TOP * 1.0))).encode(
                RasterROI((4, 4), dwell_ns), Context((400.0, 400.0), (-0.5, -0.5))
            )


@pytest.mark.parametrize("yx", [(-0.001, 0.5), (0.5, 1.001), (math.nan, 0.5), (0.5, math.inf), (1e300, 0.5)])
def test_a_position_beyond_the_dacs_is_refused_by_its_number(yx):
    with pytest.raises(ValueError, match=r"yx\[700\] lies at DAC codes .*, expected 0 to 16383"):
        encode([(0.5, 0.5)] * 700 + [yx, (2.0, 2.0)], [1000] * 702)


def test_corners_are_the_first_and_the_last_code():
    codes = carried_out(encode([(0, 0), (0, 1), (1, 0), (1, 1)], [125] * 4)[0])[0].codes()
    np.testing.assert_array_equal(codes[:, :2], [(0, 0), (0, TOP), (TOP, 0), (TOP, TOP)])


def test_long_lists_are_split_into_arrays_of_at_most_65536():
    yx = np.random.default_rng(1).random((150_000, 2))
    raw, ends = encode(yx, np.full(150_000, 250), chunk_ns=10**9)
    np.testing.assert_array_equal(ends[:, 0], [65_536, 131_072, 150_000])
    np.testing.assert_array_equal(carried_out(raw)[0].codes()[:, :2], np.rint(yx * TOP))


def test_buffers_without_room_are_refused():
    chunks = np.empty((1, 3), dtype=np.int64)
    with pytest.raises(ValueError, match="there is room for 9 bytes and 1 chunks, expected 10 and 1"):
        core.encode_vectors(np.full((1, 2), 0.5), np.array([1000]), WHOLE, CHUNK_NS, np.empty(9, np.uint8), chunks)
    with pytest.raises(ValueError, match="yx has 4 values, expected 2"):
        core.encode_vectors(np.full((2, 2), 0.5), np.array([1000]), WHOLE, CHUNK_NS, np.empty(99, np.uint8), chunks)
    with pytest.raises(TypeError, match="chunks is a float64 array"):
        core.encode_vectors(
            np.full((1, 2), 0.5), np.array([1000]), WHOLE, CHUNK_NS, np.empty(99, np.uint8), np.empty((1, 3))
        )


def test_the_executed_path_is_that_of_the_codes():
    yx = np.random.default_rng(2).random((50, 2))
    context = Context((30.0, 20.0), (11.0, -7.0), 0.3)
    calibration = Calibration((200.0, 180.0), flip_x=True)
    codes, program = sent(path(yx), context, calibration)
    again, _ = sent(program.executed, context, calibration)
    np.testing.assert_array_equal(again, codes)  # it is scanned as itself
    most = 0.5 * 200 / TOP * math.sqrt(2) / 20
    assert 0 < np.abs(program.executed.yx - yx).max() <= most
    assert HEAD == 3


@given(st.lists(st.integers(0, TOP), max_size=50), st.data())
@settings(deadline=None, max_examples=60)
def test_answers_are_counts(words, data):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words))), dtype=bool)
    raw = np.frombuffer(struct.pack(f">{len(words)}H", *words), dtype=np.uint8)
    out = np.full(len(words), np.nan, dtype=np.float32)
    assert core.decode_counts(raw, None, out) == len(words)
    np.testing.assert_array_equal(out, words)
    kept = np.full(int(keep.sum()), np.nan, dtype=np.float32)
    assert core.decode_counts(raw, keep, kept) == keep.sum()
    np.testing.assert_array_equal(kept, np.array(words)[keep] if words else [])


def test_answers_that_are_none_are_refused():
    out = np.empty(3, dtype=np.float32)
    with pytest.raises(ValueError, match="word 1 is 16384, expected a detector code of 0 to 16383"):
        core.decode_counts(np.frombuffer(b"\x3f\xff\x40\x00", dtype=np.uint8), None, out)
    with pytest.raises(ValueError, match="odd number of bytes"):
        core.decode_counts(np.zeros(3, dtype=np.uint8), None, out)
    with pytest.raises(ValueError, match="counts has room for 3 samples"):
        core.decode_counts(np.zeros(8, dtype=np.uint8), None, out)
    with pytest.raises(ValueError, match="keep has 2 values, expected 4"):
        core.decode_counts(np.zeros(8, dtype=np.uint8), np.ones(2, dtype=bool), out)


@pytest.mark.parametrize(
    ("scan", "context", "expected"),
    [
        (RasterROI((64, 64), 1000), Context((8.0, 8.0), (96.1, 0.0)), "covers y 192.1 to 200.1 nm, expected within"),
        (RasterROI((64, 64), 1000), Context((8.0, 8.0), (0.0, -96.1)), "covers x -0.1 to 7.9 nm, expected within"),
        (RasterROI((64, 64), 1000), Context((200.0, 200.0), rotation_rad=0.1), "covers y -9"),
        (
            RasterROI((64, 164), 1000),
            Context((8.0, 8.0)),
            r"164 cols over 8 nm are 3.996 codes a pixel of the DACs' 200",
        ),
        (RasterROI((64, 64), 1000, size_yx=(0.3, 1.0)), Context((8.0, 8.0)), "64 rows over 2.4 nm are 3.072 codes"),
        (path([(0.5, 0.5)], shape=(200, 4)), Context((8.0, 8.0)), "200 rows over 8 nm are 3.277 codes"),
        (path([(0.5, math.nan)]), Context((8.0, 8.0)), "covers y nan to nan nm"),
    ],
)
def test_what_the_range_or_its_codes_cannot_hold_is_refused(scan, context, expected):
    reached = scan.yx if isinstance(scan, ScanPath) else _corners(scan)
    with pytest.raises(ConfigurationError, match=expected):
        Calibration(FIELD).check(scan, reached, context)


@pytest.mark.parametrize("shift", [96.0, -96.0])
def test_what_ends_at_the_edge_is_taken(shift):
    roi, context = RasterROI((163, 163), 1000), Context((8.0, 8.0), (shift, -shift))
    Calibration(FIELD).check(roi, _corners(roi), context)
    Calibration(FIELD).check(RasterROI((1, 1), 1000), _corners(roi), Context((0.02, 0.02)))  # a point has no pitch
    codes, _ = sent(roi, context)
    assert codes[:, :2].min() >= 0
    assert codes[:, :2].max() <= TOP


def _corners(roi):
    (y, x), (height, width) = roi.centre_yx, roi.size_yx
    return np.array([(y + a * height / 2, x + b * width / 2) for a in (-1, 1) for b in (-1, 1)])
