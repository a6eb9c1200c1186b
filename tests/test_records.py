"""Reading and writing records files: what comes back, and what is said of files that are no good."""

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
    with pytest.raises(RecordsError, match="is unfinished: it has no table"):
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
    with pytest.raises(RecordsError, match="not a readable HDF5 file"):
        Records(path)


def test_another_schema_version(tmp_path):
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        file.attrs["schema_version"] = SCHEMA_VERSION + 1
    with pytest.raises(RecordsError, match="schema version 2; this release reads version 1.*record it again"):
        Records(tmp_path / "r.h5")


@pytest.mark.parametrize("part", ["samples/label", "snapshot_recordings", "signs/dense/sign_sum"])
def test_damaged(part, tmp_path):
    """A part is missing: a RecordsError that names the file, not a KeyError."""
    write(tmp_path / "r.h5")
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        del file[part]
    with pytest.raises(RecordsError, match=r"r\.h5"), Records(tmp_path / "r.h5") as records:
        records.average_sign("dense")
