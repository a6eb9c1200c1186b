"""Write a records file as training goes: under a temporary name, and one writer at a time."""

import functools
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import keras_neuronlevel
from keras_neuronlevel import checks, files
from keras_neuronlevel.records.layout import (
    AXES,
    RECORDING,
    SCHEMA,
    SCHEMA_VERSION,
    seal,
    sums_dtype,
)
from keras_neuronlevel.records.room import check_room, naming, session, values_size

_writers: weakref.WeakValueDictionary = weakref.WeakValueDictionary()  # of this process, by resolved path


class RecordsWriter:
    """Write one file: ``create``, ``append_snapshot`` as training goes, ``finish`` once.

    From ``create`` to ``finish`` no other process may write the file. Of two writers in one process the
    later one has it; the earlier one is refused, with ``files.InUseError``, where it is used again.

    Every method raises ``OSError``, one sentence, for a fault of HDF5, and ``files.NoRoomError`` for a disk
    without room, before HDF5 finds that out (it may end the process then); what was written stays.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = checks.path("path", path)
        self._key = self.path.resolve()
        self._lock = files.Lock(
            self.path.with_name(f".lock-{self.path.name}"), f"writes {self.path}", "give another path"
        )
        self._partial: Path | None = None

    def create(
        self,
        selections: Mapping[str, Any],
        labels: np.ndarray,
        index: np.ndarray,
        snapshot_dtype: str,
        provenance: Mapping,
        *,
        attributes: Mapping | None = None,
        functions: Mapping[str, str] | None = None,
        expected: tuple[int, int] = (0, 0),
    ) -> None:
        """Start the file.

        Args:
            selections: {layer: object with neurons, positions, map_shape, and snapshot_neurons,
                snapshot_positions}; ``positions`` is None for a dense layer.
            labels, index: of the samples.
            snapshot_dtype: of the pre-activations.
            provenance: a JSON-able dictionary.
            attributes: the file's (loss, dtype).
            functions: the names {layer: φ}.
            expected: the numbers of recordings and snapshots that will come, where known: the disk must have
                room for them now.

        Raises:
            files.InUseError: another process writes this file.
            files.NoRoomError: the whole file will not fit the disk.
            ValueError: an ``index`` that is none.
        """
        index, labels = _whole_index(index), np.asarray(labels)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._begin()
        try:
            self._size_of = functools.partial(
                values_size, selections, len(labels), snapshot_dtype=snapshot_dtype
            )
            head = labels.nbytes + 2 * index.nbytes
            check_room(self.path, head + self._size_of(*expected), "will take")
            with self._session("x", head) as file:
                file.attrs.update(schema=SCHEMA, schema_version=SCHEMA_VERSION)
                file.attrs.update(package_version=keras_neuronlevel.__version__, **(attributes or {}))
                file.attrs["provenance"] = json.dumps(provenance)
                file.attrs["layers"] = json.dumps(list(selections))
                _create_samples(file, labels, index)
                for layer, selection in selections.items():
                    _create_layer(file, layer, selection, len(labels), snapshot_dtype)
                    file[f"signs/{layer}"].attrs["activation"] = (functions or {}).get(layer, "")
        except BaseException:
            partial.unlink(missing_ok=True)
            self._end()
            raise

    def _begin(self) -> Path:
        """Have the file for this writer alone, and remove what earlier ones left of it."""
        former = _writers.get(self._key)
        if former is not None:
            former._lock.release()
        self._lock.acquire()
        _writers[self._key] = self
        for leftover in files.partials(self.path):
            leftover.unlink(missing_ok=True)
        self._partial = files.partial_path(self.path)
        return self._partial

    def check(self) -> None:
        """Raises ``files.InUseError`` where another writer of this process has the file by now, and
        ``ValueError`` where nothing is begun or all is finished."""
        if self._partial is None:
            raise ValueError(f"{self.path} is not being written: it was not begun, or is finished")
        if _writers.get(self._key) is not self:
            raise files.InUseError(
                f"another recorder of this process writes {self.path} by now; give every recorder a path of "
                "its own"
            )

    def append_snapshot(self, recording: int, values: Mapping[str, np.ndarray]) -> None:
        """Add the pre-activations of one recording, {layer: (N, U'[, P'])}."""
        with self._session("r+", self._size_of(0, 1)) as file:
            _append(file["snapshot_recordings"], recording)
            for layer, p in values.items():
                _append(file[f"snapshots/{layer}"], p)

    def snapshots(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """What was appended so far: the recordings (S,), and {layer: (S, N, U'[, P'])}."""
        self.check()
        with h5py.File(self._partial, "r") as file:
            layers = json.loads(file.attrs["layers"])
            return file["snapshot_recordings"][()], {name: file[f"snapshots/{name}"][()] for name in layers}

    def finish(
        self,
        recordings: Sequence[tuple],
        signs: Mapping[str, tuple],
        provenance: Mapping | None = None,
        attributes: Mapping | None = None,
    ) -> None:
        """Add the table (T,) and the signs {layer: (sign_sum, nonzero)}, and give the file its name.

        ``provenance`` replaces that from the beginning, where it has grown since; ``attributes`` are the
        file's further ones. Where the disk has no room this can be called again.
        """
        with self._session("r+", self._size_of(len(recordings), 0)) as file:
            if provenance is not None:
                file.attrs["provenance"] = json.dumps(provenance)
            file.attrs.update(attributes or {})
            file.create_dataset("recordings", data=np.asarray(recordings, RECORDING), fletcher32=True)
            file.create_dataset("recording", data=np.arange(len(recordings)), fletcher32=True)
            file["recording"].make_scale("recording")
            _name_axes(file["recordings"], file["recording"])
            for layer in signs:
                _add_signs(file, layer, signs[layer], sums_dtype(len(recordings)))
            partial = Path(file.filename)
        with naming(partial):
            seal(partial)
            os.replace(partial, self.path)
        self._end()

    def _end(self):
        self._partial = None
        if _writers.get(self._key) is self:
            del _writers[self._key]
        self._lock.release()

    def _session(self, mode, size):
        """The partial file, open to write at most ``size`` bytes of values."""
        self.check()
        return session(self._partial, self.path, mode, size)


def _create_samples(file, labels, index):
    file.create_dataset("samples/index", data=index, fletcher32=True)
    file.create_dataset("samples/label", data=labels, fletcher32=True)
    file.create_dataset("snapshot_recordings", (0,), "i8", maxshape=(None,), fletcher32=True)
    file.create_dataset("sample", data=index, fletcher32=True)
    file["sample"].make_scale("sample")
    file["snapshot_recordings"].make_scale("snapshot")
    for name in ("index", "label"):
        _name_axes(file[f"samples/{name}"], file["sample"])


def _add_signs(file, layer, pair, dtype):
    group = file[f"signs/{layer}"]
    axes = [group[axis] for axis in ("neurons", "positions") if axis in group]
    for name, values in zip(("sign_sum", "nonzero"), pair, strict=True):
        values = np.asarray(values).astype(dtype, casting="same_kind", copy=False)
        options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        dataset = group.create_dataset(name, data=values, fletcher32=True, **options)
        _name_axes(dataset, file["sample"], *axes)


def _whole_index(index):
    index = np.asarray(index)
    if index.ndim != 1 or index.dtype.kind not in "iu" or (index < 0).any():
        raise ValueError(f"sample_index is {index!r}; give one whole number at least 0 for each sample")
    return index.astype(np.int64)


def _create_layer(file, layer, selection, samples, snapshot_dtype):
    signs = file.create_group(f"signs/{layer}")
    signs.create_dataset("neurons", data=selection.neurons, fletcher32=True)
    signs.create_dataset("snapshot_neurons", data=selection.snapshot_neurons, fletcher32=True)
    shape = (samples, len(selection.snapshot_neurons))
    if selection.positions is not None:
        signs.attrs["map_shape"] = selection.map_shape
        signs.create_dataset("positions", data=selection.positions, fletcher32=True)
        signs.create_dataset("snapshot_positions", data=selection.snapshot_positions, fletcher32=True)
        shape += (len(selection.snapshot_positions),)
    for axis, name in AXES.items():
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
        fletcher32=True,
    )
    axes = []
    for axis in ("snapshot_neurons", "snapshot_positions"):
        if axis in signs:  # a scale must stand beside what it names, or above
            scale = file.create_dataset(f"snapshots/{layer} {axis}", data=signs[axis])
            scale.make_scale(AXES[axis])
            axes.append(scale)
    _name_axes(dataset, file["snapshot_recordings"], file["sample"], *axes)


def _name_axes(dataset, *scales):
    for axis, scale in zip(dataset.dims, scales, strict=True):
        axis.attach_scale(scale)
        axis.label = scale.attrs["NAME"].decode()


def _append(dataset, value):
    dataset.resize(len(dataset) + 1, axis=0)
    dataset[-1] = value
