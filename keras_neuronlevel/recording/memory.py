"""How much memory the recorder takes, how much there is, and how many batches it has in it at a time."""

import math
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import DTypeLike

from keras_neuronlevel.distribution import Workers, processors
from keras_neuronlevel.records.layout import sums_dtype
from keras_neuronlevel.selection import Selection


def accumulators_size(selections, samples, recordings=1):
    """Bytes of the accumulators: 4 a pair of sample and neuron (and position), 8 beyond 32,767
    ``recordings``."""
    return samples * _bytes_a_pair(recordings) * sum(s.pairs for s in selections.values())


def _bytes_a_pair(recordings):
    return 2 * np.dtype(sums_dtype(recordings)).itemsize


def memory_estimate(
    selections: Mapping[str, Selection],
    samples: int,
    snapshot_dtype: DTypeLike = "float16",
    recordings: int = 1,
    held: int | None = None,
    revocable: bool = False,
) -> int:
    """Bytes that the recorder holds: accumulators, their copy when written, and two snapshots.

    ``held`` is of how many samples accumulators are in memory at a time; by default of all. Of data of
    unknown length recordings are ``revocable``: there are the accumulators from before, too.
    """
    largest = max(s.pairs for s in selections.values())
    kept = sum(s.snapshot_values for s in selections.values()) * np.dtype(snapshot_dtype).itemsize
    counted = samples if held is None else min(held, samples)
    accumulators = (1 + revocable) * accumulators_size(selections, counted, recordings)
    return accumulators + samples * (_bytes_a_pair(recordings) * 2 * largest + 2 * kept)


def pass_size(shapes: Mapping[str, Sequence[int]], samples: int) -> int:
    """Bytes that a recording pass over so many samples takes while it lasts: pre-activations and activations
    of layers with such ``shapes`` of a sample's, in float32."""
    return 2 * 4 * samples * sum(math.prod(shape) for shape in shapes.values())


def at_once(workers: Workers, size: int = 0) -> int:
    """How many batches each device of this process records at once; the pass of one takes ``size`` bytes.

    Two on a processor with two cores for each device: one batch has the cores that the other leaves idle in
    what takes one of them. Only one where two would take more than half of the memory that there is, and on
    GPUs, which have little of it.
    """
    rows, available = 2 * workers.devices, available_memory()
    fits = available is None or rows * size <= available / 2
    return 2 if fits and processors() >= rows and not tf.config.list_logical_devices("GPU") else 1


def check_memory(selections, x, snapshot_dtype, recordings=1, held=None, revocable=False, passing=0):
    """Raises ``ValueError`` where recording the samples takes more memory than can still be had: what
    ``memory_estimate`` says, the samples, and ``passing`` bytes of the passes that are made together."""
    arrays = keras.tree.flatten(x)
    needed = memory_estimate(selections, len(arrays[0]), snapshot_dtype, recordings, held, revocable)
    needed += sum(a.nbytes for a in arrays) + passing
    available = available_memory()
    if available is not None and needed > available:
        raise ValueError(
            f"recording {len(arrays[0])} samples needs about {needed / 2**30:.1f} GiB and "
            f"{available / 2**30:.1f} GiB are available; give fewer samples, a smaller batch_size, or "
            "numbers of neurons and positions to draw: keep=Keep(neurons=..., positions=...)"
        )


def available_memory() -> int | None:
    """Bytes of memory that can still be taken, or None where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
