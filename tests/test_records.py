"""Reading and writing records files: what comes back, and what is said of files that are no good."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_neuronlevel import files, selection
from keras_neuronlevel.records import (
    SCHEMA_VERSION,
    Records,
    RecordsError,
    RecordsWriter,
    room,
    seal,
    values_size,
)

SHAPES = {"dense": (3,), "map": (2, 3, 4)}
TABLE = [(0, 0, 0, 2.5, 0.1), (7, 0, 7, 1.5, 0.4), (10, 1, 0, 0.5, 0.9)]


def arrays():
    rng = np.random.default_rng(0)
    nonzero = {"dense": rng.integers(0, 4, (5, 3)), "map": rng.integers(0, 4, (5, 4, 6))}
    signs = {name: (np.where(n % 2, n, -n), n) for name, n in nonzero.items()}
    snapshots = [{"dense": rng.normal(size=(5, 2)), "map": rng.normal(size=(5, 2, 3))} for _ in range(2)]
    return signs, snapshots


def write(path, finish=True):
    chosen = selection.select(SHAPES, 5, snapshots=selection.Snapshots(neurons=2, positions=3))
    signs, snapshots = arrays()
    writer = RecordsWriter(path)
    writer.create(chosen, np.array([2, 0, 1, 1, 0]), np.array([9, 4, 5, 8, 1]), "float32", {"a": [1, None]})
    for recording, values in zip((0, 2), snapshots, strict=True):
        writer.append_snapshot(recording, values)
    if finish:
        writer.finish(TABLE, signs)
        return chosen
    return writer


def test_everything_comes_back(tmp_path):
    path = tmp_path / "some" / "where" / "r.h5"
    chosen = write(path)
    signs, snapshots = arrays()
    with Records(str(path)) as records:
        assert records.layers == ["dense", "map"]
        assert records.labels.tolist() == [2, 0, 1, 1, 0]
        assert records.sample_index.tolist() == [9, 4, 5, 8, 1]
        assert records.provenance == {"a": [1, None]}
        assert records.recordings.tolist() == TABLE
        assert records.recordings["loss"].tolist() == [2.5, 1.5, 0.5]
        assert records.snapshot_recordings.tolist() == [0, 2]
        for name, (sign_sum, nonzero) in signs.items():
            np.testing.assert_array_equal(records.sign_sum(name), sign_sum)
            np.testing.assert_array_equal(records.nonzero(name), nonzero)
            s = records.average_sign(name)
            assert s.dtype == np.float32
            for place in np.ndindex(s.shape):
                if nonzero[place]:
                    assert s[place] == np.float32(sign_sum[place] / nonzero[place])
                else:
                    assert np.isnan(s[place])
            stacked = np.stack([snapshot[name] for snapshot in snapshots])
            np.testing.assert_array_equal(records.snapshots(name), stacked.astype(np.float32))
            np.testing.assert_array_equal(records.neurons(name), chosen[name].neurons)
            np.testing.assert_array_equal(records.snapshot_neurons(name), chosen[name].snapshot_neurons)
        assert records.positions("dense") is None and records.snapshot_positions("dense") is None
        assert records.positions("map").tolist() == [0, 1, 2, 3, 4, 5]
        np.testing.assert_array_equal(records.snapshot_positions("map"), chosen["map"].snapshot_positions)
    assert [p.name for p in path.parent.iterdir()] == ["r.h5"]


def test_an_unknown_layer_says_what_there_is(tmp_path):
    write(tmp_path / "r.h5")
    with Records(tmp_path / "r.h5") as records:
        for read in (records.sign_sum, records.average_sign, records.snapshots, records.positions):
            with pytest.raises(RecordsError, match="no layer 'dense2'; it holds dense, map"):
                read("dense2")


def test_it_closes(tmp_path):
    write(tmp_path / "r.h5")
    with Records(tmp_path / "r.h5") as records:
        pass
    with pytest.raises(Exception, match=r"[Cc]losed|[Ii]nvalid|not a"):
        records.sign_sum("dense")


def test_missing(tmp_path):
    with pytest.raises(RecordsError, match="there is no records file at"):
        Records(tmp_path / "r.h5")


def test_unfinished(tmp_path):
    writer = write(tmp_path / "r.h5", finish=False)
    (partial,) = files.partials(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match=f"r.h5 is unfinished: only {re.escape(partial.name)} is there"):
        Records(tmp_path / "r.h5")
    partial.rename(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match="is unfinished: its checksum was never written"):
        Records(tmp_path / "r.h5")
    del writer


def test_foreign_hdf5(tmp_path):
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["recordings"] = [1, 2]
    with pytest.raises(RecordsError, match="an HDF5 file, but not one of keras_neuronlevel"):
        Records(tmp_path / "r.h5")


@pytest.mark.parametrize("content", [b"", b"no HDF5 at all", b"\x89HDF\r\n\x1a\n"])
def test_no_hdf5(content, tmp_path):
    (tmp_path / "r.h5").write_bytes(content)
    with pytest.raises(RecordsError, match="not a readable HDF5 file"):
        Records(tmp_path / "r.h5")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated(kept, tmp_path):
    path = tmp_path / "r.h5"
    write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RecordsError, match="is damaged, or was altered or cut"):
        Records(path)


def test_another_schema_version(tmp_path):
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    seal(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match="schema version 2; this release reads version 1.*record it again"):
        Records(tmp_path / "r.h5")


@pytest.mark.parametrize("part", ["samples/label", "snapshot_recordings", "signs/dense/sign_sum"])
def test_damaged(part, tmp_path):
    """A part is missing: a RecordsError that names the file, not a KeyError."""
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file[part]
    seal(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match=r"r\.h5"), Records(tmp_path / "r.h5") as records:
        records.average_sign("dense")


def test_every_damaged_byte_is_found_before_hdf5_sees_it(tmp_path, monkeypatch):
    """A sample of all regions."""
    path = tmp_path / "r.h5"
    write(path)
    whole = path.read_bytes()
    monkeypatch.setattr("h5py.File", lambda *a, **o: pytest.fail("HDF5 was given a damaged file"))
    for place in [*range(0, 512, 7), *range(512, len(whole), 211)]:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(RecordsError, match=r"r\.h5"):
            Records(path)


def test_a_file_without_checksum_is_read_with_a_warning(tmp_path, caplog):
    write(tmp_path / "r.h5")
    whole = (tmp_path / "r.h5").read_bytes()
    with h5py.File(tmp_path / "r.h5") as new, h5py.File(tmp_path / "old.h5", "w") as old:
        old.attrs.update(dict(new.attrs))
        for name in new:
            new.copy(name, old)
    with Records(tmp_path / "old.h5") as records:
        assert records.labels.tolist() == [2, 0, 1, 1, 0]
    assert "old.h5 has no checksum" in caplog.text
    (tmp_path / "r.h5").write_bytes(whole[:600] + bytes([whole[600] ^ 1]) + whole[601:])
    with contextlib.suppress(RecordsError), Records(tmp_path / "r.h5", verify=False) as records:
        assert records.layers == ["dense", "map"]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("signs/dense/sign_sum", np.zeros((5, 3)), "sign_sum has shape .* type float64"),
        ("signs/dense/nonzero", np.zeros((5, 9), int), r"nonzero has shape \(5, 9\)"),
        ("signs/dense/nonzero", np.full((5, 3), 4), "nonzero in more than its 3 recordings"),
        ("signs/dense/sign_sum", np.full((5, 3), 4), "more signs than were not zero"),
        ("samples/index", np.arange(3), "is damaged"),
        ("samples/index", np.arange(5.0), "index has .* float64"),
        ("recordings", np.arange(3), "table of recordings"),
        ("snapshot_recordings", np.array([0, 0]), "snapshots are of recordings"),
        ("snapshot_recordings", np.array([0, 9]), "snapshots are of recordings"),
        ("snapshots/dense", h5py.SoftLink("/signs/dense/nonzero"), "is a link to elsewhere"),
        ("samples/label", h5py.ExternalLink("other.h5", "/x"), "is a link to elsewhere"),
    ],
)
def test_what_contradicts_itself_is_refused(name, values, words, tmp_path):
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file[name]
        file[name] = values
    seal(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match=words), Records(tmp_path / "r.h5") as records:
        records.average_sign("dense")


def test_values_that_are_not_there_are_not_read(tmp_path):
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file["samples/label"]
        file.create_dataset("samples/label", (3 * 10**9,), "i8")
    seal(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match="label claims more values than the file holds"):
        Records(tmp_path / "r.h5")


def test_a_full_disk_is_one_sentence_leaves_hdf5_alone_and_can_be_mended(tmp_path, monkeypatch):
    path, usage = tmp_path / "r.h5", shutil.disk_usage(tmp_path)
    writer = write(path, finish=False)
    (partial,) = files.partials(path)
    before = partial.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        with pytest.raises(
            files.NoRoomError, match=r"r\.h5 needs up to .* MiB more, and .* has 0\.0 MiB left"
        ):
            writer.finish(TABLE, arrays()[0])
    assert partial.read_bytes() == before

    def full(*arguments):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(files.NoRoomError, match=r"r\.h5 needs up to .* MiB more than its disk has left"):
            writer.finish(TABLE, arrays()[0])
    assert partial.read_bytes() == before
    writer.finish(TABLE, arrays()[0])
    with Records(path) as records:
        np.testing.assert_array_equal(records.nonzero("map"), arrays()[0]["map"][1])


def test_the_whole_file_must_fit_before_anything_is_recorded(tmp_path, monkeypatch):
    chosen = selection.select(SHAPES, 5, snapshots=selection.Snapshots(neurons=2, positions=3))
    wanted = values_size(chosen, 5, 70_000, 10, "float32")
    # dense: 3 neurons, 2 of them in snapshots; map: 4 neurons at 6 places, 2 at 3 in snapshots
    assert wanted == 5 * ((3 + 4 * 6) * 2 * 4 + 10 * (2 + 2 * 3) * 4) + 70_000 * (32 + 8)
    assert values_size(chosen, 5, 32_767, 0, "float32") == 5 * (3 + 4 * 6) * 2 * 2 + 32_767 * 40
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=wanted))
    arguments = (chosen, np.zeros(5, int), np.arange(5), "float32", {})
    with pytest.raises(
        files.NoRoomError, match=r"r\.h5 will take up to 2\.8 MiB more, and the disk of .* has 2\.7"
    ):
        RecordsWriter(tmp_path / "r.h5").create(*arguments, expected=(70_000, 10))
    assert list(tmp_path.iterdir()) == []
    RecordsWriter(tmp_path / "r.h5").create(*arguments, expected=(60_000, 10))


def test_a_file_takes_no_more_than_was_asked_for(tmp_path):
    """Values that no compression makes smaller, and many recordings."""
    rng, samples, recordings = np.random.default_rng(0), 500, 40_000
    chosen = selection.select({"dense": (200,)}, samples)
    writer = RecordsWriter(tmp_path / "r.h5")
    writer.create(chosen, np.zeros(samples, int), np.arange(samples), "float32", {})
    for recording in range(3):
        writer.append_snapshot(recording, {"dense": rng.normal(size=(samples, 32))})
    signs = rng.integers(-(2**31), 2**31, (2, samples, 200))
    table = [tuple(rng.integers(0, 2**31, 5)) for _ in range(recordings)]
    writer.finish(table, {"dense": signs})
    asked = values_size(chosen, samples, recordings, 3, "float32") + 3 * 8 * samples
    assert 0.9 * asked < (tmp_path / "r.h5").stat().st_size < asked + room.SLACK


def test_sums_take_two_bytes_where_they_can(tmp_path):
    write(tmp_path / "r.h5")
    with Records(tmp_path / "r.h5") as records:
        assert records.sign_sum("dense").dtype == records.nonzero("map").dtype == np.int16


def test_nothing_is_written_through_a_link_of_the_temporary_name(tmp_path, monkeypatch):
    (tmp_path / "mine").write_text("mine")
    name_of = files.partial_path
    monkeypatch.setattr(
        files, "partial_path", lambda path: tmp_path / "link" if path.name == "r.h5" else name_of(path)
    )
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="link could not be written"):
        write(tmp_path / "r.h5")
    assert (tmp_path / "mine").read_text() == "mine"


# One writer at a time -------------------------------------------------------------------------------

WRITING = """
import sys
sys.path.insert(0, sys.argv[2])
from test_records import write
writer = write(sys.argv[1], finish=False)
print("writing", flush=True)
sys.stdin.read()
"""


def test_another_process_is_refused_by_name_and_a_killed_one_leaves_nothing(tmp_path):
    path = tmp_path / "r.h5"
    command = [sys.executable, "-c", WRITING, str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"writing\n"
        words = (
            rf"process {other.pid} on .*, since .*, writes .*r\.h5; wait until it has ended, or give another"
        )
        with pytest.raises(files.InUseError, match=words):
            write(path)
        assert len(files.partials(path)) == 1
        other.kill()
        other.wait()
    write(path)
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_writers_in_one_process_the_earlier_one_is_refused(tmp_path):
    """An abandoned one must not stand in the way, and one that goes on must not go on without a word."""
    path, (signs, snapshots) = tmp_path / "r.h5", arrays()
    earlier, later = write(path, finish=False), write(path, finish=False)
    calls = (
        earlier.check,
        earlier.snapshots,
        lambda: earlier.append_snapshot(4, snapshots[0]),
        lambda: earlier.finish(TABLE, signs),
    )
    for call in calls:
        with pytest.raises(files.InUseError, match=r"another recorder of this process writes .*r\.h5 by now"):
            call()
    later.finish(TABLE, signs)
    with pytest.raises(ValueError, match=r"r\.h5 is not being written: it was not begun, or is finished"):
        later.finish(TABLE, signs)
    with Records(path) as records:
        assert records.snapshot_recordings.tolist() == [0, 2]
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_free_when_its_writer_is_gone(tmp_path):
    path = tmp_path / "r.h5"
    writer = write(path, finish=False)
    names = {".lock-r.h5", ".lock-r.h5-owner.json", files.partials(path)[0].name}
    assert {found.name for found in tmp_path.iterdir()} == names
    del writer
    assert list(tmp_path.iterdir()) == files.partials(path)


def test_a_folder_is_no_records_file(tmp_path):
    with pytest.raises(RecordsError, match="is no regular file"):
        Records(tmp_path)
