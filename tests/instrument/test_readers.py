# SPDX-License-Identifier: BSD-3-Clause
import json
import os
import pickle

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from probewise.errors import ConfigurationError
from probewise.instrument.raw_picture import MAX_PIXELS, length_in_nm, pixel_of_axes
from probewise.instrument.readers import read_picture
from reference.real_images import real_image

GREY = np.random.default_rng(0).integers(0, 4000, (24, 31)).astype(np.uint16)


def refused(path, *said):
    """The one line with which `path` is refused; it names the file and holds each of `said`."""
    with pytest.raises(ConfigurationError) as caught:
        read_picture(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "expected" in line
    for part in said:
        assert part in line
    return line


@pytest.mark.parametrize("kind", ["u1", "<u2", ">u2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8", "<i8", "<f2"])
def test_any_type_and_byte_order_becomes_float32_counts(tmp_path, kind):
    values = (GREY % 200).astype(kind)
    np.save(tmp_path / "a.npy", values)
    picture = read_picture(tmp_path / "a.npy")
    assert picture.data.dtype == np.float32
    assert picture.data.flags.c_contiguous
    np.testing.assert_array_equal(picture.data, GREY % 200)
    assert picture.pixel_nm is None
    if kind == "<f4":
        assert picture.notices == ()
    else:
        order = "big-endian " if kind.startswith(">") and kind != ">f4" else ""
        assert len(picture.notices) == 1
        assert f"{order}{np.dtype(kind).newbyteorder('=').name} values taken as float32 counts" in picture.notices[0]


def test_rounding_is_said(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[2**24 + 1, 0], [3, 4]], dtype=np.int64))
    assert "rounded to 24 bits" in read_picture(tmp_path / "a.npy").notices[0]


def test_fortran_order_is_no_transposition(tmp_path):
    np.save(tmp_path / "a.npy", np.asfortranarray(GREY))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.npy").data, GREY)


def test_a_constant_picture_is_said(tmp_path):
    np.save(tmp_path / "a.npy", np.full((4, 4), 2, np.float32))
    assert read_picture(tmp_path / "a.npy").notices == ("a.npy: all values are 2",)


@pytest.mark.parametrize("shape", [(1, 24, 31), (24, 31, 1), (1, 1, 24, 31)])
def test_a_stack_of_one_frame_is_that_frame(tmp_path, shape):
    np.save(tmp_path / "a.npy", GREY.reshape(shape))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.npy").data, GREY)


BAD_ARRAYS = {
    "stack": (np.zeros((5, 24, 31)), "a stack of shape 5 x 24 x 31"),
    "line": (np.zeros(9), "an array of 1 axes"),
    "row": (np.zeros((1, 9)), "1 x 9 pixels"),
    "nan": (np.where(GREY > 3900, np.nan, GREY), "values not finite"),
    "overflow": (np.full((4, 4), 1e300), "16 of 16 values not finite"),
    "complex": (np.zeros((4, 4), complex), "values of type complex128"),
    "mask": (np.zeros((4, 4), bool), "values of type bool"),
    "text": (np.full((4, 4), "a"), "values of type <U1"),
    "colour": (np.random.default_rng(0).integers(0, 255, (9, 9, 3)), "a colour image"),
}


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_an_array_that_is_no_picture_is_refused(tmp_path, name):
    array, said = BAD_ARRAYS[name]
    np.save(tmp_path / "a.npy", array)
    refused(tmp_path / "a.npy", said)


def test_pickles_are_never_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    np.save(tmp_path / "a.npy", np.array([[Bomb()]], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Bomb()))
    refused(tmp_path / "a.npy", "cannot be read")
    refused(tmp_path / "b.npy", "cannot be read")
    assert not (tmp_path / "exploded").exists()


def test_a_header_that_promises_too_much_is_refused_before_reading(tmp_path):
    path = tmp_path / "a.npy"
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(MAX_PIXELS // 2, 3))
    refused(path, "expected at most 67108864")


def test_missing_empty_and_other_files(tmp_path):
    refused(tmp_path / "none.npy", "no such file")
    (tmp_path / "dir.npy").mkdir()
    refused(tmp_path / "dir.npy", "not a file")
    (tmp_path / "empty.tif").touch()
    refused(tmp_path / "empty.tif", "an empty file")
    (tmp_path / "a.jpeg").write_bytes(b"x")
    refused(tmp_path / "a.jpeg", "its ending is '.jpeg'")
    refused(tmp_path / "a", "its ending is ''")


def write_each(folder):
    """One good file of each kind that is read without an extra."""
    np.save(folder / "a.npy", GREY)
    Image.fromarray(GREY.astype(np.uint8)).save(folder / "a.png")
    tifffile.imwrite(folder / "a.tif", GREY, compression="zlib")
    write_berkeley(folder / "a.emd")
    with h5py.File(folder / "a.hspy", "w") as store:
        store["Experiments/one/data"] = GREY


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a.tif", "a.emd", "a.hspy"])
def test_cut_and_scrambled_files_are_refused(tmp_path, name):
    write_each(tmp_path)
    whole = (tmp_path / name).read_bytes()
    assert read_picture(tmp_path / name).data.shape == GREY.shape
    broken = tmp_path / f"broken{(tmp_path / name).suffix}"
    for part in (whole[: len(whole) // 3], whole[:10], np.random.default_rng(1).bytes(500)):
        broken.write_bytes(part)
        refused(broken)


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a.tif"])
def test_damage_is_refused_unless_it_lies_within_the_values(tmp_path, name):
    """HDF5 files are left out: libhdf5 1.14 itself crashes on some files whose inner structure was overwritten."""
    write_each(tmp_path)
    whole = (tmp_path / name).read_bytes()
    rng = np.random.default_rng(1)
    broken = tmp_path / f"broken{(tmp_path / name).suffix}"
    outcomes = set()
    for _ in range(100):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 8):
            damaged[position] = rng.integers(0, 256)
        broken.write_bytes(damaged)
        outcomes.add(outcome(broken))
    assert outcomes <= {"read", "refused"}


def outcome(path):
    try:
        return "read" if np.isfinite(read_picture(path).data).all() else "not finite"
    except ConfigurationError as error:
        return "refused" if str(path) in str(error) else str(error)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_png(tmp_path, depth):
    values = (GREY % 256).astype(depth) if depth is np.uint8 else GREY
    Image.fromarray(values).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.data, values)
    assert picture.pixel_nm is None


def test_png_in_colour(tmp_path):
    grey = (GREY % 256).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3 + [np.full_like(grey, 255)], axis=-1)).save(tmp_path / "opaque.png")
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=-1)).save(tmp_path / "colour.png")
    Image.fromarray(np.stack([grey] * 4, axis=-1)).save(tmp_path / "veiled.png")
    palette = Image.fromarray(grey).convert("P")
    palette.putpalette([value for k in range(256) for value in (k, 0, 255 - k)])
    palette.save(tmp_path / "palette.png")
    for name in ("grey.png", "opaque.png"):
        picture = read_picture(tmp_path / name)
        np.testing.assert_array_equal(picture.data, grey)
        assert "grey values stored as colour, one channel taken" in picture.notices[0]
    for name in ("colour.png", "veiled.png", "palette.png"):
        refused(tmp_path / name, "a colour image")


def test_a_printers_resolution_is_no_calibration_and_a_finer_one_is_said(tmp_path):
    grey = Image.fromarray((GREY % 256).astype(np.uint8))
    grey.save(tmp_path / "print.png", dpi=(300, 300))
    assert read_picture(tmp_path / "print.png").pixel_nm is None
    grey.save(tmp_path / "fine.png", dpi=(5.08e7, 2.54e7))  # 2e9 and 1e9 pixels a metre, x then y
    picture = read_picture(tmp_path / "fine.png")
    assert picture.pixel_nm == pytest.approx((1.0, 0.5), rel=1e-6)  # through dots per inch and back
    assert "from its resolution tag" in picture.notices[0]


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32])
def test_tif(tmp_path, byteorder, dtype):
    values = (GREY % 256).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=byteorder)
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.data, values)
    assert picture.pixel_nm is None
    assert any("big-endian" in notice for notice in picture.notices) == (byteorder == ">")


def test_tif_calibration(tmp_path):
    tifffile.imwrite(tmp_path / "ij.tif", GREY, imagej=True, resolution=(50.0, 25.0), metadata={"unit": "nm"})
    assert read_picture(tmp_path / "ij.tif").pixel_nm == pytest.approx((0.04, 0.02))
    tifffile.imwrite(tmp_path / "um.tif", GREY, imagej=True, resolution=(500.0, 500.0), metadata={"unit": "\\u00B5m"})
    assert read_picture(tmp_path / "um.tif").pixel_nm == pytest.approx((2.0, 2.0))
    tifffile.imwrite(tmp_path / "px.tif", GREY, imagej=True, resolution=(1.0, 1.0), metadata={"unit": "pixel"})
    assert read_picture(tmp_path / "px.tif").pixel_nm is None
    tifffile.imwrite(tmp_path / "dpi.tif", GREY, resolution=(72, 72), resolutionunit="INCH")
    assert read_picture(tmp_path / "dpi.tif").pixel_nm is None
    tifffile.imwrite(tmp_path / "cm.tif", GREY, resolution=(2e8, 1e8), resolutionunit="CENTIMETER")
    assert read_picture(tmp_path / "cm.tif").pixel_nm == pytest.approx((0.1, 0.05))
    tifffile.imwrite(tmp_path / "none.tif", GREY, resolution=(2e8, 1e8), resolutionunit="NONE")
    assert read_picture(tmp_path / "none.tif").pixel_nm is None


def test_tif_stacks_and_colour(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", np.stack([GREY, GREY]))
    refused(tmp_path / "stack.tif", "a stack of shape 2 x 24 x 31")
    colour = np.random.default_rng(0).integers(0, 255, (24, 31, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", colour, photometric="rgb")
    refused(tmp_path / "rgb.tif", "a colour image")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig="separate")
    refused(tmp_path / "planes.tif", "a colour image")
    tifffile.imwrite(tmp_path / "white.tif", GREY, photometric="miniswhite")
    assert any("meant as white" in notice for notice in read_picture(tmp_path / "white.tif").notices)


AXES = [
    {"name": "y", "units": "nm", "scale": 0.25, "offset": 0.0, "size": 24, "index_in_array": 0, "navigate": False},
    {"name": "x", "units": "nm", "scale": 0.5, "offset": 1.0, "size": 31, "index_in_array": 1, "navigate": False},
]


def signal(**changed):
    """What RosettaSciIO's writers want of a signal."""
    empty = ("original_metadata", "learning_results", "models", "tmp_parameters")
    return {
        "data": GREY,
        "axes": [{**axis, **changed} for axis in AXES],
        "metadata": {"General": {"title": "one"}, "Signal": {}},
        "attributes": {"_lazy": False, "ragged": False},
        "package_info": {"package": "", "package_version": ""},
        **{name: {} for name in empty},
    }


def rsciio(name):
    return pytest.importorskip(f"rsciio.{name}", reason="needs the extra `read`")


@pytest.mark.parametrize(("unit", "nm"), [("nm", 1.0), ("µm", 1e3), ("Å", 0.1), ("pm", 1e-3), ("m", 1e9)])
def test_hspy_as_hyperspy_writes_it(tmp_path, unit, nm):
    rsciio("hspy").file_writer(str(tmp_path / "a.hspy"), signal(units=unit))
    picture = read_picture(tmp_path / "a.hspy")
    np.testing.assert_array_equal(picture.data, GREY)
    assert picture.pixel_nm == pytest.approx((0.25 * nm, 0.5 * nm))


@pytest.mark.parametrize("unit", ["1/nm", "", "px"])
def test_hspy_in_other_units_has_no_calibration(tmp_path, unit):
    rsciio("hspy").file_writer(str(tmp_path / "a.hspy"), signal(units=unit))
    assert read_picture(tmp_path / "a.hspy").pixel_nm is None


def test_hdf5_without_a_picture_is_refused(tmp_path):
    for name in ("a.hspy", "a.emd"):
        with h5py.File(tmp_path / name, "w") as store:
            store["other"] = GREY
        refused(tmp_path / name)


def write_berkeley(path, names=("one",)):
    with h5py.File(path, "w") as store:
        for name in names:
            group = store.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = GREY
            for axis, (length, step, unit) in enumerate([(24, 0.2, "[n_m]"), (31, 0.4, "[n_m]")], start=1):
                group[f"dim{axis}"] = np.arange(length) * step
                group[f"dim{axis}"].attrs.update({"name": "yx"[axis - 1], "units": unit})


def test_emd_of_the_berkeley_kind(tmp_path):
    write_berkeley(tmp_path / "a.emd", ("one", "two"))
    picture = read_picture(tmp_path / "a.emd")
    np.testing.assert_array_equal(picture.data, GREY)
    assert picture.pixel_nm == pytest.approx((0.2, 0.4))
    assert "2 images (/data/one, /data/two), /data/one taken" in picture.notices[0]


def test_emd_as_rosettasciio_writes_it(tmp_path):
    rsciio("emd").file_writer(str(tmp_path / "a.emd"), signal())
    picture = read_picture(tmp_path / "a.emd")
    np.testing.assert_array_equal(picture.data, GREY)
    assert picture.pixel_nm == pytest.approx((0.25, 0.5))


def write_velox(path, detectors=("BF", "HAADF"), frames=1):
    with h5py.File(path, "w") as store:
        for number, detector in enumerate(detectors):
            group = store.create_group(f"Data/Image/{number:032x}")
            group["Data"] = np.repeat((GREY + number)[:, :, None], frames, axis=2)
            described = {
                "BinaryResult": {
                    "Detector": detector,
                    "PixelSize": {"width": "2e-11", "height": "4e-11"},
                    "PixelUnitX": "m",
                    "PixelUnitY": "m",
                }
            }
            text = json.dumps(described).encode().ljust(4096, b"\0")
            group["Metadata"] = np.repeat(np.frombuffer(text, np.uint8)[:, None], frames, axis=1)


def test_emd_of_velox(tmp_path):
    write_velox(tmp_path / "a.emd")
    picture = read_picture(tmp_path / "a.emd")
    np.testing.assert_array_equal(picture.data, GREY + 1)
    assert picture.pixel_nm == pytest.approx((0.04, 0.02))
    assert "2 images (HAADF, BF), HAADF taken" in picture.notices[0]
    write_velox(tmp_path / "b.emd", frames=3)
    refused(tmp_path / "b.emd", "a stack of shape 3 x 24 x 31")


def test_vendor_formats_through_rosettasciio(tmp_path):
    picture = read_picture(real_image("perovskite/ali_BTO_1.dm4"))
    assert picture.data.shape == (413, 469)
    assert picture.pixel_nm == pytest.approx((0.02966, 0.02966), rel=1e-3)  # the folder's own README, four digits
    (tmp_path / "a.dm3").write_bytes(b"not a dm3 file at all")
    refused(tmp_path / "a.dm3", "cannot be read")


def test_vendor_formats_without_the_extra_say_what_to_type(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rsciio", None)
    (tmp_path / "a.dm3").write_bytes(b"x")
    refused(tmp_path / "a.dm3", 'pip install "probewise[read]"')


def test_real_tifs():
    big = read_picture(real_image("single_atoms_sjeon/Ptporph10.tif"))
    assert big.data.shape == (512, 512)
    assert any("big-endian" in notice for notice in big.notices)
    calibrated = read_picture(real_image("pt_single_atoms_hpai/021_HAADF_15nm_Sample_PtNC_21Oct20.tif"))
    assert calibrated.pixel_nm == pytest.approx((15 / 512, 15 / 512), rel=1e-4)  # its name says 15 nm


def test_lengths():
    assert [length_in_nm(u) for u in ("nm", "um", "μm", "Å", "angstrom", "pm", "m")] == [
        1,
        1e3,
        1e3,
        0.1,
        0.1,
        1e-3,
        1e9,
    ]
    assert [length_in_nm(u) for u in ("", "px", "1/nm", "s")] == [None] * 4
    assert pixel_of_axes([(1, 1.0, "nm"), (5, 2.0, "nm"), (5, -3.0, "nm")]) == (2.0, 3.0)
    assert pixel_of_axes([(5, 2.0, "nm"), (5, None, "nm")]) is None
    assert pixel_of_axes([(5, 2.0, "nm")]) is None


def test_a_senseless_pixel_size_is_said_and_not_used(tmp_path):
    rsciio("hspy").file_writer(str(tmp_path / "a.hspy"), signal(scale=0.0))
    picture = read_picture(tmp_path / "a.hspy")
    assert picture.pixel_nm is None
    assert any("makes no sense" in notice for notice in picture.notices)
