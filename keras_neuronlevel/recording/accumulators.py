"""The compiled work of a recording: derivatives in, sums of signs out."""

import tensorflow as tf

from keras_neuronlevel.recording.forward import forward_and_derivatives
from keras_neuronlevel.recording.losses import count_correct


@tf.function(jit_compile=True)
def accumulate(sums, derivatives):
    """Add sign(d) and d != 0 to integer accumulators: {layer: (sign_sum, nonzero)} -> the same.

    A NaN has no sign and counts as zero. Compiled as one fused pass over each derivative, which costs
    about a tenth of computing the derivative.
    """
    added = {}
    for name, d in derivatives.items():
        sign_sum, nonzero = sums[name]
        rises, falls = tf.cast(d > 0, sign_sum.dtype), tf.cast(d < 0, sign_sum.dtype)
        added[name] = sign_sum + rises - falls, nonzero + rises + falls
    return added


def pick(values, neurons, positions, units):
    """The chosen neurons and positions: (N, U) -> (N, U'), and a map (N, ..., U) -> (N, P', U')."""
    if positions is not None:
        values = tf.reshape(values, (tf.shape(values)[0], -1, units))
        if len(positions) < values.shape[1]:
            values = tf.gather(values, positions, axis=1)
    return values if len(neurons) == units else tf.gather(values, neurons, axis=-1)


def recording_step(model, selections, *, loss=None, output=None, snapshot_dtype=tf.float16):
    """The compiled work of one recording on one batch.

    Returns ``step(x, y, sums) -> (sums, snapshot, loss_sum, correct)``, which adds to the accumulators and
    picks the pre-activations that a snapshot would keep. ``loss`` is one from ``losses.chosen_loss``. The
    pass itself runs in TensorFlow's graph mode,
    with XLA for the accumulators alone: on a CPU, XLA makes neither the papers' dense nor their
    convolutional networks faster (``experiments/benchmark.py recording`` measures it).
    """
    layers = list(selections)

    @tf.function(autograph=False)
    def step(x, y, sums):
        d, p, losses, given = forward_and_derivatives(model, layers, x, y, loss, output)
        kept, seen = {}, {}
        for name, s in selections.items():
            kept[name] = pick(d[name], s.neurons, s.positions, s.units)
            some = pick(p[name], s.snapshot_neurons, s.snapshot_positions, s.units)
            seen[name] = tf.cast(some, snapshot_dtype)
        correct = count_correct(y, given, loss)
        return accumulate(sums, kept), seen, tf.reduce_sum(tf.cast(losses, tf.float64)), correct

    return step


def zero_sums(selections, samples):
    """Empty accumulators, {layer: (sign_sum, nonzero)}, int16 (N, U') or (N, P', U')."""
    zeros = {}
    for name, s in selections.items():
        places = () if s.positions is None else (len(s.positions),)
        shape = (samples, *places, len(s.neurons))
        zeros[name] = tf.zeros(shape, tf.int16), tf.zeros(shape, tf.int16)
    return zeros
