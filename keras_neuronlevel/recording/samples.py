"""The recorded samples checked against the model, and cut into batches."""

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.selection import select


def check_samples(model, x, y, loss=None):
    """The samples and labels as arrays, float32 and int32 where the loss is the default. ``ValueError``
    says what does not fit: shape, number, NaN or infinity, label range."""
    x, y = np.asarray(x), np.asarray(y)
    if len(neuron_tools.functional(model).inputs) != 1:
        raise ValueError(f"the model {model.name!r} has several inputs; the recorder takes one")
    expected = model.inputs[0].shape[1:]
    fits = x.ndim == len(expected) + 1 and all(
        e in (None, s) for e, s in zip(expected, x.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"the samples have shape {x.shape}; the model takes (N, {', '.join(map(str, expected))})"
        )
    if not len(x) or len(x) != len(y):
        raise ValueError(f"there are {len(x)} samples and {len(y)} labels; give as many of both, 1 or more")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).argmax())
        raise ValueError(f"sample {bad} holds NaN or infinite values; clean the samples first")
    if loss is None:
        y = _check_labels(model, y)
    return x.astype(model.inputs[0].dtype, copy=False), y


def _check_labels(model, y):
    if not neuron_tools.gives_logits(model):
        raise ValueError(
            f"the output of {model.name!r} passes an activation function that is no softmax, so its "
            "cross-entropy is not known; give loss=, a function of (y, output) -> (N,)"
        )
    classes = model.outputs[0].shape[-1]
    if classes < 2:
        raise ValueError(
            f"the model has {classes} output; cross-entropy of integer labels needs one a class: give "
            "loss=, a function of (y, output) -> (N,)"
        )
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(
            f"the labels have shape {y.shape} and type {y.dtype}; they must be integers of shape (N,): "
            "class indices, not one-hot"
        )
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels lie in [{y.min()}, {y.max()}]; with {classes} outputs they must lie in "
            f"[0, {classes - 1}]"
        )
    return y.astype(np.int32)


def batches(x, y, batch_size):
    """Cut samples and labels into tensors of ``batch_size``; the last may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        yield tf.constant(x[part]), tf.constant(y[part])


def selections_of(model, layers, samples, **choice):
    """What is recorded of each layer, {layer: Selection}; ``choice`` as in ``selection.select``."""
    return select(_shapes(model, layers), samples, **choice)


def _shapes(model, names):
    """{layer: shape of a sample's activation}; raises ``ValueError`` where it is not fully known."""
    shapes = {name: tuple(neuron_tools.activation(model, name).shape[1:]) for name in names}
    for name, shape in shapes.items():
        if None in shape:
            raise ValueError(
                f"the activations of {name!r} have shape {shape}, not fully known; build the model with a "
                "fixed input shape to record it"
            )
        if len(shape) > 1 and keras.config.image_data_format() != "channels_last":
            raise ValueError(
                f"{name!r} is a feature map and Keras is set to 'channels_first'; channels must come last "
                "(keras.config.set_image_data_format('channels_last'))"
            )
    return shapes
