"""Reading and writing records files: what comes back, and what is said of files that are no good."""

import contextlib
import shutil

import h5py
import numpy as np
import pytest

from keras_neuronlevel import selection
from keras_neuronlevel.records import (
    SCHEMA_VERSION,
    Records,
    RecordsError,
    RecordsWriter,
    partial_path,
    seal,
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
    write(tmp_path / "r.h5", finish=False)
    assert partial_path(tmp_path / "r.h5") == tmp_path / "r.h5.partial"
    with pytest.raises(RecordsError, match=r"r.h5 is unfinished: only r\.h5\.partial is there"):
        Records(tmp_path / "r.h5")
    partial_path(tmp_path / "r.h5").rename(tmp_path / "r.h5")
    with pytest.raises(RecordsError, match="is unfinished: its checksum was never written"):
        Records(tmp_path / "r.h5")


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
    """A sample of all regions; every byte of the user block."""
    path = tmp_path / "r.h5"
    write(path)
    whole = path.read_bytes()
    monkeypatch.setattr("h5py.File", lambda *a, **o: pytest.fail("HDF5 was given a damaged file"))
    for place in [*range(512), *range(512, len(whole), 37)]:
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


def test_a_full_disk_is_one_sentence_and_leaves_hdf5_alone(tmp_path, monkeypatch):
    write(tmp_path / "r.h5", finish=False)
    partial = partial_path(tmp_path / "r.h5").read_bytes()
    writer = RecordsWriter(tmp_path / "r.h5")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"r\.h5 needs up to .* MiB more and its disk has 0\.0 MiB left"):
        writer.finish(TABLE, arrays()[0])
    assert partial_path(tmp_path / "r.h5").read_bytes() == partial


def test_a_partial_file_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "mine").write_text("mine")
    partial_path(tmp_path / "r.h5").symlink_to(tmp_path / "mine")
    with pytest.raises(ValueError, match="is a symbolic link"):
        write(tmp_path / "r.h5")
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_folder_is_no_records_file(tmp_path):
    with pytest.raises(RecordsError, match="is no regular file"):
        Records(tmp_path)
