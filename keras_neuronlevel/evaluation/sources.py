"""Where a readout's inputs come from: bits in memory or on disk, values in memory, or the prefix again.

A *source* is a function ``inputs(indices)`` that runs inside a ``tf.function`` and gives
``[p, *crossing]`` of those samples, p un-binarized (window None) or binarized to 0 and 1.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_neuronlevel.evaluation.calibration import (
    FORWARD_BATCH,
    FORWARD_BYTES,
    compiled_prefix,
    forward_batch,
    slices,
)
from keras_neuronlevel.evaluation.injection import inside
from keras_neuronlevel.probes import pool
from keras_neuronlevel.statistics.percentiles import columns

PROBE_BATCH = 4096


def sources(truncation, image_sets, windows, in_memory):
    """For each window, one source per image set, in order.

    ``windows`` holds (low, high) thresholds (U,) each, or None for un-binarized pre-activations. Windows
    are binarized together, one pass of the prefix for as many as fit in ``in_memory`` bytes as packed
    bits (N · P · U / 8 bytes a window); crossing tensors are kept beside them. What does not fit even for
    one window is not kept: its source runs the prefix again for every batch.
    """
    samples = sum(len(images) for images in image_sets)
    for group in _groups(truncation, windows, samples, in_memory):
        if _fits(truncation, group, samples, in_memory):
            kept = [_collect(truncation, images, group) for images in image_sets]
        else:
            kept = [[_recomputing(truncation, images, w) for w in group] for images in image_sets]
        yield from zip(*kept, strict=True)


def _groups(truncation, windows, samples, in_memory):
    group = []
    for window in windows:
        alone = window is None or (group and group[0] is None)
        if group and (alone or not _fits(truncation, [*group, window], samples, in_memory)):
            yield group
            group = []
        group.append(window)
    if group:
        yield group


def _fits(truncation, group, samples, in_memory):
    sizes = [truncation.shape, *truncation.crossing_shapes]
    if any(None in shape for shape in sizes):
        return False
    values, *crossing = (int(np.prod(shape)) for shape in sizes)
    per_sample = sum(4 * values if window is None else -(-values // 8) for window in group)
    return samples * (per_sample + 4 * sum(crossing)) <= in_memory


def _collect(truncation, images, group):
    """One source per window of the group, from a single pass of the prefix over the images."""
    kept, crossings = [[] for _ in group], []
    for p, crossing in _passes(truncation, images):
        crossings.append(crossing)
        for pieces, window in zip(kept, group, strict=True):
            pieces.append(p if window is None else pack(p, *window))
    crossing = [tf.concat(pieces, axis=0) for pieces in zip(*crossings, strict=True)]
    return [
        _stored(truncation, np.concatenate(pieces), crossing, window is not None)
        for pieces, window in zip(kept, group, strict=True)
    ]


def _passes(truncation, images):
    """(p, crossing) of one batch of images after the other, p an array that is known to be finite."""
    prefix = compiled_prefix(truncation)
    values = [np.prod([n or 1 for n in shape]) for shape in (truncation.shape, *truncation.crossing_shapes)]
    size = int(np.clip(FORWARD_BYTES // (4 * sum(values)), 1, FORWARD_BATCH))
    for x in slices(images, min(size, forward_batch(truncation))):
        p, crossing = prefix(x)
        p = p.numpy()
        columns(p)  # raises for NaN, which every window would turn into 0
        yield p, crossing


class WindowFeatures:
    """What a probe reads, of one image set: p pooled to a grid of cells, and the same of window bits.

    A single pass of the prefix over the images writes the packed bits of all windows (N · P · U / 8 bytes
    each) to files in a temporary folder, removed by :meth:`close` or with the object, and keeps the pooled
    un-binarized values. ``batches(window)`` gives (features (n, grid · grid · U), labels (n,)) of one
    window, or of None, unpacked and pooled piece by piece: memory does not grow with the number of
    windows, and with that of images only by the pooled values.
    """

    def __init__(self, truncation, images, labels, windows, grid):
        if None in truncation.shape:
            raise ValueError(
                f"the feature maps of {truncation.layer} have no fixed size ({truncation.shape}); give the "
                "network an input of fixed size to train probes on it"
            )
        self._shape, self._labels, self._grid = truncation.shape, labels, grid
        self._pooled, self._width = [], -(-int(np.prod(truncation.shape)) // 8)
        self._folder = tempfile.TemporaryDirectory(prefix="neuronlevel-bits-")
        with contextlib.ExitStack() as on_error:
            on_error.callback(self.close)
            self._check_space(len(images) * self._width * len(windows))
            self._write(truncation, images, windows)
            on_error.pop_all()

    def _check_space(self, needed):
        free = shutil.disk_usage(self._folder.name).free
        if needed > free:
            raise ValueError(
                f"window bits take {needed / 2**30:.1f} GiB, but {tempfile.gettempdir()} has "
                f"{free / 2**30:.1f} GiB free; set TMPDIR to a larger disk, or take fewer images"
            )

    def _write(self, truncation, images, windows):
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(self._path(number).open("wb")) for number in range(len(windows))]
            for p, _ in _passes(truncation, images):
                self._pooled.append(pool(p, self._grid))
                for file, window in zip(files, windows, strict=True):
                    file.write(pack(p, *window).tobytes())

    def _path(self, number):
        return Path(self._folder.name) / f"window{number}.bits"

    def batches(self, number=None):
        """A function that gives the batches of window ``number`` (un-binarized values: None) anew."""
        if number is None:
            values = np.concatenate(self._pooled)
        else:
            values = np.concatenate(list(self._unpacked(number)))
        return lambda: (
            (values[i : i + PROBE_BATCH], self._labels[i : i + PROBE_BATCH])
            for i in range(0, len(values), PROBE_BATCH)
        )

    def _unpacked(self, number):
        stored = np.memmap(self._path(number), np.uint8, "r").reshape(-1, self._width)
        values = int(np.prod(self._shape))
        size = int(np.clip(FORWARD_BYTES // (4 * values), 1, PROBE_BATCH))
        for rows in slices(stored, size):
            bits = np.unpackbits(rows, axis=1, count=values).reshape(len(rows), *self._shape)
            yield pool(bits.astype(np.float32), self._grid)

    def close(self):
        self._folder.cleanup()


def pack(p, low, high):
    """Window bits of p (n, ..., U), eight to a byte: (n, ceil(P · U / 8)) uint8."""
    return np.packbits(inside(p, low, high).reshape(len(p), -1), axis=1)


def unpack(packed, shape, dtype):
    """Bytes (n, B) uint8 -> zeros and ones (n, *shape), inside a ``tf.function``."""
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.right_shift(packed[:, :, None], shifts) & 1
    bits = tf.reshape(bits, [tf.shape(packed)[0], 8 * packed.shape[1]])[:, : int(np.prod(shape))]
    return tf.cast(tf.reshape(bits, [-1, *shape]), dtype)


def _stored(truncation, values, crossing, packed):
    values, spec = tf.constant(values), truncation.specs[0]

    def inputs(indices):
        p = tf.gather(values, indices)
        p = unpack(p, truncation.shape, spec.dtype) if packed else p
        return [p, *(tf.gather(tensor, indices) for tensor in crossing)]

    return inputs


def _recomputing(truncation, images, window):
    if hasattr(images, "batches"):
        raise ValueError(
            f"{len(images)} images that are not in memory give more of {truncation.layer} than in_memory "
            'bytes hold; give more of those, fewer images, or readout="probe"'
        )
    images = tf.constant(images, truncation.image_spec.dtype)
    bounds = None if window is None else [tf.constant(bound) for bound in window]

    def inputs(indices):
        p, crossing = truncation.prefix(tf.gather(images, indices))
        if bounds is not None:
            p = tf.cast(inside(p, *(tf.cast(bound, p.dtype) for bound in bounds)), p.dtype)
        return [p, *crossing]

    return inputs
