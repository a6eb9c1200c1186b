"""The residual twin of the long paper's CNN on CIFAR-10: do the findings survive skip connections?

    python experiments/cifar10_resnet.py

The same stages, layers, names, recipe and protocol as ``cifar10_cnn.py``, with an identity skip around every
layer that keeps its shape. This network is ours: the papers have none like it. Presets and durations as
there.
"""

import functools

import cifar10_cnn

from keras_neuronlevel.protocol import cli

NAME = "cifar10_resnet"
recipe = functools.partial(cifar10_cnn.recipe, network="cifar_resnet")


def parser():
    return cifar10_cnn.parser(NAME, __doc__)


def main(arguments=None):
    cifar10_cnn.perform(NAME, cli.parse(parser(), arguments), recipe)


if __name__ == "__main__":
    cli.run(main)
