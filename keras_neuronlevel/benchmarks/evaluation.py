"""What a quantization sweep costs beside its parts, and beside the naive way.

Paired: every repeat times one prefix and eleven suffixes run bare, the sweep, and eleven full passes of a
network with an injecting layer, one after the other; ratios are taken within a repeat, and their median
is what counts. Run it on an otherwise idle machine.
"""

import numpy as np
import tensorflow as tf

from keras_neuronlevel import networks, neurons, streams
from keras_neuronlevel.benchmarks.rounds import spread, take_turns
from keras_neuronlevel.evaluation.calibration import calibrate, compiled_prefix
from keras_neuronlevel.evaluation.injection import sides
from keras_neuronlevel.evaluation.quantization import sweep
from keras_neuronlevel.evaluation.truncation import truncate
from keras_neuronlevel.samples import slices
from keras_neuronlevel.scores import score

RANKS = range(0, 101, 10)


def run(repeats=7, *, samples=1024, batch_size=256, filters=16, seed=0):
    """Time the middle layer of the 12-layer CNN; the ratios and their spread as a dictionary.

    ``sweep_over_bare``: the sweep (whose scores include the untouched network's) over one prefix and
    eleven bare suffixes; at most 1.3 is wanted. ``naive_over_sweep``: eleven full passes over the sweep.
    """
    model = networks.cifar_cnn("relu", filters=filters, seed=seed)
    names = neurons.neuron_layers(model)
    truncation = truncate(model, names[len(names) // 2])
    rng = streams.generator(seed, "made up images")
    x = rng.random((samples, 32, 32, 3), np.float32)
    y = rng.integers(0, 10, samples)
    calibrated = calibrate(truncation, x[:256], RANKS)
    ways = {
        "bare": bare(truncation, x, batch_size),
        "sweep": lambda: sweep([truncation], x, y, [calibrated], batch_size),
        "naive": _naive(truncation, x, y, calibrated, batch_size),
    }
    times = take_turns(ways, repeats)
    return {
        "layer": truncation.layer,
        "samples": samples,
        "repeats": repeats,
        "seconds": {name: float(np.median(values)) for name, values in times.items()},
        "sweep_over_bare": spread(times["sweep"] / times["bare"]),
        "naive_over_sweep": spread(times["naive"] / times["sweep"]),
    }


def table(result):
    """The dictionary of :func:`run` as lines of text."""
    seconds = ", ".join(f"{name} {value:.3f} s" for name, value in result["seconds"].items())
    lines = [
        f"quantization sweep, {len(RANKS)} ranks at {result['layer']}, {result['samples']} images, "
        f"{result['repeats']} paired repeats (median {seconds})"
    ]
    for name, text in (
        ("sweep_over_bare", "sweep / (one prefix + eleven suffixes, bare), wanted <= 1.3"),
        ("naive_over_sweep", "eleven full passes / sweep"),
    ):
        ratio = result[name]
        lines.append(f"{text}: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})")
    return "\n".join(lines)


def compiled_halves(truncation):
    """The network up to the cut, images -> (p, crossing), and from there on, to the logits."""
    return compiled_prefix(truncation), tf.function(truncation.suffix, input_signature=truncation.specs)


def bare(truncation, x, batch_size):
    prefix, suffix = compiled_halves(truncation)

    def way():
        for images in slices(x, batch_size):
            cut = prefix(images)
            for _ in RANKS:
                logits = suffix(*cut)
        return logits.numpy()

    return way


def _naive(truncation, x, y, calibrated, batch_size):
    specs = [truncation.image_spec, tf.TensorSpec([None], tf.int64)]
    specs += [tf.TensorSpec([truncation.units], tf.float32)] * 3

    @tf.function(input_signature=specs)
    def injected(images, labels, *values):
        p, crossing = truncation.prefix(images)
        return score(truncation.suffix(sides(p, *values, where=tf.where), crossing), labels)

    def way():
        for values in zip(calibrated.thresholds, calibrated.low, calibrated.high, strict=True):
            for images, labels in zip(slices(x, batch_size), slices(y, batch_size), strict=True):
                correct, _ = injected(images, labels, *values)
        return int(correct)

    return way
