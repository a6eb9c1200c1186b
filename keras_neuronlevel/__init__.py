"""Neuron-level recording of training: what a hidden neuron is told, and what it makes of it.

``import keras_neuronlevel as nl`` gives the rooms as attributes (``nl.recording``, ``nl.statistics``, ...).
They are imported on first use, so that statistics and plots never pay for TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers, which see no lazy import
    from keras_neuronlevel import (
        claims,
        data,
        distribution,
        dynamics,
        evaluation,
        networks,
        neurons,
        papers,
        plots,
        probes,
        recording,
        records,
        report,
        results,
        schedules,
        selection,
        statistics,
        training,
        videos,
    )

__version__ = "0.1.0"

__all__ = [
    "claims",
    "data",
    "distribution",
    "dynamics",
    "evaluation",
    "networks",
    "neurons",
    "papers",
    "plots",
    "probes",
    "recording",
    "records",
    "report",
    "results",
    "schedules",
    "selection",
    "statistics",
    "training",
    "videos",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
