"""Neuron-level recording of training: what a hidden neuron is told, and what it makes of it.

``import keras_neuronlevel as nl`` gives the modules as attributes (``nl.recording``, ``nl.statistics``,
...). They are imported on first use, so that statistics and plots never pay for TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_MODULES = (
    "claims",
    "data",
    "dynamics",
    "evaluation",
    "files",
    "networks",
    "neurons",
    "plots",
    "probes",
    "recording",
    "records",
    "report",
    "schedules",
    "results",
    "selection",
    "statistics",
    "training",
    "videos",
)

__all__ = list(_MODULES)


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
