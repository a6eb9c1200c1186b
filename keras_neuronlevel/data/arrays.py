"""The raw arrays of a data set, their digest, and the check that they are the exact set."""

import hashlib
from typing import NamedTuple

import numpy as np

from keras_neuronlevel import samples
from keras_neuronlevel.data.specs import DataError, Spec


class Arrays(NamedTuple):
    """Raw uint8 arrays in the order of the original files: images (N, H, W, C), labels (N,)."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def digest(arrays: Arrays) -> str:
    """SHA-256 (hex) over shape and bytes of x_train, y_train, x_test, y_test, in this order.

    It depends on the order of the samples, so two loads with one digest agree on what "training
    sample 17" is.
    """
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(repr(tuple(array.shape)).encode())
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()


def check(arrays: Arrays, spec: Spec) -> str:
    """Return the digest of `arrays`, or raise DataError unless they are exactly the set of `spec`.

    Shapes and label ranges are checked first: they give the clearer message.
    """
    _check_split("train", arrays.x_train, arrays.y_train, spec.n_train, spec)
    _check_split("test", arrays.x_test, arrays.y_test, spec.n_test, spec)
    found = digest(arrays)
    if found != spec.digest:
        raise DataError(
            f"the data differ from the exact {spec.name} set: sha256 of the arrays is {found},"
            f" expected {spec.digest}"
        )
    return found


def _check_split(split, images, labels, count, spec):
    for what, array, shape in (
        ("images", images, (count, *spec.image_shape)),
        ("labels", labels, (count,)),
    ):
        if array.shape != shape or array.dtype != np.uint8:
            raise DataError(
                f"{split} {what} have shape {array.shape} and type {array.dtype}, expected {shape} and uint8"
            )
    check_labels(labels, spec, f"the {split} split")


def check_labels(labels: np.ndarray, spec: Spec, where: str) -> None:
    """Raise DataError if a label of `labels` (N,), integers, is not in 0..K-1."""
    try:
        samples.check_labels(labels, len(labels), len(spec.class_names), where)
    except ValueError as error:
        raise DataError(str(error)) from None
