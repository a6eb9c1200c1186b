"""The two papers' experiments and ours: one row each, and their presets. Nothing is computed here."""

from keras_neuronlevel.papers import durations
from keras_neuronlevel.papers.experiments import EXPERIMENTS, OURS, PAPERS, STAND_IN, Experiment
from keras_neuronlevel.papers.presets import FULL, QUICK, REDUCED, ImageNetPreset, Preset, choose

__all__ = [
    "EXPERIMENTS",
    "FULL",
    "OURS",
    "PAPERS",
    "QUICK",
    "REDUCED",
    "STAND_IN",
    "Experiment",
    "ImageNetPreset",
    "Preset",
    "choose",
    "durations",
]
