"""Short trials of learning rates for the CIFAR-10 networks, which the papers do not state.

A trial is a whole training in a few epochs: stochastic gradient descent with momentum, the rate falling to
zero by a cosine, as in the experiment itself. It learns from 45,000 of the training images and is read on
the other 5,000; the test images have no part in it. The rate with the highest accuracy, mean over the
networks, is the one to take: this rule was fixed before the first trial.
"""

import dataclasses

import keras
import numpy as np

from keras_neuronlevel import networks, streams, training

HELD_OUT = 5000
RATES = (0.003125, 0.00625, 0.0125, 0.025, 0.05)


def run(data, activations, rates, *, epochs=3, batch_size=32, momentum=0.9, seed=0):
    """Train the 12-layer CNN once for every activation function and rate; a JSON-able dictionary.

    ``trials`` has for each its held-out ``accuracy`` and ``loss``, and the training's ``final_loss`` (mean
    over its last epoch); ``mean_accuracy`` is {rate: mean over the activation functions}, ``chosen`` the best
    rate.
    """
    held_out = streams.generator(seed, "rate trials").permutation(len(data.x_train)) < HELD_OUT
    part = dataclasses.replace(
        data,
        x_train=data.x_train[~held_out],
        y_train=data.y_train[~held_out],
        x_test=data.x_train[held_out],
        y_test=data.y_train[held_out],
    )
    mean, std = networks.channel_statistics(part.x_train)
    steps = epochs * -(-len(part.x_train) // batch_size)
    trials = []
    for activation in activations:
        for rate in rates:
            decay = keras.optimizers.schedules.CosineDecay(rate, steps)
            history = training.train(
                networks.cifar_cnn(activation, mean=mean, std=std, seed=seed),
                part,
                optimizer=keras.optimizers.SGD(decay, momentum=momentum),
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
            ).history
            trials.append(
                {
                    "activation": activation,
                    "rate": rate,
                    "accuracy": history["val_accuracy"][-1],
                    "loss": history["val_loss"][-1],
                    "final_loss": history["loss"][-1],
                }
            )
    return {"epochs": epochs, "batch_size": batch_size, "momentum": momentum, "seed": seed} | choice(trials)


def choice(trials):
    """The trials, {rate: mean accuracy over the networks}, and the rate whose mean is highest."""
    means = {}
    for rate in sorted({trial["rate"] for trial in trials}):
        means[rate] = float(np.mean([trial["accuracy"] for trial in trials if trial["rate"] == rate]))
    return {"trials": trials, "mean_accuracy": means, "chosen": max(means, key=means.get)}


def table(result):
    """The dictionary of :func:`run` as lines of text."""
    lines = [f"learning rates, {result['epochs']} epochs at batch size {result['batch_size']}"]
    for trial in result["trials"]:
        lines.append(
            f"  {trial['activation']:8} {trial['rate']:<8g} held-out accuracy {trial['accuracy']:.4f}, "
            f"loss {trial['loss']:.4f}; training loss {trial['final_loss']:.4f}"
        )
    means = ", ".join(f"{rate:g}: {mean:.4f}" for rate, mean in result["mean_accuracy"].items())
    return "\n".join([*lines, f"  mean accuracy {means}; chosen {result['chosen']:g}"])
