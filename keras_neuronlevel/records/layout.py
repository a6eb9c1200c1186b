"""What a records file is made of: names, types, and the checksum before everything else."""

import hashlib
import os

import numpy as np

SCHEMA = "keras_neuronlevel/records"
SCHEMA_VERSION = 1
RECORDING = np.dtype([("step", "i8"), ("epoch", "i4"), ("batch", "i4"), ("loss", "f8"), ("accuracy", "f8")])
AXES = {
    "neurons": "neuron",
    "positions": "position",
    "snapshot_neurons": "snapshot_neuron",
    "snapshot_positions": "snapshot_position",
}

USER_BLOCK = 512  # bytes
FORMAT = b"keras_neuronlevel records; sha256 of what follows byte 512: "


def sums_dtype(recordings: int) -> type:
    """The integers that hold a sum of so many signs: int16 up to 32,767 recordings, int32 beyond."""
    return np.int16 if recordings <= np.iinfo(np.int16).max else np.int32


class RecordsError(RuntimeError):
    """A records file that is missing, unfinished, foreign or damaged."""


def seal(path: str | os.PathLike) -> None:
    """Write the checksum of a records file into its user block, and flush the file to the disk."""
    with open(path, "r+b") as file:
        block = user_block(file)
        file.seek(0)
        file.write(block)
        file.flush()
        os.fsync(file.fileno())


def user_block(file):
    """What the user block of an open file has to be, by the bytes that follow it."""
    file.seek(USER_BLOCK)
    digest = hashlib.file_digest(file, "sha256").hexdigest().encode()
    return (FORMAT + digest + b"\n").ljust(USER_BLOCK, b"\0")
