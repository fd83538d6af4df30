# SPDX-License-Identifier: BSD-3-Clause
from __future__ import annotations

import os
import resource
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from probewise.errors import ConfigurationError, StorageError
from probewise.experiment.journal import FILE, SCHEMA, Journal
from probewise.types import Context, Frame, RasterROI, ScanPath


def make(directory: Path) -> Journal:
    return Journal.create(directory, {"configuration": ""})


def frame(scan: RasterROI | ScanPath, samples: tuple[int, ...]) -> Frame:
    counts = np.random.default_rng(0).normal(size=(1, *samples)).astype(np.float32)
    return Frame(counts, ("HAADF",), Context((8.0, 9.0), (1.0, -2.0), 0.1), scan, 3, 10, 20, counts.size, ("noted",))


def path_scan() -> ScanPath:
    rng = np.random.default_rng(1)
    pixel = np.arange(6, dtype=np.int32)
    return ScanPath(rng.random((6, 2)), np.full(6, 100), np.ones(6, dtype=bool), pixel, (2, 3))


@pytest.mark.parametrize(("scan", "samples"), [(RasterROI((2, 3), 100), (2, 3)), (path_scan(), (6,))])
def test_a_frame_comes_back_bit_for_bit(tmp_path: Path, scan: RasterROI | ScanPath, samples: tuple[int, ...]) -> None:
    given = frame(scan, samples)
    with make(tmp_path) as journal:
        with journal.transaction():
            numbers = [journal.put_frame(given), journal.put_frame(given)]
        assert len(journal.rows("SELECT * FROM scans")) == 1
    with Journal.open(tmp_path, write=False) as journal:
        back = journal.frame(numbers[1])
    assert np.array_equal(back.counts, given.counts)
    assert (back.context, back.channels, back.sequence, back.notices) == (given.context, ("HAADF",), 3, ("noted",))
    if isinstance(scan, ScanPath):
        assert isinstance(back.scan, ScanPath)
        assert np.array_equal(back.scan.yx, scan.yx)
    else:
        assert back.scan == scan


def test_trees_and_arrays(tmp_path: Path) -> None:
    tree = {"a": np.arange(3.0), "b": [1, "x", None, np.zeros((2, 0), dtype=np.float32)], "c": {"d": np.float64(2)}}
    with make(tmp_path) as journal:
        with journal.transaction():
            text = journal.put_tree(tree)
        back = journal.tree(text)
    assert np.array_equal(back["a"], tree["a"])
    assert back["b"][:3] == [1, "x", None]
    assert back["b"][3].shape == (2, 0)
    assert back["c"] == {"d": 2.0}


def test_only_plain_arrays_are_stored(tmp_path: Path) -> None:
    with (
        make(tmp_path) as journal,
        pytest.raises(TypeError, match="object cannot be journalled"),
        journal.transaction(),
    ):
        journal.put_array(np.array([object()]))


@pytest.mark.parametrize("statement", ["UPDATE arrays SET crc32 = 0", "DELETE FROM arrays"])
def test_rows_never_change(tmp_path: Path, statement: str) -> None:
    with make(tmp_path) as journal:
        with journal.transaction():
            journal.put_array(np.zeros(2))
        with pytest.raises(StorageError, match="arrays rows never change"), journal.transaction():
            journal.execute(statement)


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with make(tmp_path) as journal:
        with pytest.raises(TypeError), journal.transaction():
            journal.put_tree([np.zeros(2), np.array([object()])])
        assert journal.rows("SELECT * FROM arrays") == []


def test_no_journal(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="holds no journal"):
        Journal.open(tmp_path, write=False)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with make(tmp_path) as journal, journal.transaction():
        journal.set_meta("schema", SCHEMA + 1)
    with pytest.raises(ConfigurationError, match=f"schema {SCHEMA + 1}, expected at most {SCHEMA}"):
        Journal.open(tmp_path, write=False)


@pytest.mark.parametrize("cut", [0, 10, 5000])
def test_a_truncated_file_is_damage(tmp_path: Path, cut: int) -> None:
    with make(tmp_path) as journal, journal.transaction():
        journal.put_array(np.zeros(1000))
    os.truncate(tmp_path / FILE, cut)
    with pytest.raises(StorageError):
        Journal.open(tmp_path, write=False)


def test_a_changed_blob_is_damage(tmp_path: Path) -> None:
    marker = np.frombuffer(b"PROBEWISE-MARKER", dtype=np.uint8)
    with make(tmp_path) as journal, journal.transaction():
        number = journal.put_array(marker)
    text = (tmp_path / FILE).read_bytes()
    assert text.count(marker.tobytes()) == 1
    (tmp_path / FILE).write_bytes(text.replace(b"PROBEWISE-MARKER", b"PROBEWISE-MARKES"))
    with Journal.open(tmp_path, write=False) as journal:
        with pytest.raises(StorageError, match="does not match its checksum"):
            journal.verify()
        with pytest.raises(StorageError, match="does not match its checksum"):
            journal.array(number)


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    make(tmp_path / "a").close()
    (tmp_path / "b" / FILE).symlink_to(tmp_path / "a" / FILE)
    with pytest.raises(StorageError, match="not a regular file"):
        Journal.open(tmp_path / "b", write=False)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with make(tmp_path):
        with pytest.raises(ConfigurationError, match="in use by another process"):
            Journal.open(tmp_path, write=True)
        with Journal.open(tmp_path, write=False) as reader:
            assert reader.meta("schema") == 1  # visits of a reference patch make it 2


def fill(journal: Journal) -> None:
    for _ in range(100):
        with journal.transaction():
            journal.put_array(np.zeros(10_000))


def test_full_disk(tmp_path: Path) -> None:
    """A file size limit makes every later write fail, as a full disk does; what was committed stays readable."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = make(tmp_path)
    with journal.transaction():
        journal.put_array(np.arange(10.0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"full|I/O"):
            fill(journal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        journal.close()
    with Journal.open(tmp_path, write=False) as journal:
        journal.verify()
        assert np.array_equal(journal.array(1), np.arange(10.0))


def test_a_journal_that_cannot_be_made_lets_go_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("probewise.experiment.journal._TABLES", "CREATE NOTHING")
        with pytest.raises(StorageError):
            Journal.create(tmp_path, {})
    (tmp_path / FILE).unlink()
    Journal.create(tmp_path, {}).close()  # in the same process the lock would still be held


def test_the_log_is_synced_soon_after_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    synced = threading.Event()
    real = os.fsync

    def fsync(handle: int) -> None:
        real(handle)
        synced.set()

    with make(tmp_path) as journal:
        monkeypatch.setattr(os, "fsync", fsync)
        with journal.transaction():
            journal.put_array(np.zeros(3))
        assert synced.wait(5.0)


def test_a_failed_sync_is_said_at_the_next_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(handle: int) -> None:
        raise OSError(5, "Input/output error")

    journal = make(tmp_path)
    assert journal._syncer is not None
    monkeypatch.setattr(os, "fsync", fsync)
    journal._syncer._sync()
    with pytest.raises(StorageError, match="cannot be synced"), journal.transaction():
        journal.put_array(np.zeros(3))
    journal.close()


def test_it_is_wal(tmp_path: Path) -> None:
    make(tmp_path).close()
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db.close()
