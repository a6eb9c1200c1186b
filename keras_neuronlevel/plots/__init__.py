"""Drawing: arrays in, ``Axes`` or ``Figure`` out. Nothing here computes results or imports TensorFlow."""

from keras_neuronlevel.plots.curves import accuracy_by_rank, accuracy_by_window, accuracy_grid, table1
from keras_neuronlevel.plots.signs import (
    average_sign_histogram,
    class_consistency_histogram,
    training_curves,
)
from keras_neuronlevel.plots.style import grid

__all__ = [
    "accuracy_by_rank",
    "accuracy_by_window",
    "accuracy_grid",
    "average_sign_histogram",
    "class_consistency_histogram",
    "grid",
    "table1",
    "training_curves",
]
