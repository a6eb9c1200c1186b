"""Where a retrained readout's inputs come from: bits or values in memory, or the network's front part again.

A *source* is a function ``inputs(indices)`` that runs inside a ``tf.function`` and gives
``[p, *crossing]`` of those samples, p un-binarized (window None) or binarized to 0 and 1.
"""

import gc
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.evaluation.calibration import (
    FORWARD_BATCH,
    FORWARD_BYTES,
    compiled_prefix,
    filled,
    forward_batch,
    slices,
)
from keras_neuronlevel.evaluation.injection import inside
from keras_neuronlevel.evaluation.truncation import Truncation
from keras_neuronlevel.samples import count
from keras_neuronlevel.statistics.percentiles import columns

Window = tuple[np.ndarray, np.ndarray] | None  # thresholds low and high, (U,) each; None: un-binarized
Source = Callable[[tf.Tensor], list[tf.Tensor]]


def sources(
    truncation: Truncation, image_sets: Sequence, windows: Sequence[Window], in_memory: float
) -> Iterator[list[tuple[Source, ...]]]:
    """For each window, one source per image set, in order, in groups that are in memory together.

    ``windows`` holds (low, high) thresholds (U,) each, or None for un-binarized pre-activations. Windows
    are binarized together, one pass of the prefix for as many as fit in ``in_memory`` bytes as packed
    bits (N · P · U / 8 bytes a window); crossing tensors are kept beside them. What does not fit even for
    one window is not kept: its source runs the prefix again for every batch. Who lets go of a group before
    taking the next has never two of them.
    """
    samples = sum(count(images) for images in image_sets)
    for group in groups(truncation, windows, samples, in_memory):
        gc.collect()  # functions that were compiled on sources are in circles, and hold the ones before
        of = _collect if are_kept(truncation, group, samples, in_memory) else _recomputing
        yield list(zip(*(of(truncation, images, group) for images in image_sets), strict=True))


def groups(
    truncation: Truncation, windows: Sequence[Window], samples: int, in_memory: float
) -> Iterator[list[Window]]:
    """The windows in groups whose bits are in memory together, un-binarized values in one of their own."""
    group: list[Window] = []
    for window in windows:
        alone = window is None or (group and group[0] is None)
        if group and (alone or not are_kept(truncation, [*group, window], samples, in_memory)):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def are_kept(truncation: Truncation, group: Sequence[Window], samples: int, in_memory: float) -> bool:
    """Whether what a group reads of so many samples, and what crosses the cut, fits in memory."""
    if not truncation.sized:
        return False
    values, *crossing = truncation.entering
    per_sample = sum(4 * values if window is None else -(-values // 8) for window in group)
    return samples * (per_sample + 4 * sum(crossing)) <= in_memory


def _collect(truncation, images, group):
    """One source per window of the group, from a single pass of the prefix over the images."""
    kept = filled(
        (
            [*(p if window is None else pack(p, *window) for window in group), *(t.numpy() for t in crossing)]
            for p, crossing in passes(truncation, images)
        ),
        count(images),
    )
    for i, whole in enumerate(kept):  # one by one: there are two of one at a time
        kept[i] = tf.constant(whole)
    crossing = kept[len(group) :]
    return [
        _stored(truncation, values, crossing, window is not None)
        for values, window in zip(kept, group, strict=False)
    ]


def passes(truncation: Truncation, images) -> Iterator[tuple[np.ndarray, list[tf.Tensor]]]:
    """(p, crossing) of one batch of images after the other, p an array that is known to be finite."""
    prefix = compiled_prefix(truncation)
    values = [np.prod([n or 1 for n in shape]) for shape in (truncation.shape, *truncation.crossing_shapes)]
    size = int(np.clip(FORWARD_BYTES // (4 * sum(values)), 1, FORWARD_BATCH))
    for x in slices(images, min(size, forward_batch(truncation))):
        p, crossing = prefix(x)
        p = p.numpy()
        columns(p)  # raises for NaN, which every window would turn into 0
        yield p, crossing


def pack(p: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Window bits of p (n, ..., U), eight to a byte: (n, ceil(P · U / 8)) uint8."""
    return np.packbits(inside(p, low, high).reshape(len(p), -1), axis=1)


def unpack(packed: tf.Tensor, shape: tuple[int, ...], dtype) -> tf.Tensor:
    """Bytes (n, B) uint8 -> zeros and ones (n, *shape), inside a ``tf.function``."""
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.right_shift(packed[:, :, None], shifts) & 1
    bits = tf.reshape(bits, [tf.shape(packed)[0], 8 * packed.shape[1]])[:, : int(np.prod(shape))]
    return tf.cast(tf.reshape(bits, [-1, *shape]), dtype)


def _stored(truncation, values, crossing, packed):
    spec = truncation.specs[0]

    def inputs(indices):
        p = tf.gather(values, indices)
        p = unpack(p, truncation.shape, spec.dtype) if packed else p
        return [p, *(tf.gather(tensor, indices) for tensor in crossing)]

    return inputs


def _recomputing(truncation, images, group):
    """One source per window of the group, which runs the prefix for every batch."""
    if hasattr(images, "batches"):
        if not truncation.sized:
            raise ValueError(
                f"images that are not in memory are read by a network whose input has no fixed size "
                f"({truncation.inputs.shape}), so that what {truncation.layer} makes of them cannot be kept; "
                "give the network an input of fixed size, or the images as an array"
            )
        raise ValueError(
            f"{len(images)} images that are not in memory give more of {truncation.layer} than in_memory "
            "bytes hold; give more of those, fewer images, or readout=Probe(...)"
        )
    images = keras.tree.map_structure(
        lambda spec, part: tf.constant(part, spec.dtype), truncation.image_spec, images
    )
    return [_passing(truncation, images, window) for window in group]


def _passing(truncation, images, window):
    bounds = None if window is None else [tf.constant(bound) for bound in window]

    def inputs(indices):
        p, crossing = truncation.prefix(
            keras.tree.map_structure(lambda part: tf.gather(part, indices), images)
        )
        if bounds is not None:
            p = tf.cast(inside(tf.cast(p, bounds[0].dtype), *bounds), p.dtype)
        return [p, *crossing]

    return inputs
