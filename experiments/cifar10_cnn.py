"""The long paper's 12-layer CNN on CIFAR-10 (I Fig. 1, 3, 4, 5, rows 3 and 4; Table 1).

    python experiments/cifar10_cnn.py

trains the ReLU and the linear network, records ∂L/∂a every 100 batches, and quantizes and window-binarizes
three layers. ``--preset paper`` is the papers' scale (100 epochs at batch size 32, 1600 recordings), about
two hours a network on two idle cores; ``reduced`` (5 epochs, 40 recordings) is meant for two CPU cores, about
an hour; ``quick`` takes minutes.

Expected: near the output (``stage3layer2``) signs hardly change; in ``stage0layer0-relu`` most change all
the time.
"""

import functools

import keras_neuronlevel as nl

if __name__ == "__main__":
    network = nl.networks.cifar_cnn
    nl.cli.run(functools.partial(nl.cifar.main, "cifar10_cnn", network, __doc__.splitlines()[0]))
