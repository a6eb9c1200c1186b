"""What recording costs, as ratios of runs that take turns in one process."""

import resource

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import networks, neurons, recording, streams
from keras_neuronlevel.benchmarks.rounds import take_turns

# The size of E §3: 30,000 samples, 1024 neurons. For the CNN, ours: the derivatives of all its layers.
SIZES = {"mlp": {"samples": 30_000, "batch_size": 3000}, "cnn": {"samples": 1000, "batch_size": 250}}


def run(network="mlp", repeats=7, samples=None):
    """Time one recording four ways: {"bare", "xla", "recorder", "naive": seconds of each round, ...}.

    *bare* is the compiled forward-and-derivative pass whose result is thrown away; *xla* the same pass
    compiled by XLA, which the recorder does not use because of this ratio; *recorder* the recorder's own
    compiled pass, with its accumulators, loss and snapshots; *naive* the loop that a user
    would write: an eager tape over the same batches, ``np.sign``, append to a list. ``memory`` is the
    growth of the process's largest size, in bytes, over the recorder's rounds after the first.
    """
    size = SIZES[network]
    samples, batch_size = samples or size["samples"], size["batch_size"]
    model = networks.mlp("relu", seed=0) if network == "mlp" else networks.cifar_cnn("relu", seed=0)
    x, y = _samples(model, samples)
    batches = list(recording.batches(x, y, batch_size))
    record = _recorder(model, batches, samples)
    rounds = {
        "bare": _bare(model, batches),
        "xla": _bare(model, batches, jit_compile=True),
        "recorder": record,
        "naive": _naive(model, batches),
    }
    return {"network": network, "samples": samples, **take_turns(rounds, repeats), **_growth(record)}


def _samples(model, samples):
    rng = streams.generator(0, "made up images")
    x = rng.random((samples, *model.input_shape[1:]), dtype=np.float32)
    return x, rng.integers(0, 10, samples).astype(np.int32)


def _bare(model, batches, jit_compile=False):
    layers = neurons.neuron_layers(model)

    @tf.function(jit_compile=jit_compile)
    def step(x, y):
        return recording.forward_and_derivatives(model, layers, x, y)[0]

    def go():
        for batch in batches:
            result = step(*batch)
        next(iter(result.values())).numpy()

    return go


def _recorder(model, batches, samples):
    selections = recording.selections_of(model, neurons.neuron_layers(model), samples)
    step = recording.recording_step(model, selections)
    counts = [recording.zero_counts(selections, len(y)) for _, y in batches]

    def go():
        loss_sum, parts = 0.0, []
        for number, (x, y) in enumerate(batches):
            seen, losses, _ = step(x, y, counts[number])
            parts.append(seen)
            loss_sum += losses
        float(loss_sum)

    return go


def _naive(model, batches):
    layers = neurons.neuron_layers(model)
    outputs = [neurons.activation(model, name) for name in layers]
    multi = keras.Model(model.inputs[0], [*outputs, model.outputs[0]])

    def go():
        history = []
        for x, y in batches:
            with tf.GradientTape() as tape:
                *activations, logits = multi(x, training=False)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
            derivatives = tape.gradient(losses, activations)
            history.append([np.sign(d) for d in derivatives])

    return go


def _growth(record, recordings=20):
    record()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(recordings):
        record()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"memory_growth_bytes": (after - before) * 1024, "memory_recordings": recordings}


def table(result):
    """The result as text: medians, and the medians of the ratios taken round by round."""
    seconds = {name: np.asarray(result[name]) for name in ("bare", "xla", "recorder", "naive")}
    cost = np.median(seconds["recorder"] / seconds["bare"])
    gain = np.median(seconds["naive"] / seconds["recorder"])
    xla = np.median(seconds["xla"] / seconds["bare"])
    medians = ", ".join(f"{name} {np.median(s):.3f} s" for name, s in seconds.items())
    return (
        f"{result['network']}, one recording of {result['samples']} samples, {len(seconds['bare'])} rounds\n"
        f"  medians: {medians}\n"
        f"  recorder / bare   {cost:.2f}   (target: at most 1.25)\n"
        f"  naive / recorder  {gain:.2f}   (target for the mlp: at least 2)\n"
        f"  bare, XLA / graph {xla:.2f}   (below 1, XLA would be the faster one here)\n"
        f"  memory: {result['memory_growth_bytes'] / 2**20:.1f} MiB more after "
        f"{result['memory_recordings']} further recordings"
    )
