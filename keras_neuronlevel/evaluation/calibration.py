"""What a set of images says about a layer's neurons: thresholds, the two values, the rank of zero."""

import functools
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_neuronlevel.evaluation.checks import check_batch_size, check_images
from keras_neuronlevel.evaluation.injection import means_of_sides, open_ends
from keras_neuronlevel.evaluation.truncation import shared_prefix
from keras_neuronlevel.statistics.percentiles import (
    check_ranks,
    percentile_rank_of_zero,
    percentiles,
    streaming_percentiles,
)

IN_MEMORY = 2**30  # bytes of pre-activations up to which percentiles are exact
FORWARD_BATCH = 512
FORWARD_BYTES = 2**28  # of any one tensor of the network, and of pre-activations that are unpacked together


@dataclass(frozen=True, eq=False)
class Calibration:
    """R thresholds per neuron and the mean of either side of each, all (R, U) float32.

    ``thresholds`` are percentiles, with -inf at rank 0 and +inf at rank 100; ``zero_rank`` (U,) is the
    percentile rank of pre-activation zero; ``exact`` tells whether the percentiles are exact or streamed
    (error: see :func:`~keras_neuronlevel.statistics.percentiles.streaming_percentiles`).
    """

    ranks: np.ndarray
    thresholds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    zero_rank: np.ndarray
    n_samples: int
    exact: bool


def calibration_subset(images, size=10_000, seed=0):
    """A random subset of the images, in their order: the papers' "subset of the data" (I §5.1)."""
    if len(images) == 0:
        raise ValueError("the calibration set is empty; give at least one training image")
    chosen = np.random.default_rng(seed).permutation(len(images))[:size]
    return images[np.sort(chosen)]


def calibrate(truncation, images, ranks, *, batch_size=256, in_memory=IN_MEMORY):
    """The :class:`Calibration` of the cut layer's neurons on ``images``, for R percentile ranks.

    Pre-activations of up to ``in_memory`` bytes are kept, and their percentiles are exact; beyond that
    they are streamed, the prefix running once per pass (four passes).
    """
    ranks, images = check_ranks(ranks), check_images(images, truncation, "the calibration set")
    exact = _bytes(truncation, len(images)) <= in_memory
    if exact:
        kept = collected(truncation, images, batch_size)
        batches, found = lambda: slices(kept, batch_size), percentiles(kept, ranks)
    else:
        batches = functools.partial(pre_activations, truncation, images, batch_size)
        found = streaming_percentiles(batches, ranks)
    thresholds = open_ends(found, ranks).astype(np.float32)
    low, high = means_of_sides(batches(), thresholds)
    zero = sum(len(p) * percentile_rank_of_zero(p) for p in batches()) / len(images)
    return Calibration(ranks, thresholds, low, high, zero, len(images), exact)


def pre_activations(truncation, images, batch_size=256):
    """The pre-activations p (n, ..., U) of the images, one NumPy batch after the other."""
    for x in slices(images, check_batch_size(batch_size)):
        yield compiled_prefix(truncation)(x)[0].numpy()


def collected(truncation, images, batch_size=256):
    """The pre-activations p (N, ..., U) of all the images in one array, which is all that they take."""
    kept, place = None, 0
    for p in pre_activations(truncation, images, batch_size):
        kept = np.empty((len(images), *p.shape[1:]), p.dtype) if kept is None else kept
        kept[place : place + len(p)] = p
        place += len(p)
    return kept


def forward_batch(truncation):
    """How many images may go through the network together where nobody asked for a number."""
    return int(np.clip(FORWARD_BYTES // (4 * truncation.widest), 1, FORWARD_BATCH))


def compiled_prefix(truncation):
    """The prefix as a ``tf.function`` that was traced once, for batches of any size."""
    return truncation.compiled(_make_prefix)


def compiled_prefixes(truncations):
    """A ``tf.function`` images -> [(p, crossing), ...] of several cuts of one network, which runs once."""
    if len(truncations) == 1:
        prefix = compiled_prefix(truncations[0])
        return lambda images: [prefix(images)]
    together = shared_prefix(truncations)
    return tf.function(together, input_signature=[truncations[0].image_spec])


def _make_prefix(truncation):
    return tf.function(truncation.prefix, input_signature=[truncation.image_spec])


def slices(array, size):
    """The array cut into pieces of ``size`` samples, the last one shorter; images that are not in memory
    (:class:`~keras_neuronlevel.data.images.Images`) are made piece by piece."""
    if hasattr(array, "batches"):
        return array.batches(size)
    return (array[start : start + size] for start in range(0, len(array), size))


def _bytes(truncation, samples):
    if None in truncation.shape:
        return np.inf
    return samples * int(np.prod(truncation.shape)) * 4
