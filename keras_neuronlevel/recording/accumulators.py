"""The compiled work of a recording: derivatives in, counts of their signs out."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.recording.forward import forward_and_derivatives
from keras_neuronlevel.recording.losses import count_correct
from keras_neuronlevel.selection import Selection

HALVES: dict[np.dtype, np.dtype] = {
    np.dtype("uint32"): np.dtype("int16"),
    np.dtype("uint64"): np.dtype("int32"),
}


def accumulate(counts: tf.Variable, derivatives: tf.Tensor) -> None:
    """Count the derivatives above 0 in the lower half of ``counts``' bits, those below in the upper half.

    ``counts`` is a ``tf.Variable`` of :func:`zero_counts`, changed in place, ``derivatives`` a tensor
    of its shape. A NaN has no sign, and counts as zero. One integer for both takes one pass, and half the
    instructions and memory traffic of two sums (``experiments/benchmark.py recording`` measures it).
    """
    dtype = counts.dtype
    rises, falls = tf.cast(derivatives > 0, dtype), tf.cast(derivatives < 0, dtype)
    counts.assign_add(rises + falls * tf.constant(1 << 4 * dtype.size, dtype))


def unpacked(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(Σ sign(d), number of d ≠ 0) of counts: int16 of uint32, int32 of uint64."""
    half = HALVES[counts.dtype]
    bits = counts.dtype.type(8 * half.itemsize)
    rises = (counts & ((counts.dtype.type(1) << bits) - counts.dtype.type(1))).astype(half)
    falls = (counts >> bits).astype(half)
    return rises - falls, rises + falls


def packed(sign_sum: np.ndarray, nonzero: np.ndarray, dtype=None) -> np.ndarray:
    """The counts that :func:`unpacked` makes these sums of; ``dtype`` by default that of the same size."""
    dtype = np.dtype(dtype or f"uint{16 * sign_sum.dtype.itemsize}")
    sign_sum, nonzero = sign_sum.astype(np.int64), nonzero.astype(np.int64)
    rises, falls = (nonzero + sign_sum) >> 1, (nonzero - sign_sum) >> 1
    return (rises | falls << 4 * dtype.itemsize).astype(dtype)


def pick(values: tf.Tensor, neurons: np.ndarray, positions: np.ndarray | None, units: int) -> tf.Tensor:
    """The chosen neurons and positions: (N, U) -> (N, U'), and a map (N, ..., U) -> (N, P', U')."""
    if positions is not None:
        values = tf.reshape(values, (tf.shape(values)[0], -1, units))
        if len(positions) < values.shape[1]:
            values = tf.gather(values, positions, axis=1)
    return values if len(neurons) == units else tf.gather(values, neurons, axis=-1)


def recording_step(
    model: keras.Model,
    selections: Mapping[str, Selection],
    *,
    loss: Any = None,
    output: str | int | None = None,
    snapshot_dtype: Any = tf.float16,
    precision: str = "float32",
) -> Callable:
    """The compiled work of one recording on one batch.

    Returns ``step(x, y, counts) -> (snapshot, loss_sum, correct)``, which adds to the accumulators {layer:
    variable} in place and picks the pre-activations that a snapshot would keep. ``loss`` is one from
    ``losses.chosen_loss``. The pass itself runs in TensorFlow's graph mode, with XLA for the accumulators
    alone: on a CPU, XLA makes the papers' convolutional networks slower, and their dense ones a little faster
    on one processor and slower on another (``experiments/benchmark.py recording`` measures it). Every layer
    has a compiled function of its own, so that its derivative is counted as soon as it is there, still in the
    processor's cache, and then freed.
    """
    layers = list(selections)
    add = {name: tf.function(accumulate, autograph=False, jit_compile=True) for name in layers}

    @tf.function(autograph=False)
    def step(x, y, counts):
        d, p, losses, given = forward_and_derivatives(model, layers, x, y, loss, output, precision)
        seen = {}
        for name, s in selections.items():
            add[name](counts[name], pick(d[name], s.neurons, s.positions, s.units))
            some = pick(p[name], s.snapshot_neurons, s.snapshot_positions, s.units)
            seen[name] = tf.cast(some, snapshot_dtype)
        return seen, tf.reduce_sum(tf.cast(losses, tf.float64)), count_correct(y, given, loss)

    return step


def zero_counts(selections: Mapping[str, Selection], samples: int) -> dict[str, tf.Variable]:
    """Empty accumulators, {layer: variable}, uint32 (N, U') or (N, P', U'), of two counts each."""
    return {name: tf.Variable(np.zeros(shape, np.uint32)) for name, shape in shapes(selections, samples)}


def shapes(selections, samples):
    """(layer, shape of its accumulators) of so many samples."""
    for name, s in selections.items():
        places = () if s.positions is None else (len(s.positions),)
        yield name, (samples, *places, len(s.neurons))
