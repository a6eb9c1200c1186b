"""The CNN on CIFAR-10 with batch normalization before the activation function, to tell what depends on it.

    python experiments/cifar10_cnn_norm_first.py

does all that ``cifar10_cnn.py`` does, with the same recipe and options, on the network whose batch
normalizations come first. The papers do not state the order; what holds in both does not hinge on our reading
of it.
"""

from cifar10_cnn import main

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import cli

if __name__ == "__main__":
    cli.run(lambda: main("cifar10_cnn_norm_first", __doc__, nl.networks.cifar_cnn_norm_first))
