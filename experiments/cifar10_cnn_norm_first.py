"""The CNN on CIFAR-10 with batch normalization before the activation function, to tell what depends on it.

    python experiments/cifar10_cnn_norm_first.py

does all that ``cifar10_cnn.py`` does, with the same options, on the network whose batch normalizations come
first. The papers do not state the order; what holds in both does not hinge on our reading of it.
"""

import functools

import keras_neuronlevel as nl

if __name__ == "__main__":
    network = nl.networks.cifar_cnn_norm_first
    nl.cli.run(functools.partial(nl.cifar.main, "cifar10_cnn_norm_first", network, __doc__.splitlines()[0]))
