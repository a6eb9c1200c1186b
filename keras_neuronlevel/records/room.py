"""The room that a records file takes on its disk, asked for before HDF5 could find that there is none."""

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from keras_neuronlevel import files
from keras_neuronlevel.records.layout import RECORDING, USER_BLOCK, sums_dtype

SLACK = 2**17  # bytes that HDF5 may need beside the values


def values_size(
    selections: Mapping, samples: int, recordings: int, snapshots: int, snapshot_dtype: str
) -> int:
    """Bytes of all values of a file with so many ``recordings`` and ``snapshots``, before compression."""
    pairs = sum(_places(s.neurons, s.positions) for s in selections.values())
    shown = sum(_places(s.snapshot_neurons, s.snapshot_positions) for s in selections.values())
    sums = 2 * pairs * np.dtype(sums_dtype(recordings)).itemsize
    snapshot = shown * np.dtype(snapshot_dtype).itemsize
    return samples * (sums + snapshots * snapshot) + recordings * (RECORDING.itemsize + 8)


def _places(neurons, positions):
    return len(neurons) * (1 if positions is None else len(positions))


@contextlib.contextmanager
def session(partial: Path, path: Path, mode: str, size: int) -> Iterator[h5py.File]:
    """The file ``partial``, which will be ``path``, open to write at most ``size`` bytes of values.

    Raises ``files.NoRoomError``, before HDF5 could (it may end the process), and ``OSError`` for its faults.
    """
    check_room(path, size, "needs")
    if mode != "x":
        with naming(partial), open(partial, "r+b") as reserved:  # HDF5 takes it, and gives back what is left
            reserve(reserved, path, size + SLACK)
    options = {"userblock_size": USER_BLOCK} if mode == "x" else {}
    with naming(partial), h5py.File(partial, mode, **options) as file:
        yield file


def check_room(path: Path, size: int, takes: str) -> None:
    """Raises ``files.NoRoomError`` where the disk of ``path`` has fewer bytes left; ``takes`` is the verb."""
    free = shutil.disk_usage(path.parent).free
    if free < size + SLACK:
        raise files.NoRoomError(
            f"{path} {takes} up to {(size + SLACK) / 2**20:.1f} MiB more, and the disk of "
            f"{path.parent.resolve()} has {free / 2**20:.1f} MiB left; make room, or record less (fewer "
            "samples, neurons, positions or snapshots)"
        )


def reserve(file, path: Path, size: int) -> None:
    """Have the disk set ``size`` bytes aside at the end of an open file: so no other process takes them
    meanwhile, and a quota is seen. Raises ``files.NoRoomError`` about ``path`` where it has none."""
    if not hasattr(os, "posix_fallocate"):
        return
    end = os.fstat(file.fileno()).st_size
    try:
        os.posix_fallocate(file.fileno(), end, size)
    except OSError as error:
        file.truncate(end)
        if error.errno in files.FULL:
            raise files.NoRoomError(
                f"{path} needs up to {size / 2**20:.1f} MiB more than its disk has left; make room"
            ) from error


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Whatever cannot be written in the block is an ``OSError`` that names the file."""
    try:
        yield
    except files.NoRoomError:
        raise
    except (OSError, RuntimeError) as error:
        raise OSError(f"{path} could not be written: {error}") from error
