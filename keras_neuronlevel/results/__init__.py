"""The numbers of runs: what ``metrics.json`` holds, how it is written, read, and shown as tables.

``schema`` names every number, ``metrics`` is the file, ``neurons`` is
``neurons.json``, ``store`` keeps what is finished, ``seeds`` takes runs
of several seeds together, ``tables`` shows the numbers. Nothing here imports TensorFlow or draws.
"""

from keras_neuronlevel.results import neurons, tables
from keras_neuronlevel.results.metrics import (
    MODEL,
    TRAINING,
    Metrics,
    check_alike,
    file_name,
    head_problem,
    of_value,
    preset,
    read,
    same_but_for_seed,
)
from keras_neuronlevel.results.schema import ALL_NEGATIVE, NEAR_HALF, TWICE, check, lookup, path, window
from keras_neuronlevel.results.store import Store

__all__ = [
    "ALL_NEGATIVE",
    "MODEL",
    "NEAR_HALF",
    "TRAINING",
    "TWICE",
    "Metrics",
    "Store",
    "check",
    "check_alike",
    "file_name",
    "head_problem",
    "lookup",
    "neurons",
    "of_value",
    "path",
    "preset",
    "read",
    "same_but_for_seed",
    "tables",
    "window",
]
