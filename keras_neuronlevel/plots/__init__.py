"""Drawing: arrays in, ``Axes`` or ``Figure`` out. Nothing here computes results or imports TensorFlow."""

from keras_neuronlevel.plots.signs import (
    average_sign_histogram,
    class_consistency_histogram,
    training_curves,
)
from keras_neuronlevel.plots.style import grid

__all__ = ["average_sign_histogram", "class_consistency_histogram", "grid", "training_curves"]
