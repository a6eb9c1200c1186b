"""Reader for CIFAR-10 as published: Python or binary version, in a folder or an archive.

Both hold five training batches and one test batch. A sample's bytes are its red, green and blue
planes, each row by row; here they become images (height, width, channel).

A pickle is a program and an archive may unpack to any size, so both are opened only when their digest is that
of the published file; the binary batches, of a fixed size, are merely bytes.
"""

import hashlib
import math
import pickle
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np

from keras_neuronlevel.data.arrays import Arrays, check_labels
from keras_neuronlevel.data.specs import DataError, Spec

PYTHON_BATCHES = {  # MD5 of the published files
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
BINARY_BATCHES = tuple(f"{name}.bin" for name in PYTHON_BATCHES)
ARCHIVES = {  # SHA-256 of the published files
    "cifar-10-python.tar.gz": "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    "cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
}


def read_folder(folder: Path | str, spec: Spec) -> Arrays:
    """Read the six batch files of `folder`, of whichever version is there.

    Raises:
        FileNotFoundError: `folder` holds no batch file.
        DataError: a batch is missing, or not what it should be.
    """
    paths = [Path(folder) / name for name in (*BINARY_BATCHES, *PYTHON_BATCHES)]
    found = {path.name: _bytes(path, spec) for path in paths if path.is_file()}
    if not found:
        raise FileNotFoundError(f"no CIFAR-10 batch file such as data_batch_1 in {folder}")
    return parse_batches(found, folder, spec)


def read_archive(path: Path | str, spec: Spec) -> Arrays:
    """Read the six batches out of a published .tar.gz archive, in memory.

    Raises:
        DataError: it is another file, by its digest.
    """
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found not in ARCHIVES.values():
        raise DataError(
            f"{path} is not opened: its sha256 is {found}, which no published archive has; unpack it and "
            "give the folder"
        )
    with tarfile.open(path) as archive:
        members = {PurePosixPath(member.name).name: member for member in archive if member.isfile()}
        names = [name for name in (*BINARY_BATCHES, *PYTHON_BATCHES) if name in members]
        batches = {name: archive.extractfile(members[name]).read() for name in names}  # type: ignore[union-attr]
    return parse_batches(batches, path, spec)


def parse_batches(found: dict[str, bytes], where: Path | str, spec: Spec) -> Arrays:
    """Turn {file name: bytes} of the six batches, binary ones if there are any, into `Arrays`.

    Raises:
        DataError: a batch is missing, or `parse_python` or `parse_binary` raised it.
    """
    binary = any(name in found for name in BINARY_BATCHES)
    names = BINARY_BATCHES if binary else tuple(PYTHON_BATCHES)
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{where} lacks the batch file {', '.join(missing)}")
    counts = [spec.n_train // 5] * 5 + [spec.n_test]
    parse = parse_binary if binary else parse_python
    batches = [
        parse(found[name], count, spec, f"{name} of {where}")
        for name, count in zip(names, counts, strict=True)
    ]
    *train, (x_test, y_test) = batches
    x_train, y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Arrays(x_train, y_train, x_test, y_test)


def parse_binary(raw: bytes, count: int, spec: Spec, where: str) -> tuple[np.ndarray, np.ndarray]:
    """One binary batch: `count` records of a label byte and the pixels.

    Returns:
        Images (count, H, W, C) and labels (count,), uint8.
    """
    record = 1 + math.prod(spec.image_shape)
    if len(raw) != count * record:
        fault = "truncated" if len(raw) < count * record else "too long"
        raise DataError(f"{where} is {fault}: {len(raw)} bytes, expected {count * record}")
    records = np.frombuffer(raw, np.uint8).reshape(count, record)
    check_labels(records[:, 0], spec, where)
    return _images(records[:, 1:], spec), records[:, 0].copy()


def parse_python(raw: bytes, count: int, spec: Spec, where: str) -> tuple[np.ndarray, np.ndarray]:
    """One Python batch: a pickled dictionary with `data` (count, pixels) and a list `labels`.

    Returns:
        Images (count, H, W, C) and labels (count,), uint8.
    """
    found = hashlib.md5(raw, usedforsecurity=False).hexdigest()
    if found not in PYTHON_BATCHES.values():
        raise DataError(
            f"{where} is not opened: its md5 is {found}, which no published batch has; give the published "
            "files, or the binary version"
        )
    batch = pickle.loads(raw, encoding="bytes")
    return _images(batch[b"data"], spec), np.array(batch[b"labels"], np.uint8)


def _bytes(path, spec):
    """The bytes of a batch file, but not of one that is too large: Python 3 may write a byte as two."""
    count = max(spec.n_train // 5, spec.n_test)
    limit = 2 * count * (math.prod(spec.image_shape) + 64) + 65536
    with path.open("rb") as file:
        raw = file.read(limit + 1)
    if len(raw) > limit:
        raise DataError(f"{path} is larger than any batch: over {limit} bytes")
    return raw


def _images(planes, spec):
    height, width, channels = spec.image_shape
    images = planes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)
