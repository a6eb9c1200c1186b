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

The first 512 bytes, which HDF5 leaves to its users, hold one line that names the format and the SHA-256 of
all that follows. It is compared before HDF5 reads anything, because one damaged byte can change numbers, hang
or end the process there. Every dataset in chunks has HDF5's own checksum (fletcher32) beside. The checksums
find damage; a file that someone made in order to deceive has right ones.
"""

import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

import keras_neuronlevel
from keras_neuronlevel.statistics import average_sign

logger = logging.getLogger(__name__)

SCHEMA = "keras_neuronlevel/records"
SCHEMA_VERSION = 1
RECORDING = np.dtype([("step", "i8"), ("epoch", "i4"), ("batch", "i4"), ("loss", "f8"), ("accuracy", "f8")])

USER_BLOCK = 512  # bytes
_FORMAT = b"keras_neuronlevel records; sha256 of what follows byte 512: "
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how a file of an earlier release begins, which has no user block
_SLACK = 2**17  # bytes that HDF5 may need beside the values
_INFLATES = 1100  # deflate makes at most so many bytes of one
_FAULTS = (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, UnicodeError, MemoryError)

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
        if self._partial.is_symlink():
            raise ValueError(
                f"{self._partial} is a symbolic link; remove it, so that no other file is overwritten"
            )
        index = _whole_index(index)
        with self._session("w", np.asarray(labels).nbytes + index.nbytes) as file:
            file.attrs.update(schema=SCHEMA, schema_version=SCHEMA_VERSION)
            file.attrs.update(package_version=keras_neuronlevel.__version__, **(attributes or {}))
            file.attrs["provenance"] = json.dumps(provenance)
            file.create_dataset("samples/index", data=index, fletcher32=True)
            file.create_dataset("samples/label", data=np.asarray(labels), fletcher32=True)
            file.create_dataset("snapshot_recordings", (0,), "i8", maxshape=(None,), fletcher32=True)
            file.create_dataset("sample", data=index, fletcher32=True)
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
        with self._session("r+", sum(np.asarray(p).nbytes for p in values.values())) as file:
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
        size = sum(np.asarray(values).nbytes for pair in signs.values() for values in pair)
        with self._session("r+", size) as file:
            if provenance is not None:
                file.attrs["provenance"] = json.dumps(provenance)
            file.create_dataset("recordings", data=np.asarray(recordings, RECORDING), fletcher32=True)
            file.create_dataset("recording", data=np.arange(len(recordings)), fletcher32=True)
            file["recording"].make_scale("recording")
            _name_axes(file["recordings"], file["recording"])
            for layer, (sign_sum, nonzero) in signs.items():
                for name, values in (("sign_sum", sign_sum), ("nonzero", nonzero)):
                    group = file[f"signs/{layer}"]
                    options = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
                    dataset = group.create_dataset(name, data=values, fletcher32=True, **options)
                    axes = [group[axis] for axis in ("neurons", "positions") if axis in group]
                    _name_axes(dataset, file["sample"], *axes)
        seal(self._partial)
        os.replace(self._partial, self.path)

    @contextlib.contextmanager
    def _session(self, mode: str, size: int) -> Iterator[h5py.File]:
        """The partial file, open to write at most ``size`` bytes of values.

        Room is asked for beforehand, since HDF5 may end the process where the disk is full. Raises
        ``OSError``, one sentence, for a full disk and for every fault of HDF5.
        """
        free = shutil.disk_usage(self.path.parent).free
        if free < size + _SLACK:
            raise OSError(
                errno.ENOSPC,
                f"{self.path} needs up to {(size + _SLACK) / 2**20:.1f} MiB more and its disk has "
                f"{free / 2**20:.1f} MiB left; make room",
            )
        options = {"userblock_size": USER_BLOCK} if mode == "w" else {}
        try:
            with h5py.File(self._partial, mode, **options) as file:
                yield file
        except (OSError, RuntimeError) as error:
            raise OSError(f"{self._partial} could not be written: {error}") from error


def seal(path: str | os.PathLike) -> None:
    """Write the checksum of a records file into its user block, and flush the file to the disk."""
    with open(path, "r+b") as file:
        block = _user_block(file)
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _user_block(file):
    """What the user block of an open file has to be, by the bytes that follow it."""
    file.seek(USER_BLOCK)
    digest = hashlib.file_digest(file, "sha256").hexdigest().encode()
    return (_FORMAT + digest + b"\n").ljust(USER_BLOCK, b"\0")


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
        fletcher32=True,
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

    Use it as a context manager, or ``close()`` it. Opening reads the whole file once to compare its checksum
    (about a second for a GiB); ``verify=False`` saves that, and then damage may change numbers without a word
    or end the process. A file of an earlier release has no checksum and is read with a warning.

    Raises ``RecordsError``, naming the file, where there is none, where it is unfinished (the training was
    interrupted, or still runs), damaged, or no records file.
    """

    def __init__(self, path: str | os.PathLike, *, verify: bool = True):
        self.path = Path(path)
        self._file = _open(self.path, verify)
        try:
            with self._named():
                self.layers = json.loads(self._file.attrs["layers"])
                self.labels = self._file["samples/label"][()]
                self.sample_index = self._file["samples/index"][()]
                self.recordings = self._file["recordings"][()]
                self.snapshot_recordings = self._file["snapshot_recordings"][()]
                self.provenance = json.loads(self._file.attrs["provenance"])
            self._check_moments()
        except BaseException:
            self._file.close()
            raise

    def _check_moments(self):
        moments = self.snapshot_recordings
        if not (np.diff(moments, prepend=-1) > 0).all() or (moments >= len(self.recordings)).any():
            raise RecordsError(
                f"{self.path} is damaged: its snapshots are of recordings {moments.tolist()}, which do not "
                f"ascend within 0 to {len(self.recordings) - 1}"
            )

    @contextlib.contextmanager
    def _named(self):
        """Whatever HDF5 cannot read in the block is a ``RecordsError`` that names the file."""
        try:
            yield
        except (*_FAULTS, RecursionError) as error:
            raise RecordsError(f"{self.path} is damaged: {str(error) or type(error).__name__}") from error

    def _read(self, layer, part):
        signs = self._signs(layer)
        with self._named():
            return (self._file[f"snapshots/{layer}"] if part == "snapshots" else signs[part])[()]

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
        return self._read(layer, "neurons")

    def positions(self, layer):
        """Which positions of the feature map were recorded, (P,), or None for a dense layer."""
        return self._positions(layer, "positions")

    def _positions(self, layer, name):
        return self._read(layer, name) if name in self._signs(layer) else None

    def sign_sum(self, layer):
        """Sum over recordings of sign(∂L/∂a), integer (N, U[, P])."""
        return self._read(layer, "sign_sum")

    def nonzero(self, layer):
        """Number of recordings in which ∂L/∂a was not exactly zero, integer (N, U[, P])."""
        nonzero = self._read(layer, "nonzero")
        if (nonzero < 0).any() or (nonzero > len(self.recordings)).any():
            raise RecordsError(
                f"{self.path} is damaged: derivatives of {layer} are nonzero in more than its "
                f"{len(self.recordings)} recordings, or in fewer than none"
            )
        return nonzero

    def average_sign(self, layer):
        """s, float32 (N, U[, P]) in [-1, 1], NaN where every recording was zero (E §3)."""
        sign_sum, nonzero = self.sign_sum(layer), self.nonzero(layer)
        if (np.abs(sign_sum) > nonzero).any():
            raise RecordsError(f"{self.path} is damaged: {layer} has sums of more signs than were not zero")
        return average_sign(sign_sum, nonzero)

    def snapshots(self, layer):
        """Pre-activations at ``snapshot_recordings``, (S, N, U'[, P'])."""
        return self._read(layer, "snapshots")

    def snapshot_average_sign(self, layer):
        """s of the neurons and positions that the snapshots hold, (N, U'[, P'])."""
        s = self.average_sign(layer)[:, np.searchsorted(self.neurons(layer), self.snapshot_neurons(layer))]
        if self.positions(layer) is None:
            return s
        return s[..., np.searchsorted(self.positions(layer), self.snapshot_positions(layer))]

    def snapshot_neurons(self, layer):
        """Which of the layer's units the snapshots hold, (U',)."""
        return self._read(layer, "snapshot_neurons")

    def snapshot_positions(self, layer):
        """Which positions of the feature map the snapshots hold, (P',), or None for a dense layer."""
        return self._positions(layer, "snapshot_positions")


def _open(path, verify):
    if not path.exists():
        if partial_path(path).exists():
            raise RecordsError(
                f"{path} is unfinished: only {partial_path(path).name} is there. The training still runs, "
                "or it was interrupted: call the recorder's finish() where it is still at hand, which "
                "writes all that was recorded so far, or run the training again to its end"
            )
        raise RecordsError(f"there is no records file at {path}")
    if not path.is_file():
        raise RecordsError(f"{path} is no regular file; give the .h5 file of a recording")
    try:
        problem = _damage(path, verify)
    except OSError as error:
        raise RecordsError(f"{path} is not a readable HDF5 file: {error}") from None
    if problem:
        raise RecordsError(f"{path} {problem}")
    try:
        file = h5py.File(path, "r")
    except _FAULTS as error:
        raise RecordsError(f"{path} is not a readable HDF5 file: {error}") from None
    try:
        problem = _problem(file)
    except (*_FAULTS, RecursionError) as error:
        problem = f"is damaged: {str(error) or type(error).__name__}"
    if problem:
        file.close()
        raise RecordsError(f"{path} {problem}")
    return file


def _damage(path, verify):
    """What the first bytes and the checksum say against a file, in words, or None; HDF5 has no part in it."""
    with open(path, "rb") as file:
        head = file.read(USER_BLOCK)
        if head.startswith(_HDF5):
            logger.warning(
                "%s has no checksum, as recordings of earlier releases: damage to it may stay unseen", path
            )
            return None
        if head == bytes(USER_BLOCK):
            return "is unfinished: its checksum was never written; run the training again to the end"
        if not head.startswith(_FORMAT):
            return "is not a readable HDF5 file of recordings: it begins with other bytes than one"
        if verify and head != _user_block(file):
            return (
                "is damaged, or was altered or cut since it was written: its checksum is another; restore it "
                "from a copy, or record it again"
            )
    return None


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
    foreign = next(_foreign(file), None)
    if foreign:
        return f"is damaged or made up: {foreign}"
    layers = json.loads(file.attrs.get("layers", "[]"))
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        return "is damaged: its layers are no list of names"
    parts = ["samples/index", "samples/label", "snapshot_recordings"]
    for layer in layers:
        signs = (f"signs/{layer}/{part}" for part in ("sign_sum", "nonzero", "neurons", "snapshot_neurons"))
        parts += [*signs, f"snapshots/{layer}"]
    missing = [part for part in parts if part not in file]
    if missing or not layers or "provenance" not in file.attrs:
        return f"is damaged: it lacks {', '.join(missing) or 'its layers or provenance'}; record it again"
    return next(_misfits(file, layers), None)


def _foreign(group, depth=0):
    """What a records file never has: links, values kept elsewhere, values that are not there."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield f"{name} is a link to elsewhere"
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _foreign(item, depth + 1) if depth < 64 else ["its groups are nested too deeply"]
        elif item.is_virtual or item.external:
            yield f"{item.name} has its values in another file"
        elif not _present(item):
            yield f"{item.name} claims more values than the file holds"


def _present(dataset):
    """Whether all values of a dataset are in the file: chunks that are missing would be read as zeros."""
    stored = dataset.id.get_storage_size()
    if dataset.chunks is None:
        return dataset.nbytes <= stored
    shape = dataset.shape
    pieces = zip(shape, dataset.chunks, strict=True)
    chunks = math.prod(-(-size // chunk) for size, chunk in pieces)
    inflates = _INFLATES if dataset.compression else 1
    most = dataset.nbytes <= stored * inflates
    return most and (not dataset.nbytes or dataset.id.get_num_chunks() == chunks)


def _misfits(file, layers):
    """Sizes and types that contradict one another."""
    table, index = file["recordings"], file["samples/index"]
    samples, moments = len(index), len(file["snapshot_recordings"])
    if table.dtype != RECORDING or table.ndim != 1 or not len(table):
        yield f"is damaged: its table of recordings has type {table.dtype} and shape {table.shape}"
    wanted = {
        "samples/index": (samples,),
        "samples/label": (samples, *file["samples/label"].shape[1:]),
        "snapshot_recordings": (moments,),
    }
    for layer in layers:
        signs = file[f"signs/{layer}"]
        sizes = {name: len(signs[name]) for name in _AXES if name in signs}
        wanted |= {f"signs/{layer}/{name}": (size,) for name, size in sizes.items()}
        places = ("positions", "snapshot_positions") if "positions" in signs else (None, None)
        kept, shown = ((sizes[name],) if name else () for name in places)
        for part in ("sign_sum", "nonzero"):
            wanted[f"signs/{layer}/{part}"] = (samples, sizes["neurons"], *kept)
        wanted[f"snapshots/{layer}"] = (moments, samples, sizes["snapshot_neurons"], *shown)
    for name, shape in wanted.items():
        kinds = "biuf" if name == "samples/label" else "f" if name.startswith("snapshots/") else "iu"
        found = file[name]
        if found.shape != shape or found.dtype.kind not in kinds:
            yield (
                f"is damaged: {name} has shape {found.shape} and type {found.dtype}, where the rest of the "
                f"file wants shape {shape}"
            )
