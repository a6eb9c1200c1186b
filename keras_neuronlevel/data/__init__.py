"""Image data sets, exact and always in the same order, from whatever source a machine can reach."""

from keras_neuronlevel.data.loading import Dataset, load
from keras_neuronlevel.data.specs import DataError

__all__ = ["DataError", "Dataset", "load"]
