"""The residual twin of the long paper's CNN on CIFAR-10: do the findings survive skip connections?

    python experiments/cifar10_resnet.py

The same stages, layers, names and protocol as ``cifar10_cnn.py``, with an identity skip around every layer
that keeps its shape. This network is ours: the papers have none like it. Presets and durations as there.
"""

import functools

import keras_neuronlevel as nl

if __name__ == "__main__":
    network = nl.networks.cifar_resnet
    nl.cli.run(functools.partial(nl.cifar.main, "cifar10_resnet", network, __doc__.splitlines()[0]))
