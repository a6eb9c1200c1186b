"""The papers' MNIST network, watched from its neurons (E Fig. 2 to 4; I Fig. 1 to 8, Table 1).

    python experiments/mnist_mlp.py --preset quick

trains a 784-512-512-10 network for each activation function on the real MNIST, records the sign of ∂L/∂a of
all 1024 hidden neurons for 30,000 samples, and draws the histograms of average signs; then it quantizes and
window-binarizes the pre-activations of both hidden layers and measures test accuracy. Figures and numbers go
to ``outputs/mnist_mlp``.

``quick`` is a matter of minutes on two cores; what training and recording took at ``paper`` (50 epochs, 2350
recordings) ``--help`` says, and the readouts of the windows come on top of that.

Expected: most pairs of sample and neuron keep the sign of their derivative, and about half of them are
'low' (positive), half 'high' (negative); two values per neuron are enough for the layers that follow.
"""

import functools

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import cli

ROW = nl.papers.EXPERIMENTS["mnist_mlp"]
RATES = {"relu": 0.1, "sigmoid": 1.0, "linear": 1e-3}  # E §2


def recipe(experiment, activation):
    """784-512-512-10 with dropout 0.5, trained as E §2 says; no momentum (inferred)."""
    import keras

    rate = RATES[activation]
    return experiment.spec(
        name=f"mlp-{activation}",
        activation=activation,
        build=functools.partial(nl.networks.mlp, activation, seed=experiment.seed),
        optimizer=functools.partial(keras.optimizers.SGD, rate),
        network="784-512-512-10, dropout 0.5, Glorot uniform",
        update=f"SGD, learning rate {rate}, no momentum",
    )


def parser():
    return cli.parser(ROW, __doc__, RATES)


def main(arguments=None):
    options = cli.parse(parser(), arguments)
    cli.start_tensorflow(options)
    from keras_neuronlevel.protocol import pipeline

    pipeline.main(ROW, options, recipe)


if __name__ == "__main__":
    cli.run(main)
