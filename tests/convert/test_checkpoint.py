# SPDX-License-Identifier: BSD-3-Clause
"""Files as torch.save writes them, made here without torch, some of them hostile."""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probewise.convert import checkpoint
from probewise.convert.checkpoint import Inert, read_checkpoint
from probewise.errors import ConfigurationError, ModelError

VALUES = np.arange(24, dtype=np.float32)
STORED = (("0", VALUES.tobytes()),)


class Global:
    """Pickles as the bare name of a global, called with arguments where they are given."""

    def __init__(self, module, name, *arguments, state=None):
        self.module, self.name, self.arguments, self.state = module, name, arguments, state


class Writer(pickle._Pickler):
    """Writes names that need not exist here."""

    def save(self, obj, save_persistent_id=True):
        if not isinstance(obj, Global):
            return super().save(obj, save_persistent_id)
        self.write(f"c{obj.module}\n{obj.name}\n".encode())
        if obj.arguments:
            super().save(obj.arguments if obj.arguments != ((),) else ())
            self.write(pickle.REDUCE)
        if obj.state is not None:
            super().save(obj.state)
            self.write(pickle.BUILD)
        return None

    def persistent_id(self, obj):
        return ("storage", Global("torch", obj.kind), obj.key, "cpu", obj.count) if isinstance(obj, Stored) else None


class Stored:
    def __init__(self, key="0", count=24, kind="FloatStorage"):
        self.key, self.count, self.kind = key, count, kind


def tensor(storage, shape, strides, offset=0):
    return Global(
        "torch._utils",
        "_rebuild_tensor_v2",
        storage,
        offset,
        shape,
        strides,
        False,
        Global("collections", "OrderedDict", ()),
    )


def pickled(content):
    file = io.BytesIO()
    Writer(file, protocol=2).dump(content)
    return file.getvalue()


def saved(path, content, storages=STORED, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content if isinstance(content, bytes) else pickled(content))
        archive.writestr("archive/byteorder", byteorder)
        for key, values in storages:
            archive.writestr(f"archive/data/{key}", values)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.tar"


def test_tensors_come_back_with_their_strides(path):
    weights = collections.OrderedDict(
        a=tensor(Stored(), (2, 3), (3, 1), 6), b=tensor(Stored(), (3, 2), (1, 3), 6), c=tensor(Stored(), (), (), 5)
    )
    found = read_checkpoint(saved(path, {"weights": weights, "nb_classes": 3, "layers": [1, 2], "in_dim": (8, 8)}))
    np.testing.assert_array_equal(found["weights"]["a"], VALUES[6:12].reshape(2, 3))
    np.testing.assert_array_equal(found["weights"]["b"], VALUES[6:12].reshape(2, 3).T)
    assert found["weights"]["c"] == 5
    assert (found["nb_classes"], found["layers"], found["in_dim"]) == (3, [1, 2], (8, 8))


@pytest.mark.parametrize(("kind", "dtype"), checkpoint._STORAGES.items())
def test_every_kind_of_storage(kind, dtype, path):
    values = np.array([1, 0, 1]).astype(dtype)
    content = {"weights": {"a": tensor(Stored(count=3, kind=kind), (3,), (1,))}}
    found = read_checkpoint(saved(path, content, [("0", values.tobytes())]))["weights"]["a"]
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


HOSTILE = {
    "os.system": Global("os", "system", "touch hurt"),
    "posix.system": Global("posix", "system", "touch hurt"),
    "eval": Global("builtins", "eval", "open('hurt', 'w')"),
    "exec": Global("builtins", "exec", "open('hurt', 'w')"),
    "open": Global("builtins", "open", "hurt", "w"),
    "subprocess": Global("subprocess", "Popen", ["touch", "hurt"]),
    "getattr": Global("builtins", "getattr", Global("os", "system"), "__call__"),
    "own function": Global("probewise.app.files", "write_atomically", "hurt", b""),
    "numpy loader": Global("numpy", "load", "hurt"),
    "torch hub": Global("torch.hub", "load", "evil/repository", "model"),
    "import of a module": Global("hurtful_module", "anything", ()),
    "optimiser": Global("torch.optim.adam", "Adam", (), state={"param_groups": [1], "state": {}}),
}


@pytest.mark.parametrize("attack", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_file_names_is_never_called(attack, path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hurtful_module.py").write_text("open('hurt', 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    found = read_checkpoint(saved(path, {"optimizer": attack, "more": [attack], "nb_classes": 1}))
    assert isinstance(found["optimizer"], Inert)
    assert found["nb_classes"] == 1
    assert not (tmp_path / "hurt").exists()
    assert "hurtful_module" not in sys.modules


def test_the_same_attack_works_on_pickle_itself(tmp_path, monkeypatch):
    """Otherwise the test above could pass because the attack is malformed."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickled(HOSTILE["os.system"]))  # noqa: S301  the point of the test
    assert (tmp_path / "hurt").exists()


def test_objects_made_in_other_ways_stay_inert(path):
    class Dead:
        pass

    module = types.ModuleType("gone")
    module.Dead, Dead.__module__, Dead.__qualname__ = Dead, "gone", "Dead"
    thing = Dead()
    thing.inner = {"x": 1}
    sys.modules["gone"] = module
    try:
        content = pickle.dumps(
            {"optimizer": thing, "deep": [collections.deque([1]), {1, 2}, complex(1, 2)]}, protocol=2
        )
    finally:
        del sys.modules["gone"]
    found = read_checkpoint(saved(path, content))
    assert isinstance(found["optimizer"], Inert)
    assert not hasattr(found["optimizer"], "inner")


BAD = {
    "not a dictionary": ([1], "holds list, expected a dictionary"),
    "past the storage": ({"w": {"a": tensor(Stored(), (25,), (1,))}}, "reaches past its storage of 24"),
    "offset past the storage": ({"w": {"a": tensor(Stored(), (1,), (1,), 24)}}, "reaches past its storage"),
    "many from one": ({"w": {"a": tensor(Stored(), (1000, 1000), (0, 0))}}, "reaches past its storage"),
    "negative stride": ({"w": {"a": tensor(Stored(), (2,), (-1,))}}, "malformed tensor"),
    "stride of a wrong type": ({"w": {"a": tensor(Stored(), (2,), (True,))}}, "malformed tensor"),
    "no storage": ({"w": {"a": tensor("0", (2,), (1,))}}, "malformed tensor"),
    "wrong count": ({"w": {"a": tensor(Stored(count=23), (2,), (1,))}}, "has 24 elements, expected 23"),
    "missing storage": ({"w": {"a": tensor(Stored(key="1"), (2,), (1,))}}, "KeyError"),
    "storage of objects": ({"w": {"a": tensor(Stored(kind="ObjectStorage"), (2,), (1,))}}, "malformed storage"),
    "state on a tensor": (
        {"w": Global("torch._utils", "_rebuild_tensor_v2", state=({}, {"__call__": 1}))},
        "expected a file of torch.save",
    ),
    "extension code": (b"\x80\x02\x82\x01.", "opcode EXT1"),
    "huge memo": (b"\x80\x02}r\xff\xff\xff\x7f.", "opcode LONG_BINPUT"),
    "truncated": (b"\x80\x02}q\x00X\xff", "expected a file of torch.save"),
    "nothing": (b"", "expected a file of torch.save"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says"), BAD.values(), ids=BAD.keys())
def test_a_malformed_checkpoint_is_refused(content, says, path):
    with pytest.raises(ModelError, match=says) as refusal:
        read_checkpoint(saved(path, content))
    assert str(refusal.value).startswith(f"{path}: ")


def test_what_is_no_zip_of_torch_is_refused(path, tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(ModelError, match="expected a file of torch"):
        read_checkpoint(path)
    with pytest.raises(ModelError, match="is compressed"):
        read_checkpoint(saved(path, {"a": 1}, compression=zipfile.ZIP_DEFLATED))
    with pytest.raises(ModelError, match="another byte order"):
        read_checkpoint(saved(path, {"a": 1}, byteorder=b"big"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("something", b"")
    with pytest.raises(ModelError, match="holds 0 pickles"):
        read_checkpoint(path)
    with pytest.raises(ModelError, match="no regular file"):
        read_checkpoint(tmp_path)


@settings(deadline=None, max_examples=150)
@given(position=st.floats(0, 1), byte=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_file_is_read_or_refused(position, byte, cut, tmp_path_factory):
    content = bytearray(pickled({"weights": {"a": tensor(Stored(), (2, 3), (3, 1))}, "optimizer": HOSTILE["eval"]}))
    index = int(position * (len(content) - 1))
    content[index] = byte
    path = saved(tmp_path_factory.mktemp("damaged") / "m.tar", bytes(content[: index + 1] if cut else content))
    with contextlib.suppress(ModelError):
        assert isinstance(read_checkpoint(path), dict)


def test_a_pickle_frame_longer_than_the_file_is_refused(path):
    with pytest.raises(ModelError, match=r"expected a file of torch\.save"):
        read_checkpoint(saved(path, b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x."))
