"""What a set of images says about a layer's neurons: thresholds, the two values, the rank of zero."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_neuronlevel import checks, streams
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.evaluation.injection import means_of_sides, open_ends
from keras_neuronlevel.evaluation.truncation import Truncation, shared_prefix
from keras_neuronlevel.samples import count, slices, some_of
from keras_neuronlevel.statistics.percentiles import (
    check_ranks,
    percentile_rank_of_zero,
    percentiles,
    streaming_percentiles,
)

CALIBRATION = 10_000  # images on which thresholds are computed, unless another number is given
IN_MEMORY = 2**30  # bytes of pre-activations up to which percentiles are exact
FORWARD_BATCH = 512
FORWARD_BYTES = 2**28  # of any one tensor of the network, and of pre-activations that are unpacked together


@dataclass(frozen=True, eq=False)
class Calibration:
    """R thresholds per neuron and the mean of either side of each, all (R, U) float32, or float64 where the
    layer computes in that.

    Attributes:
        ranks: (R,), the percentile ranks of the thresholds.
        thresholds: percentiles, with -inf at rank 0 and +inf at rank 100.
        low, high: the means below the thresholds, and from them on.
        zero_rank: (U,), the percentile rank of pre-activation zero.
        n_samples: how many images calibrated.
        exact: whether the percentiles are exact or streamed (error: see
            :func:`~keras_neuronlevel.statistics.percentiles.streaming_percentiles`).
    """

    ranks: np.ndarray
    thresholds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    zero_rank: np.ndarray
    n_samples: int
    exact: bool


def calibration_subset(images: Any, size: int = CALIBRATION, seed: int = 0) -> Any:
    """A random subset of the images, in their order: the papers' "subset of the data" (I §5.1).

    Raises:
        ValueError: no images, or a size below 1.
    """
    checks.whole("calibration_size", size, least=1)
    if count(images) == 0:
        raise ValueError("the calibration set is empty; give at least one training image")
    chosen = streams.generator(seed, "calibration subset").permutation(count(images))[: int(size)]
    return some_of(images, np.sort(chosen))


def calibrate(
    truncation: Truncation,
    images: Any,
    ranks: ArrayLike,
    *,
    batch_size: int = 256,
    in_memory: float = IN_MEMORY,
) -> Calibration:
    """The :class:`Calibration` of the cut layer's neurons on ``images``, for R percentile ranks.

    Pre-activations of up to ``in_memory`` bytes are kept, and their percentiles are exact; beyond that
    they are streamed, the network running up to the layer once per pass (four passes).

    Raises:
        ValueError: ranks outside [0, 100], images that do not fit, pre-activations that are not finite.
    """
    ranks = check_ranks(ranks)
    images = truncation.checked(images, "the calibration set")
    thresholds, batches, exact = layer_thresholds(truncation, images, ranks, batch_size, in_memory)
    low, high = means_of_sides(batches(), thresholds)
    zero = np.sum([len(p) * percentile_rank_of_zero(p) for p in batches()], axis=0) / count(images)
    return Calibration(ranks, thresholds, low, high, zero, count(images), exact)


def calibrations(
    workers: Workers, truncations: Sequence[Truncation], images: Any, ranks: ArrayLike, **options: Any
) -> list[Calibration]:
    """:func:`calibrate` for every cut. Of several workers each calibrates some of them, and all get them all,
    bit for bit: as JSON has them, numbers lose no digit, and infinite thresholds are kept."""

    def listed(truncation):
        found = vars(calibrate(truncation, images, ranks, **options))
        return {name: _listed(value) for name, value in found.items()}

    if workers.count == 1:
        return [calibrate(truncation, images, ranks, **options) for truncation in truncations]
    return [
        Calibration(**{name: _unlisted(value) for name, value in found.items()})
        for found in workers.each(truncations, listed)
    ]


def _listed(value):
    return {"dtype": value.dtype.name, "values": value.tolist()} if isinstance(value, np.ndarray) else value


def _unlisted(value):
    return np.array(value["values"], value["dtype"]) if isinstance(value, dict) else value


def layer_thresholds(
    truncation: Truncation, images, ranks: np.ndarray, batch_size: int, in_memory: float
) -> tuple[np.ndarray, Callable[[], Iterable[np.ndarray]], bool]:
    """The percentiles (R, U) of the layer's pre-activations on the images, open at ranks 0 and 100;
    a function that gives the pre-activations anew, batch by batch; and whether the percentiles are exact."""
    values = np.prod([side or np.inf for side in truncation.shape])
    exact = bool(4 * count(images) * values <= checks.number("in_memory", in_memory, least=0))
    if exact:
        (kept,) = filled(([p] for p in _pre_activations(truncation, images, batch_size)), count(images))
        batches, found = functools.partial(slices, kept, batch_size), percentiles(kept, ranks)
    else:
        batches = functools.partial(_pre_activations, truncation, images, batch_size)
        found = streaming_percentiles(batches, ranks)
    return open_ends(found, ranks).astype(truncation.threshold_dtype), batches, exact


def _pre_activations(truncation, images, batch_size) -> Iterator[np.ndarray]:
    """The pre-activations p (n, ..., U) of the images, one batch after the other."""
    for x in slices(images, batch_size):
        yield compiled_prefix(truncation)(x)[0].numpy()


def filled(batches: Iterable[Sequence[np.ndarray]], samples: int) -> list[np.ndarray]:
    """The arrays of so many ``samples`` whose parts come batch by batch, in memory once."""
    whole: list[np.ndarray] = []
    place = 0
    for parts in batches:
        whole = whole or [np.empty((samples, *part.shape[1:]), part.dtype) for part in parts]
        for array, part in zip(whole, parts, strict=True):
            array[place : place + len(part)] = part
        place += len(parts[0])
    return whole


def forward_batch(truncation: Truncation) -> int:
    """How many images may go through the network together where nobody asked for a number."""
    return int(np.clip(FORWARD_BYTES // (4 * truncation.widest), 1, FORWARD_BATCH))


def compiled_prefix(truncation: Truncation) -> tf.types.experimental.GenericFunction:
    """The prefix as a ``tf.function`` that was traced once, for batches of any size."""
    return truncation.compiled(_make_prefix)


def compiled_prefixes(truncations: Sequence[Truncation]) -> Callable:
    """A ``tf.function`` images -> [(p, crossing), ...] of several cuts of one network, which runs once."""
    if len(truncations) == 1:
        prefix = compiled_prefix(truncations[0])
        return lambda images: [prefix(images)]
    return traced(shared_prefix(truncations), [truncations[0].image_spec])


def _make_prefix(truncation):
    return traced(truncation.prefix, [truncation.image_spec])


def traced(function: Callable, specs: Sequence) -> tf.types.experimental.GenericFunction:
    """``tf.function`` of a function that is traced once, for tensors of these specs.

    TensorFlow counts traces by a function's code and warns of several; two cuts of a network are two
    functions of the same code, which a ``partial`` says.
    """
    return tf.function(functools.partial(function), input_signature=specs, autograph=False)
