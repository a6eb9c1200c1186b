"""What the readouts of a layer's windows cost one by one and beside each other."""

import functools
import itertools

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import networks, streams, training
from keras_neuronlevel.benchmarks.rounds import spread, take_turns
from keras_neuronlevel.evaluation import Retrain, beside
from keras_neuronlevel.evaluation.calibration import IN_MEMORY, layer_thresholds
from keras_neuronlevel.evaluation.readout import make_evaluation, readout_training, split_held_out
from keras_neuronlevel.evaluation.sources import sources
from keras_neuronlevel.evaluation.truncation import truncate

# Layers of the papers' networks behind which little is left; behind others TensorFlow fills the cores.
READ = {
    "dense2-relu": functools.partial(networks.mlp, "relu"),
    "dense1-relu": functools.partial(networks.mlp, "relu"),
    "stage3layer2-relu": functools.partial(networks.cifar_cnn, "relu"),
}


def run(repeats=7, *, read=READ, windows=10, samples=10_000, epochs=8, seed=0):
    """Time the trainings of the readouts of some windows at the layers ``read`` {layer: its network made from
    seed=}; a list of dictionaries.

    ``plain_over_beside``: a loop that calls TensorFlow once for each batch, over the same trainings as
    ``evaluation.window_curve`` does them; ``alone_over_beside``: those one by one, over that. Images are made
    up. Tracing is part of it, as it is whenever a curve is made.
    """
    return [
        _time(make(seed=seed), layer, repeats, windows, samples, epochs, seed) for layer, make in read.items()
    ]


def _time(model, layer, repeats, windows, samples, epochs, seed):
    truncation, settings = truncate(model, layer), Retrain(epochs=epochs, patience=epochs)
    rng = streams.generator(seed, "made up images")
    x = rng.random((samples, *truncation.input_shape), np.float32)
    y = rng.integers(0, truncation.classes, samples)
    bounds, _, _ = layer_thresholds(truncation, x, np.linspace(0, 100, windows + 1), 256, 2 * IN_MEMORY)
    ((*pairs,),) = sources(truncation, (x,), list(itertools.pairwise(bounds)), 2 * IN_MEMORY)
    at_once = settings.at_once(truncation, 2 * IN_MEMORY)

    def works():
        for number, (inputs,) in enumerate(pairs):
            yield str(number), readout_training(truncation.fresh_suffix(seed), inputs, y, settings, seed)

    ways = {
        "plain": lambda: [
            plain(truncation.fresh_suffix(seed), inputs, y, settings, seed) for (inputs,) in pairs
        ],
        "alone": lambda: dict(beside.results(works(), 1)),
        "beside": lambda: dict(beside.results(works(), at_once)),
    }
    times = take_turns(ways, repeats)
    return {
        "network": model.name,
        "layer": layer,
        "windows": windows,
        "samples": samples,
        "epochs": epochs,
        "at_once": at_once,
        "repeats": repeats,
        "seconds": {name: values.tolist() for name, values in times.items()},
        "plain_over_beside": spread(times["plain"] / times["beside"]),
        "alone_over_beside": spread(times["alone"] / times["beside"]),
    }


def plain(suffix, inputs, y, settings, seed):
    """A readout's training as one would write it, a call for each batch; its last epoch's mean loss.

    There is no running average of the weights, and nothing is stopped or kept.
    """
    labels = tf.constant(y)
    update = training.training_step(suffix, keras.optimizers.Adam(settings.learning_rate))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def step(indices):
        return update(inputs(indices), tf.gather(labels, indices))[0]

    train, held = split_held_out(len(y), settings.held_out, seed)
    evaluate, losses = make_evaluation(suffix, inputs, labels), []
    for epoch in range(1, settings.epochs + 1):
        order = streams.generator(seed, "readout's order", epoch).permutation(train).astype(np.int32)
        batches = np.array_split(order, -(-len(order) // settings.batch_size))
        losses = [float(step(tf.constant(batch))) for batch in batches]
        evaluate(held)
    return float(np.mean(losses))


def table(result):
    """One dictionary of :func:`run` as a line of text."""
    seconds = ", ".join(f"{name} {np.median(values):.2f} s" for name, values in result["seconds"].items())
    plain, alone = (
        f"{ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})"
        for ratio in (result["plain_over_beside"], result["alone_over_beside"])
    )
    return (
        f"readouts of {result['windows']} windows at {result['layer']} of {result['network']}, "
        f"{result['at_once']} at once ({seconds}): a plain loop takes {plain} x as long, one by one {alone} x"
    )
