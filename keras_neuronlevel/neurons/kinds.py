"""Which layers and functions apply an activation function φ, and what they are called."""

import re
from typing import Any

import keras
import tensorflow as tf
from keras.src import backend

ELEMENTWISE_LAYERS = (
    keras.layers.Activation,
    keras.layers.ReLU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ELU,
)
# Activation functions that mix the values of a sample: their outputs belong to no single neuron.
MIXING = {"softmax", "log_softmax", "sparsemax", "glu"}
_FUNCTIONS = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "sigmoid",
    "log_sigmoid", "hard_sigmoid", "hard_silu", "hard_swish", "tanh", "hard_tanh", "tanh_shrink", "softplus",
    "softsign", "soft_shrink", "hard_shrink", "sparse_plus", "sparse_sigmoid", "squareplus", "threshold",
    "glu",
)  # fmt: skip
# Where layers and a model's own ``call`` look activation functions up: [(module, name, function)].
FUNCTION_HOMES = [
    (module, name, getattr(module, name))
    for module in (keras.activations, backend.nn, tf.nn, tf.math, tf)
    for name in _FUNCTIONS
    if hasattr(module, name)
]
FUNCTION_HOMES.append((backend.numpy, "tanh", backend.numpy.tanh))
_KEPT_ANYWHERE = [getattr(keras.ops, name) for name in _FUNCTIONS if hasattr(keras.ops, name)]
_KEPT_ANYWHERE += [function for _, _, function in FUNCTION_HOMES]
_KNOWN = {id(function) for function in _KEPT_ANYWHERE}


def is_known(value):
    """Whether a value is one of the activation functions of Keras or TensorFlow themselves, and mixes
    nothing."""
    return id(value) in _KNOWN and function_name(value) not in MIXING


def activation_name(layer: Any) -> str:
    """The name of a layer's activation function φ, such as ``relu``; ``lambda`` where it has none."""
    function = getattr(layer, "activation", None)
    return function_name(function or layer)


def function_name(function):
    """The lower-case name of a function or of a layer's class, of characters that a layer's name may have."""
    name = getattr(function, "__name__", None) or type(function).__name__
    return re.sub(r"[^a-z0-9_.]", "", name.lower())


def is_softmax(layer):
    if isinstance(layer, keras.layers.Softmax):
        return True
    return isinstance(layer, keras.layers.Activation) and activation_name(layer) == "softmax"


def is_recurrent(layer):
    """Whether the layer, or the cell, applies its activation functions once for every time step."""
    return isinstance(layer, keras.layers.RNN) or hasattr(layer, "state_size")


def applies_activation(layer):
    """Whether the layer applies an activation function itself, as ``Dense(activation="relu")`` does."""
    if not isinstance(layer, keras.Layer) or isinstance(layer, ELEMENTWISE_LAYERS) or is_recurrent(layer):
        return False
    return callable(vars(layer).get("activation")) and activation_name(layer) != "linear"


def is_fused(layer):
    """Whether the layer applies an activation function itself whose values are neurons'."""
    return applies_activation(layer) and activation_name(layer) not in MIXING


def is_elementwise(layer):
    return isinstance(layer, ELEMENTWISE_LAYERS)


def is_neuron_layer(layer):
    """Whether the layer, or the operation of a twin, does nothing but apply an activation function."""
    if getattr(layer, "applies_phi", False):
        return True
    if isinstance(layer, keras.layers.Lambda) and is_known(layer.function):
        return True
    return is_elementwise(layer) and activation_name(layer) not in MIXING


def operation_phi(operation):
    """The name of the activation function that an operation of a functional model is, such as
    ``keras.ops.relu(tensor)``; None for other operations and for layers."""
    if isinstance(operation, keras.Layer) or getattr(operation, "applies_phi", False):
        return None
    kind = type(operation)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()
    if kind.__name__ == "ReLU":  # of keras.activations, with options
        name = _relu_name(operation)
    known = kind.__module__.startswith("keras.src") and name in _FUNCTIONS and name not in MIXING
    return name if known else None


def _relu_name(operation):
    if operation.max_value is not None or operation.threshold:
        return None
    return "leaky_relu" if operation.negative_slope else "relu"


def applied_function(layer):
    """The name of the activation function that an activation layer applies."""
    if isinstance(layer, keras.layers.Lambda):
        return function_name(layer.function)
    return activation_name(layer)


def keeps_channels_first(layer):
    """Whether the layer's channels come right after the samples (None where the layer does not say)."""
    if isinstance(layer, keras.layers.BatchNormalization):
        dimensions = getattr(layer.input_spec, "ndim", None) or 0
        return dimensions > 2 and layer.axis % dimensions == 1
    data_format = getattr(layer, "data_format", None)
    return None if data_format is None else data_format == "channels_first"
