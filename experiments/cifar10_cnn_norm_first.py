"""The CNN on CIFAR-10 with batch normalization before the activation function, to tell what depends on it.

    python experiments/cifar10_cnn_norm_first.py

does all that ``cifar10_cnn.py`` does, with the same recipe and options, on the network whose batch
normalizations come first. The papers do not state the order; what holds in both does not hinge on our reading
of it.
"""

import functools

import cifar10_cnn

from keras_neuronlevel.protocol import cli

NAME = "cifar10_cnn_norm_first"
recipe = functools.partial(cifar10_cnn.recipe, network="cifar_cnn_norm_first")


def parser():
    return cifar10_cnn.parser(NAME, __doc__)


def main(arguments=None):
    cifar10_cnn.perform(NAME, cli.parse(parser(), arguments), recipe)


if __name__ == "__main__":
    cli.run(main)
