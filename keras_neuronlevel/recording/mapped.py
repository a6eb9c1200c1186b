"""Accumulators beyond the memory budget: arrays in a file that the system maps into memory."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_neuronlevel.records.room import check_room, reserve


def mapped_zeros(path: Path, shapes: Sequence[Mapping[str, tuple]], dtype) -> list[dict[str, np.ndarray]]:
    """Zeros of the given shapes, [{name: shape}, ...], that live in a file beside ``path``.

    The file has no name, so that nothing is left of it when the arrays are let go, nor when the process is
    killed. Its room is set aside at once.

    Raises:
        files.NoRoomError: the disk of ``path`` has no room for it.
    """
    dtype = np.dtype(dtype)
    sizes = [int(np.prod(shape)) * dtype.itemsize for batch in shapes for shape in batch.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    check_room(path, sum(sizes), "has accumulators beyond its memory budget, whose file will take")
    with tempfile.TemporaryFile(dir=path.parent) as file:
        reserve(file, path, sum(sizes))
        file.truncate(sum(sizes))
        whole = np.asarray(np.memmap(file, dtype, "r+"))
    ends = np.cumsum([size // dtype.itemsize for size in sizes])
    parts = iter(np.split(whole, ends[:-1]))
    return [{name: next(parts).reshape(shape) for name, shape in batch.items()} for batch in shapes]
