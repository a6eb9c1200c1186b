"""Images that are made when they are asked for: a set of any size takes the memory of a few batches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

PARALLEL = os.cpu_count() or 1  # elements that are made at a time


def untuned(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset without ``tf.data``'s tuning of itself.

    Its thread looks after 10 ms, 20 ms, 40 ms and so on, up to a minute, and an iterator that has come to its
    end waits until it looks again: a pass of six seconds takes ten then. Numbers of parallel calls are to be
    given; there is nothing else to tune here.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)


class Images:
    """A sequence of N images (H, W, C), float32, made from their sources by a ``tf.data`` pipeline.

    ``elements(indices)`` gives a ``tf.data.Dataset`` of the raw elements of those places, in their order;
    ``make(element)`` turns one into an image of the given ``shape`` (H, W, C). The functions of
    ``evaluation`` take such a sequence wherever they take an array: it has ``len``, a ``shape``
    (N, H, W, C), indexing by a slice or an array of integers (a smaller sequence, nothing is made yet),
    and ``batches(size)``, which makes images in parallel and ahead of what is computed with them.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, elements: Callable, make: Callable, shape: Sequence[int], indices):
        self._elements, self._make = elements, make
        self._indices = np.asarray(indices, np.int64)
        self.shape = (len(self._indices), *shape)

    def __len__(self) -> int:
        return len(self._indices)

    def __repr__(self) -> str:
        return f"<Images {self.shape}, {self.dtype}, made when they are asked for>"

    def __getitem__(self, places):
        if isinstance(places, (int, np.integer)):
            return next(self[[places]].batches(1))[0]
        chosen = self._indices[places]
        return Images(self._elements, self._make, self.shape[1:], chosen)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """The images as float32 arrays (n, H, W, C), n = ``size`` but for the last."""
        elements = self._elements(self._indices)
        made = elements.map(self._make, num_parallel_calls=PARALLEL, deterministic=True)
        return untuned(made.batch(size).prefetch(2)).as_numpy_iterator()


def from_array(array: np.ndarray, make: Callable, shape: Sequence[int]) -> Images:
    """:class:`Images` made by ``make`` from each entry of an array that is in memory."""

    def elements(indices):
        entry = tf.TensorSpec(array.shape[1:], tf.as_dtype(array.dtype))
        return tf.data.Dataset.from_generator(lambda: (array[i] for i in indices), output_signature=entry)

    return Images(elements, make, shape, np.arange(len(array)))
