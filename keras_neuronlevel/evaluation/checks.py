"""Images and labels checked against the network before any work is done."""

import numpy as np

from keras_neuronlevel import samples


def check_images(x, truncation, what="x"):
    """Images that fit the cut network's input; see :func:`keras_neuronlevel.samples.check_images`."""
    return samples.check_images(x, truncation.input_shape, what, truncation.input.dtype)


def check_batch_size(batch_size):
    """Raises ``ValueError`` unless the batch size is a positive whole number."""
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give a positive whole number")
    return int(batch_size)


def chance_level(y, classes):
    """The accuracy of always answering the most frequent class of the labels y (N,)."""
    return float(np.bincount(y, minlength=classes).max() / len(y))
