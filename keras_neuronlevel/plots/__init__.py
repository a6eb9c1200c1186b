"""Drawing: arrays in, ``Axes`` or ``Figure`` out. Nothing here computes results or imports TensorFlow."""

from keras_neuronlevel.plots.curves import accuracy_by_rank, accuracy_by_window, accuracy_grid
from keras_neuronlevel.plots.dynamics import (
    draw_frame,
    dynamics_grid,
    pre_activation_histogram,
    subtask_grid,
    subtask_panels,
    video_figure,
)
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
    "draw_frame",
    "dynamics_grid",
    "grid",
    "pre_activation_histogram",
    "subtask_grid",
    "subtask_panels",
    "training_curves",
    "video_figure",
]
