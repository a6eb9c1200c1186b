"""The file of one network's recordings: HDF5, written to a temporary name and renamed when complete.

Schema, version 1 (T recordings, S snapshots, N samples, U recorded neurons, P recorded positions)::

    /                       attributes: schema, schema_version, package_version, layers (JSON list, from
                            input to output), loss (its name), dtype (in which the model computes),
                            provenance (JSON)
    recordings              (T,) table: step, epoch, batch, loss, accuracy (of the recorded samples)
    samples/index           (N,) the samples' places in the training set
    samples/label           (N,) their labels
    signs/<layer>/sign_sum  (N, U) or (N, U, P): sum over recordings of sign(∂L/∂a)
    signs/<layer>/nonzero   the same shape: number of recordings in which ∂L/∂a was not exactly zero
    snapshots/<layer>       (S, N, U') or (S, N, U', P'): pre-activations of some of the neurons
    snapshot_recordings     (S,) the recordings, 0 to T - 1, at which the snapshots were taken

Beside ``sign_sum`` stand ``neurons`` (U,) and ``snapshot_neurons`` (U',): which of the layer's units were
kept; for feature maps also ``positions`` (P,) and ``snapshot_positions`` (P',), row-major places in the
map, and the attribute ``map_shape``. The attribute ``activation`` names the layer's function φ.

Axes have the labels sample, neuron, position, snapshot and recording, and HDF5 dimension scales: ``sample``
(N,), ``recording`` (T,) and ``snapshot_recordings``, a layer's ``neurons`` and ``positions``, and for its
snapshots copies of theirs, ``<layer> snapshot_neurons`` and ``<layer> snapshot_positions``, because netCDF
looks for scales in a data set's own group and those above. ``xarray.open_datatree(path, engine="h5netcdf")``
shows axes by the names of their scales.
"""

import json
import os
from pathlib import Path

import h5py
import numpy as np

import keras_neuronlevel
from keras_neuronlevel.statistics import average_sign

SCHEMA = "keras_neuronlevel/records"
SCHEMA_VERSION = 1
RECORDING = np.dtype([("step", "i8"), ("epoch", "i4"), ("batch", "i4"), ("loss", "f8"), ("accuracy", "f8")])


_AXES = {
    "neurons": "neuron",
    "positions": "position",
    "snapshot_neurons": "snapshot_neuron",
    "snapshot_positions": "snapshot_position",
}


class RecordsError(RuntimeError):
    """A records file that is missing, unfinished, foreign or damaged."""


def partial_path(path):
    """The temporary name under which the file at ``path`` is written."""
    path = Path(path)
    return path.with_name(path.name + ".partial")


class RecordsWriter:
    """Write one file: ``create``, ``append_snapshot`` as training goes, ``finish`` once."""

    def __init__(self, path):
        self.path = Path(path)
        self._partial = partial_path(path)

    def create(
        self, selections, labels, index, snapshot_dtype, provenance, *, attributes=None, functions=None
    ):
        """Start the file. ``selections`` is {layer: object with neurons, positions, map_shape, and
        snapshot_neurons, snapshot_positions}; ``positions`` is None for a dense layer. ``attributes`` are the
        file's (loss, dtype), ``functions`` the names {layer: φ}."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(self._partial, "w") as file:
            file.attrs.update(schema=SCHEMA, schema_version=SCHEMA_VERSION)
            file.attrs.update(package_version=keras_neuronlevel.__version__, **(attributes or {}))
            file.attrs["provenance"] = json.dumps(provenance)
            file["samples/index"] = np.asarray(index, np.int64)
            file["samples/label"] = np.asarray(labels)
            file.create_dataset("snapshot_recordings", (0,), "i8", maxshape=(None,))
            file["sample"] = np.asarray(index, np.int64)
            file["sample"].make_scale("sample")
            file["snapshot_recordings"].make_scale("snapshot")
            for name in ("index", "label"):
                _name_axes(file[f"samples/{name}"], file["sample"])
            file.attrs["layers"] = json.dumps(list(selections))
            for layer, selection in selections.items():
                _create_layer(file, layer, selection, len(labels), snapshot_dtype)
                file[f"signs/{layer}"].attrs["activation"] = (functions or {}).get(layer, "")

    def append_snapshot(self, recording, values):
        """Add the pre-activations of one recording, {layer: (N, U'[, P'])}."""
        with h5py.File(self._partial, "r+") as file:
            _append(file["snapshot_recordings"], recording)
            for layer, p in values.items():
                _append(file[f"snapshots/{layer}"], p)

    def snapshots(self):
        """What was appended so far: the recordings (S,), and {layer: (S, N, U'[, P'])}."""
        with h5py.File(self._partial, "r") as file:
            layers = json.loads(file.attrs["layers"])
            return file["snapshot_recordings"][()], {name: file[f"snapshots/{name}"][()] for name in layers}

    def finish(self, recordings, signs, provenance=None):
        """Add the table (T,) and the signs {layer: (sign_sum, nonzero)}, and give the file its name.

        ``provenance`` replaces that from the beginning, where it has grown since.
        """
        with h5py.File(self._partial, "r+") as file:
            if provenance is not None:
                file.attrs["provenance"] = json.dumps(provenance)
            file["recordings"] = np.asarray(recordings, RECORDING)
            file["recording"] = np.arange(len(recordings))
            file["recording"].make_scale("recording")
            _name_axes(file["recordings"], file["recording"])
            for layer, (sign_sum, nonzero) in signs.items():
                for name, values in (("sign_sum", sign_sum), ("nonzero", nonzero)):
                    group = file[f"signs/{layer}"]
                    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
                    dataset = group.create_dataset(name, data=values, **options)
                    axes = [group[axis] for axis in ("neurons", "positions") if axis in group]
                    _name_axes(dataset, file["sample"], *axes)
        with open(self._partial, "rb") as file:
            os.fsync(file.fileno())
        os.replace(self._partial, self.path)


def _create_layer(file, layer, selection, samples, snapshot_dtype):
    signs = file.create_group(f"signs/{layer}")
    signs["neurons"] = selection.neurons
    signs["snapshot_neurons"] = selection.snapshot_neurons
    shape = (samples, len(selection.snapshot_neurons))
    if selection.positions is not None:
        signs.attrs["map_shape"] = selection.map_shape
        signs["positions"] = selection.positions
        signs["snapshot_positions"] = selection.snapshot_positions
        shape += (len(selection.snapshot_positions),)
    for axis, name in _AXES.items():
        if axis in signs:
            signs[axis].make_scale(name)
    dataset = file.create_dataset(
        f"snapshots/{layer}",
        (0, *shape),
        snapshot_dtype,
        maxshape=(None, *shape),
        chunks=(1, *shape),
        compression="gzip",
        compression_opts=1,
        shuffle=True,
    )
    axes = []
    for axis in ("snapshot_neurons", "snapshot_positions"):
        if axis in signs:  # a scale must stand beside what it names, or above
            scale = file.create_dataset(f"snapshots/{layer} {axis}", data=signs[axis])
            scale.make_scale(_AXES[axis])
            axes.append(scale)
    _name_axes(dataset, file["snapshot_recordings"], file["sample"], *axes)


def _name_axes(dataset, *scales):
    for axis, scale in zip(dataset.dims, scales, strict=True):
        axis.attach_scale(scale)
        axis.label = scale.attrs["NAME"].decode()


def _append(dataset, value):
    dataset.resize(len(dataset) + 1, axis=0)
    dataset[-1] = value


class Records:
    """Read a records file lazily: arrays come from the disk when asked for.

    Use it as a context manager, or ``close()`` it. Raises ``RecordsError`` where there is no file, where
    it is unfinished (the training was interrupted, or still runs), or where it is no records file.
    """

    def __init__(self, path):
        self.path = Path(path)
        self._file = _open(self.path)
        self.layers = json.loads(self._file.attrs["layers"])
        self.labels = self._file["samples/label"][()]
        self.sample_index = self._file["samples/index"][()]
        self.recordings = self._file["recordings"][()]
        self.snapshot_recordings = self._file["snapshot_recordings"][()]
        self.provenance = json.loads(self._file.attrs["provenance"])

    def __repr__(self):
        if not self._file:
            return f"<Records {self.path}, closed>"
        return (
            f"<Records {self.path}: {len(self.recordings)} recordings of {len(self.labels)} samples, layers "
            f"{', '.join(self.layers)}>"
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self):
        self._file.close()

    def _signs(self, layer):
        if not self._file:
            raise RecordsError(f"{self.path} was closed; open it again with Records({str(self.path)!r})")
        if layer not in self._file["signs"]:
            raise RecordsError(f"{self.path} holds no layer {layer!r}; it holds {', '.join(self.layers)}")
        return self._file[f"signs/{layer}"]

    def neurons(self, layer):
        """Which of the layer's units were recorded, (U,)."""
        return self._signs(layer)["neurons"][()]

    def positions(self, layer):
        """Which positions of the feature map were recorded, (P,), or None for a dense layer."""
        return self._positions(layer, "positions")

    def _positions(self, layer, name):
        signs = self._signs(layer)
        return signs[name][()] if name in signs else None

    def sign_sum(self, layer):
        """Sum over recordings of sign(∂L/∂a), integer (N, U[, P])."""
        return self._signs(layer)["sign_sum"][()]

    def nonzero(self, layer):
        """Number of recordings in which ∂L/∂a was not exactly zero, integer (N, U[, P])."""
        return self._signs(layer)["nonzero"][()]

    def average_sign(self, layer):
        """s, float32 (N, U[, P]) in [-1, 1], NaN where every recording was zero (E §3)."""
        return average_sign(self.sign_sum(layer), self.nonzero(layer))

    def snapshots(self, layer):
        """Pre-activations at ``snapshot_recordings``, (S, N, U'[, P'])."""
        self._signs(layer)
        return self._file[f"snapshots/{layer}"][()]

    def snapshot_average_sign(self, layer):
        """s of the neurons and positions that the snapshots hold, (N, U'[, P'])."""
        s = self.average_sign(layer)[:, np.searchsorted(self.neurons(layer), self.snapshot_neurons(layer))]
        if self.positions(layer) is None:
            return s
        return s[..., np.searchsorted(self.positions(layer), self.snapshot_positions(layer))]

    def snapshot_neurons(self, layer):
        """Which of the layer's units the snapshots hold, (U',)."""
        return self._signs(layer)["snapshot_neurons"][()]

    def snapshot_positions(self, layer):
        """Which positions of the feature map the snapshots hold, (P',), or None for a dense layer."""
        return self._positions(layer, "snapshot_positions")


def _open(path):
    if not path.exists():
        if partial_path(path).exists():
            raise RecordsError(
                f"{path} is unfinished: only {partial_path(path).name} is there. The training still runs, "
                "or it was interrupted: call the recorder's finish() where it is still at hand, which "
                "writes all that was recorded so far, or run the training again to its end"
            )
        raise RecordsError(f"there is no records file at {path}")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise RecordsError(f"{path} is not a readable HDF5 file: {error}") from None
    problem = _problem(file)
    if problem:
        file.close()
        raise RecordsError(f"{path} {problem}")
    return file


def _problem(file):
    if file.attrs.get("schema") != SCHEMA:
        return "is an HDF5 file, but not one of keras_neuronlevel's recordings"
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        return (
            f"has schema version {version}; this release reads version {SCHEMA_VERSION}: "
            "record it again, or use the release that wrote it"
        )
    if "recordings" not in file:
        return "is unfinished: it has no table of recordings; run the training again to the end"
    layers = json.loads(file.attrs.get("layers", "[]"))
    parts = ["samples/index", "samples/label", "snapshot_recordings"]
    for layer in layers:
        signs = (f"signs/{layer}/{part}" for part in ("sign_sum", "nonzero", "neurons", "snapshot_neurons"))
        parts += [*signs, f"snapshots/{layer}"]
    missing = [part for part in parts if part not in file]
    if missing or not layers or "provenance" not in file.attrs:
        return f"is damaged: it lacks {', '.join(missing) or 'its layers or provenance'}; record it again"
    return None
