"""A records file opened by xarray, where that and h5netcdf are installed: its axes have names."""

import numpy as np
import pytest
from test_records import TABLE, arrays, write

from keras_neuronlevel.records import RecordsWriter
from keras_neuronlevel.selection import Snapshots, select

xarray = pytest.importorskip("xarray", reason="xarray is not installed")
pytest.importorskip("h5netcdf", reason="h5netcdf is not installed")


def test_axes_have_names(tmp_path):
    chosen = write(tmp_path / "r.h5")
    signs, snapshots = arrays()
    with xarray.open_datatree(tmp_path / "r.h5", engine="h5netcdf") as tree:
        assert tree["recordings"].dims == ("recording",) and tree["samples/label"].dims == ("sample",)
        assert tree["sample"].values.tolist() == [9, 4, 5, 8, 1]
        for layer, axes in (("dense", ["neurons"]), ("map", ["neurons", "positions"])):
            found = tree[f"signs/{layer}/sign_sum"]
            assert found.dims == ("sample", *axes)
            np.testing.assert_array_equal(found, signs[layer][0])
            np.testing.assert_array_equal(found.sel(sample=4), signs[layer][0][1])  # by its place in the set
            kept = tree[f"snapshots/{layer}"]
            own = [f"{layer} snapshot_{axis}" for axis in axes]
            assert kept.dims == ("snapshot_recordings", "sample", *own)
            np.testing.assert_allclose(kept, [values[layer] for values in snapshots], rtol=1e-6)
            np.testing.assert_array_equal(kept[own[0]], chosen[layer].snapshot_neurons)


def test_layers_inside_models_have_named_axes_as_well(tmp_path):
    writer = RecordsWriter(tmp_path / "r.h5")
    chosen = select({"core/a": (3,)}, 5, snapshots=Snapshots(neurons=2))
    writer.create(chosen, np.zeros(5), np.arange(5), "float32", {})
    writer.append_snapshot(0, {"core/a": np.ones((5, 2))})
    writer.finish(TABLE, {"core/a": (np.ones((5, 3), int), np.ones((5, 3), int))})
    with xarray.open_datatree(tmp_path / "r.h5", engine="h5netcdf") as tree:
        assert tree["signs/core/a/sign_sum"].dims == ("sample", "neurons")
        assert tree["snapshots/core/a"].dims[:2] == ("snapshot_recordings", "sample")
