"""Checkpoints: one file with all that the rest of a training depends on, whole or not there at all.

Layout: a line that names the format, a line of JSON (the state, and the names of the arrays), the arrays one
after the other as NumPy writes them (``.npy``), and 32 bytes of SHA-256 over all that comes before. Nothing
in it is executed when it is read. Two generations are kept, ``PATH`` and ``PATH.previous``.
"""

import datetime
import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np

from keras_neuronlevel import files

logger = logging.getLogger(__name__)

FORMAT = b"keras_neuronlevel checkpoint 1\n"
_PIECE = 2**24  # bytes that are read and hashed at a time


class CheckpointError(RuntimeError):
    """A checkpoint that is damaged, or that belongs to another training."""


def previous(path: str | os.PathLike) -> Path:
    """Where the generation before the checkpoint at ``path`` is kept."""
    path = Path(path)
    return path.with_name(path.name + ".previous")


def save(path: str | os.PathLike, state: dict, arrays: dict[str, np.ndarray]) -> None:
    """Write a checkpoint; the one before stays until this one was read back, and then as :func:`previous`.

    ``state`` is JSON-able; ``arrays`` are numbers of any shape. The file is written under a temporary name,
    flushed to the disk, read back from there and compared by its checksum, and only then renamed, so that at
    any moment ``path`` is a whole checkpoint. Raises ``OSError``, in one sentence, where it cannot be
    written; what was there before is then as it was.
    """
    path = Path(path)
    try:
        with files.replacing(path) as temporary:
            digest = _write(temporary, state, arrays)
            if digest_of(temporary) != digest:
                raise OSError("it did not read back as it was written")
            _keep_previous(path)
    except OSError as error:
        intact = f"; the one from {_saved_at(path)} is intact" if path.exists() else ""
        cause = error.__cause__ if isinstance(error, files.NoRoomError) else error
        reason = getattr(cause, "strerror", None) or cause
        raise OSError(
            f"the checkpoint {path} could not be written ({reason}){intact}: see to the disk, then run the "
            "same command again to go on"
        ) from error


def _saved_at(path):
    return datetime.datetime.fromtimestamp(path.stat().st_mtime).strftime("%H:%M:%S")


def _write(path, state, arrays):
    """Write the file and flush it to the disk; returns the SHA-256 of what was to be written."""
    with open(path, "wb") as raw:
        file = _Hashing(raw)
        file.write(FORMAT)
        file.write(json.dumps({"state": state, "arrays": list(arrays)}, default=float).encode() + b"\n")
        for values in arrays.values():
            np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)
        raw.write(file.sha256.digest())
        raw.flush()
        os.fsync(raw.fileno())
        if hasattr(os, "posix_fadvise"):  # so that reading back reads the disk and not the memory
            os.posix_fadvise(raw.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return file.sha256.digest()


class _Hashing:
    """A file that hashes what it is given to write."""

    def __init__(self, raw):
        self._raw = raw
        self.sha256 = hashlib.sha256()

    def write(self, data):
        self.sha256.update(data)
        return self._raw.write(data)


def digest_of(path):
    """SHA-256 of a file without its last 32 bytes."""
    left, sha256 = path.stat().st_size - 32, hashlib.sha256()
    with open(path, "rb") as file:
        while left > 0:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise OSError("it is shorter than its size")
            sha256.update(piece)
            left -= len(piece)
    return sha256.digest()


def _keep_previous(path):
    """Keep the present checkpoint under its second name; it keeps the first until it is replaced."""
    if not path.exists():
        return
    older = previous(path)
    older.unlink(missing_ok=True)
    try:
        os.link(path, older)
    except OSError:  # a file system without hard links
        os.replace(path, older)


def load(path: str | os.PathLike) -> tuple[dict, dict[str, np.ndarray]] | None:
    """State and arrays of the newest generation that is whole, or None where there is no checkpoint.

    A damaged one is named in a warning and the one before it taken. Raises :class:`CheckpointError` where
    every one is damaged.
    """
    return next(iter(generations(path)), None)


def generations(path: str | os.PathLike) -> list[tuple[dict, dict[str, np.ndarray]]]:
    """State and arrays of every generation that is whole, the newest first; see :func:`load`."""
    found, problems = [], []
    if _there(path) == [previous(path)]:
        logger.warning(
            "there is no %s; %s, the checkpoint before it, is used (%s)",
            path,
            previous(path),
            how_to_start_anew(path),
        )
    for candidate in _there(path):
        try:
            found.append(_read(candidate))
        except CheckpointError as error:
            problems.append(str(error))
    if problems and not found:
        raise CheckpointError(f"{'; '.join(problems)}: delete what is damaged to start from the beginning")
    for problem in problems:
        logger.warning("%s; the other generation is used", problem)
    return found


def _there(path):
    """The files of every generation that there is, the newest first."""
    return [generation for generation in (Path(path), previous(path)) if generation.exists()]


def _read(path):
    damaged = CheckpointError(f"the checkpoint {path} is damaged (truncated or altered)")
    size = path.stat().st_size
    if size < len(FORMAT) + 32:
        raise damaged
    with open(path, "rb") as file:
        file.seek(size - 32)
        if file.read() != digest_of(path):
            raise damaged
        file.seek(0)
        if file.readline(len(FORMAT)) != FORMAT:
            raise CheckpointError(f"{path} is no checkpoint of this release")
        head = json.loads(file.readline())
        arrays = {name: np.lib.format.read_array(file, allow_pickle=False) for name in head["arrays"]}
    return head["state"], arrays


def how_to_start_anew(path: str | os.PathLike) -> str:
    """What to do so that nothing is taken up, in words."""
    return f"delete {' and '.join(map(str, _there(path)))} to start from the beginning"


def remove(path: str | os.PathLike) -> None:
    """Remove every generation."""
    for generation in _there(path):
        generation.unlink(missing_ok=True)
