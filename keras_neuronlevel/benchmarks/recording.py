"""What recording costs, as ratios of runs that take turns in one process."""

import math
import os
import platform
import resource

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import networks, neurons, recording, streams
from keras_neuronlevel.benchmarks.rounds import spread, take_turns
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.recording.memory import at_once
from keras_neuronlevel.recording.precision import of_processor
from keras_neuronlevel.recording.recordings import Recordings
from keras_neuronlevel.recording.sharing import NoWriter

# The size of E §3: 30,000 samples, 1024 neurons. For the CNN, ours: the derivatives of all its layers.
SIZES = {"mlp": {"samples": 30_000, "batch_size": 3000}, "cnn": {"samples": 1000, "batch_size": 250}}
TARGETS = {"mlp": 1.10, "cnn": 1.20}  # times the bare pass


def run(network="mlp", repeats=7, samples=None, others=None):
    """Time one recording several ways: a JSON-able dictionary, with ``seconds`` {way: those of each round}.

    *bare* is the compiled forward-and-derivative pass whose result is thrown away, batch after batch;
    *beside* the same with as many batches beside each other as the recorder has; *xla* the bare pass compiled
    by XLA, which the recorder does not use: a convolutional network is slower with it everywhere, a dense one
    faster on one processor and slower on another; *recorder* what the recorder does, with its accumulators,
    loss and snapshots; *bfloat16* the same with that precision; *naive* the loop that a user would write: an
    eager tape over the same batches, ``np.sign``, append to a list. ``memory_growth_bytes`` is the growth of
    the process's largest size over the recorder's rounds after the first.

    ``others`` {name: function (model, batches) -> peers.Peer} do the same with other libraries. How many of
    all signs are others than the recorder's is in ``differing`` {way: share}, of these and of *bfloat16*:
    derivatives that two ways of rounding put on different sides of zero. Raises ``ValueError`` where a
    library has more than 1 % of them, or another mean loss: then the work was not the same.
    """
    size = SIZES[network]
    samples, batch_size = samples or size["samples"], size["batch_size"]
    model = networks.mlp("relu", seed=0) if network == "mlp" else networks.cifar_cnn("relu", seed=0)
    x, y = made_up(model.input_shape[1:], samples)
    batches = list(recording.batches(x, y, batch_size))
    taken, record = one_recording(model, batches, samples)
    coarsely_taken, coarse = one_recording(model, batches, samples, "bfloat16")
    built = {name: build(model, batches) for name, build in (others or {}).items()}
    loss = record()
    coarse()
    differing = {"bfloat16": _share_differing(taken, _signs(coarsely_taken))}
    for name, peer in built.items():
        differing[name] = _differing(name, taken, peer, loss)
    rounds = {
        "bare": _bare(model, batches),
        "beside": _bare(model, batches, rows=at_once(Workers())),
        "xla": _bare(model, batches, jit_compile=True),
        "recorder": record,
        "bfloat16": coarse,
        "naive": _naive(model, batches),
        **{name: peer.record for name, peer in built.items()},
    }
    seconds = {way: values.tolist() for way, values in take_turns(rounds, repeats).items()}
    told = {"network": network, "samples": samples, "batch_size": batch_size, "neurons": _places(taken)}
    return {**told, "seconds": seconds, "differing": differing, **_growth(record)}


def _places(taken):
    """Recorded values of a sample."""
    return sum(math.prod(nonzero.shape[1:]) for _, nonzero in taken.sums.values())


def _differing(name, taken, peer, loss):
    """The share of signs that differ between what the recorder took once and a peer takes now."""
    other = peer.record()
    if not np.isclose(loss, other, rtol=1e-4):
        raise ValueError(f"the mean loss is {loss:.6g}, and with {name} {other:.6g}; make them the same work")
    share = _share_differing(taken, peer.signs())
    if share > 0.01:
        raise ValueError(f"{share:.1%} of all signs differ with {name}; make them the same work")
    return share


def _share_differing(taken, theirs):
    ours, different, total = _signs(taken), 0, 0
    for layer, signs in ours.items():
        different += np.count_nonzero(signs.ravel() != theirs[layer].ravel())
        total += signs.size
    return different / total


def _signs(taken):
    """What one recording found: {layer: signs (N, ..., U)}."""
    return {layer: np.moveaxis(signs, 1, -1) for layer, (signs, _) in taken.sums.items()}


def made_up(shape, samples):
    """Images of noise (N, *shape), and labels of 10 classes."""
    rng = streams.generator(0, "made up images")
    x = rng.random((samples, *shape), dtype=np.float32)
    return x, rng.integers(0, 10, samples).astype(np.int32)


def _bare(model, batches, jit_compile=False, rows=1):
    layers = neurons.neuron_layers(model)

    @tf.function(jit_compile=jit_compile)
    def step(x, y):
        return recording.forward_and_derivatives(model, layers, x, y)[0]

    def first_sample(batch):
        return next(iter(step(*batch).values()))[0]

    def go():
        Workers().on_devices(batches, first_sample, rows)[-1].numpy()

    return go


def one_recording(model, batches, samples, precision="float32"):
    """The recorder's ``Recordings``, and a function that takes one and returns its mean loss."""
    selections = recording.selections_of(model, neurons.neuron_layers(model), samples)
    step = recording.recording_step(model, selections, precision=precision)
    taken = Recordings(step, batches, selections, NoWriter(), at_once=at_once(Workers()))

    def go():
        taken.take(0, 0, len(taken.table), revocable=False)
        taken.keep(lambda number: False)
        return taken.table[-1][3]

    return taken, go


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
    bare = np.asarray(result["seconds"]["bare"])
    lines = [
        f"{result['network']}, one recording of {result['samples']} samples x {result['neurons']} places in "
        f"batches of {result['batch_size']}, {len(bare)} rounds (target: recorder at most "
        f"{TARGETS[result['network']]:.2f} x bare)"
    ]
    for way, seconds in result["seconds"].items():
        ratio = spread(np.asarray(seconds) / bare)
        lines.append(
            f"  {way:9} {np.median(seconds):.3f} s, {ratio['median']:.2f} x bare "
            f"({ratio['least']:.2f} to {ratio['most']:.2f})"
            + (f", {result['differing'][way]:.1e} of signs differ" if way in result["differing"] else "")
        )
    grown = result["memory_growth_bytes"] / 2**20
    return "\n".join([*lines, f"  {grown:.1f} MiB more after {result['memory_recordings']} recordings"])


def markdown(results, machine):
    """The ratios as a page: what one recording costs, as multiples of the bare pass on this ``machine``."""
    words = (
        "One recording, as a multiple of the bare pass: forward and back to the derivatives of every neuron, "
        "without keeping anything. Medians of ratios taken round by round (least to most), the ways taking "
        "turns in one process; the bare pass in seconds. Made by `python experiments/benchmark.py recording "
        "--peers --output docs/recording_cost.json`. `recorder` is this package, `bfloat16` the same with "
        "that precision; both compute two batches beside each other where there are two cores, as `beside` "
        "does with the bare pass, and all others one after the other. `naive` is an eager loop that stores "
        "signs, and `jax` and `torch` are programs of equal work and equal result "
        "(`keras_neuronlevel/benchmarks/peers.py`)."
    )
    differing = "; ".join(
        f"{result['network']}: "
        + ", ".join(f"{way} {share:.2g}" for way, share in result["differing"].items())
        for result in results
    )
    rounding = (
        "Share of all signs that are others than the recorder's, with untrained weights and images of noise: "
        f"{differing}."
    )
    parts = ["# What a recording costs", words, f"Machine: {machine}.", "\n".join(ratios(results)), rounding]
    return "\n\n".join(parts) + "\n"


def ratios(results):
    """The lines of a Markdown table: a network each, and each way as a multiple of the bare pass."""
    ways = [way for way in results[0]["seconds"] if way != "xla"]
    lines = [f"| network | {' | '.join(ways)} |", f"| --- |{' --- |' * len(ways)}"]
    for result in results:
        bare = np.asarray(result["seconds"]["bare"])
        cells = [f"{np.median(bare):.3f} s"]
        for way in ways[1:]:
            ratio = spread(np.asarray(result["seconds"][way]) / bare)
            cells.append(f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})")
        what = f"{result['network']}, {result['samples']} samples × {result['neurons']} places"
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def machine():
    """The processor's name and the number of its cores, as the system tells them."""
    name = of_processor("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"
