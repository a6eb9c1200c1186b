"""Reader for the IDX files in which MNIST and Fashion-MNIST were published.

An IDX file of unsigned bytes is: two zero bytes, the type 0x08, the number of dimensions, each
dimension as a big-endian 32-bit integer, then the bytes themselves, last dimension fastest.
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from keras_neuronlevel.data.arrays import Arrays
from keras_neuronlevel.data.specs import DataError, Spec

_STEMS = (
    ("train-images", 3),
    ("train-labels", 1),
    ("t10k-images", 3),
    ("t10k-labels", 1),
)


def read_folder(folder: Path | str, spec: Spec) -> Arrays:
    """Read the four IDX files of `folder`, plain or gzipped, as `Arrays` of `spec`'s sizes.

    Raises:
        FileNotFoundError: `folder` holds none of the four files.
        DataError: one is missing, damaged, or of another size.
    """
    paths = [_find(Path(folder), stem, ndim) for stem, ndim in _STEMS]
    if not any(paths):
        raise FileNotFoundError(f"no IDX files such as train-images-idx3-ubyte in {folder}")
    for path, (stem, ndim) in zip(paths, _STEMS, strict=True):
        if path is None:
            raise DataError(f"{folder} lacks the file {stem}-idx{ndim}-ubyte")
    height, width, _ = spec.image_shape
    shapes = [
        (spec.n_train, height, width),
        (spec.n_train,),
        (spec.n_test, height, width),
        (spec.n_test,),
    ]
    x_train, y_train, x_test, y_test = map(read_idx, paths, shapes)
    return Arrays(x_train[..., np.newaxis], y_train, x_test[..., np.newaxis], y_test)


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read one IDX file of unsigned bytes that must hold exactly an array of `shape`; uint8.

    Raises:
        DataError: wrong magic number, dimensions or length, or a damaged gzip file.
    """
    magic = bytes([0, 0, 8, len(shape)])
    start = len(magic) + 4 * len(shape)
    raw = _read(path, start + math.prod(shape) + 1)
    if raw[:4] != magic:
        raise DataError(
            f"{path} is not an IDX file of {len(shape)}-dimensional bytes:"
            f" it begins with {raw[:4].hex()}, expected {magic.hex()}"
        )
    if len(raw) < start:
        raise DataError(f"{path} is truncated: it ends inside its header")
    found = struct.unpack(f">{len(shape)}I", raw[4:start])
    if found != tuple(shape):
        raise DataError(f"{path} says its dimensions are {found}, expected {tuple(shape)}")
    if len(raw) != start + math.prod(shape):
        fault = "truncated" if len(raw) < start + math.prod(shape) else "too long"
        raise DataError(f"{path} is {fault}: dimensions {found} need {math.prod(shape)} bytes")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _find(folder, stem, ndim):
    """The first existing spelling of an IDX file's name, or None."""
    for name in (f"{stem}-idx{ndim}-ubyte", f"{stem}.idx{ndim}-ubyte"):
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def _read(path, limit):
    """At most `limit` bytes of a file, unzipped if its name ends with .gz."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return file.read(limit)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file: {error}") from error
