"""The residual twin of the long paper's CNN on CIFAR-10: do the findings survive skip connections?

    python experiments/cifar10_resnet.py

The same stages, layers, names, recipe and protocol as ``cifar10_cnn.py``, with an identity skip around every
layer that keeps its shape. This network is ours: the papers have none like it. Presets and durations as
there.
"""

from cifar10_cnn import main

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import cli

if __name__ == "__main__":
    cli.run(lambda: main("cifar10_resnet", __doc__, nl.networks.cifar_resnet))
