# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.errors import ModelError
from probewise.inference import Card

pytest.importorskip("onnx", reason="the extra test is not installed: onnx writes the small models")

import tiny_models as tiny

FRAMES = json.loads(tiny.segmenter_card().to_json())
PATCHES = {
    **FRAMES,
    "kind": "encoder",
    "input": {"name": "x", "axes": "NHW", "multiple_of": 1, "patch_px": 8},
    "outputs": [{"name": "m", "activation": "none", "stride": 1}, {"name": "s", "activation": "none", "stride": 1}],
    "classes": [],
    "background": "absent",
    "latent": {"rotation": "full", "translation": True, "content": 2, "symmetry": None},
}
TWO_HEADS = {
    **FRAMES,
    "kind": "atoms",
    "outputs": [
        {"name": "presence", "activation": "sigmoid", "stride": 1},
        {"name": "classes", "activation": "softmax", "stride": 2},
    ],
    "classes": ["C", "Si"],
    "background": "absent",
}


def changed(table, path, value):
    table = copy.deepcopy(table)
    *parents, last = path
    inner = table
    for key in parents:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return table


BAD = [
    (FRAMES, ["schema"], 2, "schema is 2"),
    (FRAMES, ["surprise"], 1, "surprise is unknown"),
    (FRAMES, ["licence"], KeyError, "licence is missing"),
    (FRAMES, ["licence"], " ", "licence is ' '"),
    (FRAMES, ["name"], "Tiny", "name is 'Tiny'"),
    (FRAMES, ["name"], "other", "name is 'other', expected tiny"),
    (FRAMES, ["name"], "../tiny", "name is '../tiny'"),
    (FRAMES, ["kind"], "cats", "kind is 'cats'"),
    (FRAMES, ["sha256"], "0" * 63, "sha256 is"),
    (FRAMES, ["size_bytes"], 0, "size_bytes is 0"),
    (FRAMES, ["size_bytes"], 1 << 40, "size_bytes is"),
    (FRAMES, ["size_bytes"], True, "size_bytes is True"),
    (FRAMES, ["size_bytes"], 10.0, "size_bytes is 10.0, expected a whole number"),
    (FRAMES, ["opset"], 9, "opset is 9"),
    (FRAMES, ["input"], [], "input is []"),
    (FRAMES, ["input", "axes"], "NHW", "input.axes is 'NHW'"),
    (FRAMES, ["input", "multiple_of"], 0, "input.multiple_of is 0"),
    (FRAMES, ["input", "patch_px"], 8, "input.patch_px is 8"),
    (FRAMES, ["input", "dtype"], "float32", "input.dtype is unknown"),
    (FRAMES, ["outputs"], [], "outputs is 0"),
    (FRAMES, ["outputs", 0], "y", "outputs[0] is 'y'"),
    (FRAMES, ["outputs", 0, "activation"], "relu", "outputs[0].activation is 'relu'"),
    (FRAMES, ["outputs", 0, "stride"], 3, "outputs[0].stride is 3, expected a divisor of 8"),
    (FRAMES, ["classes"], [], "classes is []"),
    (FRAMES, ["classes"], ["a", "a"], "classes is ['a', 'a']"),
    (FRAMES, ["classes"], [1], "classes is [1]"),
    (FRAMES, ["background"], "first", "background is 'first'"),
    (FRAMES, ["pixel_nm", "low"], 0, "pixel_nm is"),
    (FRAMES, ["pixel_nm", "high"], 0.001, "pixel_nm is"),
    (FRAMES, ["pixel_nm", "native"], "0.02", "pixel_nm.native is '0.02', expected a whole number or a number"),
    (FRAMES, ["normalisation"], "zscore", "normalisation is 'zscore'"),
    (FRAMES, ["normalisation"], "spectrum", "normalisation is 'spectrum', expected one of frames"),
    (PATCHES, ["normalisation"], "spectrum", "input.patch_px is 8, expected an odd number (spectrum)"),
    (FRAMES, ["latent"], PATCHES["latent"], "latent is"),
    (FRAMES, ["metrics"], None, "metrics is None"),
    (PATCHES, ["latent"], None, "latent is None"),
    (PATCHES, ["latent", "rotation"], "half", "latent.rotation is 'half'"),
    (PATCHES, ["latent", "content"], 0, "latent.content is 0"),
    (PATCHES, ["latent", "symmetry"], 13, "latent.symmetry is 13"),
    (PATCHES, ["latent", "translation"], 1, "latent.translation is 1, expected true or false"),
    (PATCHES, ["input", "patch_px"], None, "input.patch_px is None"),
    (PATCHES, ["classes"], ["a"], "classes is ['a']"),
    (TWO_HEADS, ["outputs", 0, "activation"], "none", "outputs is ('none', 'softmax')"),
    (TWO_HEADS, ["outputs", 1, "name"], "presence", "outputs is ['presence', 'presence']"),
    (TWO_HEADS, ["background"], "last", "background is 'last'"),
]


@pytest.mark.parametrize("table", [FRAMES, PATCHES, TWO_HEADS])
def test_a_card_survives_its_file(tmp_path, table):
    path = tmp_path / "tiny.json"
    path.write_text(json.dumps(table))
    card = Card.load(path)
    assert json.loads(card.to_json()) == table
    assert Card.parse(card.to_json()) == card


@pytest.mark.parametrize(("table", "path", "value", "says"), BAD, ids=[says for *_, says in BAD])
def test_a_bad_card_is_refused_by_file_and_field(tmp_path, table, path, value, says):
    file = tmp_path / "tiny.json"
    file.write_text(json.dumps(changed(table, path, value)))
    with pytest.raises(ModelError) as refusal:
        Card.load(file)
    assert str(refusal.value).startswith(f"{file}: ")
    assert says in str(refusal.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", '{"schema": NaN}', '{"schema": 1, "schema": 1}', "[" * 100_000, "\ud800",
        tiny.segmenter_card().to_json().replace("0.05", "1e999"),
    ],
)  # fmt: skip
def test_what_is_no_card_is_refused(tmp_path, text):
    path = tmp_path / "tiny.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError, match=r"tiny\.json: "):
        Card.load(path)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(field=st.sampled_from(sorted(FRAMES)), value=_json, table=st.sampled_from([FRAMES, PATCHES, TWO_HEADS]))
def test_any_value_in_any_field_is_taken_or_refused_as_a_value_error(field, value, table):
    try:
        card = Card.parse(json.dumps({**table, field: value}))
    except ValueError:
        return
    assert Card.parse(card.to_json()) == card


@pytest.mark.parametrize(
    ("table", "shape", "expected"),
    [
        (FRAMES, (2, 1, 16, 24), ((2, 2, 16, 24),)),
        (PATCHES, (5, 8, 8), ((5, 5), (5, 5))),
        (TWO_HEADS, (1, 1, 16, 8), ((1, 1, 16, 8), (1, 2, 8, 4))),
    ],
)
def test_output_shapes_follow_from_the_input(table, shape, expected):
    assert Card.parse(json.dumps(table)).output_shapes(shape) == expected
