"""Inject quantized and window-binarized pre-activations, and see what a network can still do (I §5)."""

from keras_neuronlevel.evaluation.calibration import Calibration, calibrate, calibration_subset
from keras_neuronlevel.evaluation.curves import QuantizationCurve, WindowCurve
from keras_neuronlevel.evaluation.injection import (
    open_ends,
    quantize,
    side_means,
    window_ranks,
)
from keras_neuronlevel.evaluation.probing import Probe
from keras_neuronlevel.evaluation.quantization import accuracy, quantization_curve, quantization_curves
from keras_neuronlevel.evaluation.readout import Retrain
from keras_neuronlevel.evaluation.truncation import Truncation, truncate
from keras_neuronlevel.evaluation.window import window_curve

__all__ = [
    "Calibration",
    "Probe",
    "QuantizationCurve",
    "Retrain",
    "Truncation",
    "WindowCurve",
    "accuracy",
    "calibrate",
    "calibration_subset",
    "open_ends",
    "quantization_curve",
    "quantization_curves",
    "quantize",
    "side_means",
    "truncate",
    "window_curve",
    "window_ranks",
]
