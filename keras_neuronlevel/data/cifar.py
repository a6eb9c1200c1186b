"""Reader for CIFAR-10 as published: Python or binary version, in a folder or an archive.

Both hold five training batches and one test batch. A sample's bytes are its red, green and blue
planes, each row by row; here they become images (height, width, channel).
"""

import math
from pathlib import Path

import numpy as np

from keras_neuronlevel.data import pickles
from keras_neuronlevel.data.archives import read_members
from keras_neuronlevel.data.arrays import Arrays, check_labels
from keras_neuronlevel.data.specs import DataError

_TRAIN = tuple(f"data_batch_{i}" for i in range(1, 6))
PYTHON_BATCHES = (*_TRAIN, "test_batch")
BINARY_BATCHES = tuple(f"{name}.bin" for name in PYTHON_BATCHES)
ARCHIVES = ("cifar-10-python.tar.gz", "cifar-10-binary.tar.gz")


def read_folder(folder, spec):
    """Read the six batch files of `folder`, of whichever version is there, as `Arrays`.

    Raises:
        FileNotFoundError: `folder` holds no batch file.
        DataError: a batch is missing, truncated, or not what it should be.
    """
    limit = _largest_batch(spec)
    found = {}
    for name in (*PYTHON_BATCHES, *BINARY_BATCHES):
        path = Path(folder) / name
        if path.is_file():
            if path.stat().st_size > limit:
                raise DataError(f"{path} is larger than any batch: over {limit} bytes")
            found[name] = path.read_bytes()
    if not found:
        raise FileNotFoundError(f"no CIFAR-10 batch file such as data_batch_1 in {folder}")
    return parse_batches(found, folder, spec)


def read_archive(path, spec):
    """Read the six batches out of a .tar.gz archive, as `Arrays`; DataError if that fails."""
    found = read_members(path, {*PYTHON_BATCHES, *BINARY_BATCHES}, _largest_batch(spec))
    if not found:
        raise DataError(f"{path} holds no CIFAR-10 batch file such as data_batch_1")
    return parse_batches(found, path, spec)


def parse_batches(found, where, spec):
    """Turn {file name: bytes} of the six batches into `Arrays`.

    Raises:
        DataError: a batch is missing, or `parse_python` or `parse_binary` raised it.
    """
    binary = BINARY_BATCHES[0] in found or PYTHON_BATCHES[0] not in found
    names, parse = (BINARY_BATCHES, parse_binary) if binary else (PYTHON_BATCHES, parse_python)
    missing = [name for name in names if name not in found]
    if missing:
        raise DataError(f"{where} lacks the batch file {', '.join(missing)}")
    counts = [spec.n_train // len(_TRAIN)] * len(_TRAIN) + [spec.n_test]
    batches = [
        parse(found[name], count, spec, f"{name} of {where}")
        for name, count in zip(names, counts, strict=True)
    ]
    *train, (x_test, y_test) = batches
    x_train, y_train = (np.concatenate(parts) for parts in zip(*train, strict=True))
    return Arrays(x_train, y_train, x_test, y_test)


def parse_binary(raw, count, spec, where):
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


def parse_python(raw, count, spec, where):
    """One Python batch: a pickled dictionary with `data` (count, pixels) and a list `labels`.

    Returns:
        Images (count, H, W, C) and labels (count,), uint8.
    """
    batch = pickles.loads(raw, where)
    data, labels = batch.get("data"), batch.get("labels")
    shape = (count, math.prod(spec.image_shape))
    if not isinstance(data, np.ndarray) or data.shape != shape:
        raise DataError(f"{where}: data have shape {np.shape(data)}, expected {shape}")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{where}: labels are not a list of integers")
    if len(labels) != count:
        raise DataError(f"{where} has {len(labels)} labels for {count} images")
    check_labels(labels, spec, where)
    return _images(data, spec), np.array(labels, np.uint8)


def _images(planes, spec):
    height, width, channels = spec.image_shape
    images = planes.reshape(-1, channels, height, width).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images)


def _largest_batch(spec):
    """Most bytes of a plausible batch file: Python 3 may write a byte as two; plus file names."""
    count = max(spec.n_train // len(_TRAIN), spec.n_test)
    return 2 * count * (math.prod(spec.image_shape) + 64) + 65536
