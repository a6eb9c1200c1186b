"""Images and labels checked against the network before any work is done."""

import numpy as np


def check_images(x, truncation, what="x"):
    """Images that fit the network's input: an array (N, ...), or a sequence that makes its images when
    asked for (:class:`~keras_neuronlevel.data.images.Images`). Raises ``ValueError``."""
    x = x if hasattr(x, "batches") else np.asarray(x)
    shape = truncation.input_shape
    fits = len(x.shape) == 1 + len(shape) and all(
        want in (None, have) for have, want in zip(x.shape[1:], shape, strict=True)
    )
    if not fits:
        raise ValueError(
            f"{what} has shape {x.shape}, but the network takes images of shape (N, "
            f"{', '.join(map(str, shape))})"
        )
    if len(x) == 0:
        raise ValueError(f"{what} is empty; give at least one image")
    return x


def check_labels(y, x, classes, what="y"):
    """Labels as int64 (N,), each in 0..K-1. Raises ``ValueError``."""
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.shape[1] == classes:
        raise ValueError(
            f"{what} has shape {y.shape}, which looks one-hot; give the class numbers, {what}.argmax(1)"
        )
    if y.shape != (len(x),):
        raise ValueError(f"{what} has shape {y.shape}, but there are {len(x)} images; give one label each")
    numbers = y.astype(np.int64)
    if not (numbers == y).all():
        raise ValueError(f"{what} has labels of type {y.dtype} that are no whole numbers")
    if numbers.min() < 0 or numbers.max() >= classes:
        raise ValueError(
            f"{what} has labels {numbers.min()} to {numbers.max()}, but the network has {classes} outputs, "
            f"for the classes 0 to {classes - 1}"
        )
    return numbers


def check_batch_size(batch_size):
    """Raises ``ValueError`` unless the batch size is a positive whole number."""
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give a positive whole number")
    return int(batch_size)


def chance_level(y, classes):
    """The accuracy of always answering the most frequent class of the labels y (N,)."""
    return float(np.bincount(y, minlength=classes).max() / len(y))
