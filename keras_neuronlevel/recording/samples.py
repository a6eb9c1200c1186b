"""The recorded samples checked against the model, and cut into batches."""

from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import checks
from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.neurons.find import check_built, input_structure
from keras_neuronlevel.recording.losses import loss_name, of_classes
from keras_neuronlevel.samples import check_images, check_labels, count, is_structure
from keras_neuronlevel.selection import Keep, Selection, Snapshots, select


def check_samples(
    model: keras.Model, x: Any, y: Any, loss: Any = None, output: str | int | None = None
) -> tuple:
    """The samples as arrays of the model's input types, and the labels: int32 classes where ``loss`` is one
    ``losses.of_classes``.

    ``loss`` is one from ``losses.chosen_loss``. ``ValueError`` says what does not fit: shape, number, NaN or
    infinity, labels.
    """
    check_built(model)
    x = _as_model_takes(model, x)
    first, *others = keras.tree.flatten(x)
    y = _arrays(y)
    for part in [*others, *keras.tree.flatten(y)]:
        if len(first) != len(part):
            raise ValueError(
                f"there are {len(first)} samples and {len(part)} labels or further inputs; give as many of "
                "both"
            )
    return x, check_targets(model, count(x), y, loss, output, x)


def _as_model_takes(model, x):
    struct = input_structure(model)
    if struct is None:
        x = keras.tree.map_structure(_floats, _arrays(x))
        keras.tree.map_structure(lambda part: check_images(part, part.shape[1:], "x", part.dtype), x)
        return x
    x = packed(x, struct, model.name)
    if not keras.tree.is_nested(struct):
        return _fitting(_array(x), struct)
    return keras.tree.map_structure(lambda part, tensor: _fitting(_array(part), tensor), x, struct)


def packed(x, struct, name):
    """Samples as a model with inputs of the structure ``struct`` takes them, by name where it has names.

    Raises ``ValueError`` where there is not one array for each input of the model called ``name``.
    """
    if not keras.tree.is_nested(struct):
        return x[0] if isinstance(x, list | tuple) and len(x) == 1 and is_structure(x) else x
    tensors = keras.tree.flatten(struct)
    names = list(struct) if isinstance(struct, dict) else [tensor.name for tensor in tensors]
    if isinstance(x, dict) and set(x) == set(names):
        x = x if isinstance(struct, dict) else [x[name] for name in names]
    elif isinstance(x, dict) or isinstance(struct, dict) or not is_structure(x) or len(x) != len(names):
        kind = "a dictionary of arrays" if isinstance(struct, dict) else "a list of arrays, one for each"
        raise ValueError(f"the model {name!r} has {len(names)} inputs ({', '.join(names)}); give x as {kind}")
    if isinstance(struct, dict):
        return {name: x[name] for name in struct}
    return keras.tree.pack_sequence_as(struct, list(x))


def _arrays(x):
    return keras.tree.map_structure(_array, x) if is_structure(x) else _array(x)


def _array(x):
    if hasattr(x, "element_spec") or not hasattr(x, "__len__"):
        raise ValueError(
            f"the recorded samples and labels are given as a {type(x).__name__}; give arrays (N, ...)"
        )
    return np.asarray(x)


def _fitting(x, tensor):
    if tensor.dtype == "string":
        return x
    return check_images(x, tensor.shape[1:], "x", tensor.dtype).astype(tensor.dtype, copy=False)


def _floats(x):
    return x.astype(keras.config.floatx()) if x.dtype == np.float64 else x


def check_targets(model, samples, y, loss=None, output=None, x=None):
    """Labels of so many samples as the loss from ``losses.chosen_loss`` takes them: int32 where it is one
    ``losses.of_classes``.

    Raises ``ValueError`` for labels that do not fit, and where the cross-entropy is not known.
    """
    found = neuron_tools.find(model, x, output)
    if found.head is None:
        neuron_tools.pick_output(model, dict.fromkeys(getattr(model, "output_names", ["0", "1"])), output)
    if not of_classes(loss):
        return keras.tree.map_structure(lambda part: _of_output(part, found.dtype), y)
    if found.head == "activation":
        raise ValueError(
            f"the output of {model.name!r} passes an activation function that is no softmax, so its "
            "cross-entropy is not known; give loss=, a function of (y, output) -> (N,)"
        )
    if found.head == "mixed":
        raise ValueError(
            f"the output of {model.name!r} is made of a softmax by operations that change its values, so its "
            "logits are not known; give loss=, a function of (y, output) -> (N,)"
        )
    if found.head == "sigmoid" and loss is not None:
        raise ValueError(
            f"{loss_name(loss)} is that of a softmax's classes, but {model.name!r} ends in a sigmoid; leave "
            "loss= out, or give a function of (y, output) -> (N,)"
        )
    if found.head == "sigmoid":
        return _yes_or_no(y, samples, found.shape)
    classes = found.shape[-1] if found.shape else 1
    if classes < 2:
        raise ValueError(
            f"the model has {classes} output; cross-entropy of integer labels needs one a class: give "
            "loss=, a function of (y, output) -> (N,), or the name of a Keras loss such as 'mse'"
        )
    return check_labels(y, (samples, *found.shape[:-1]), classes).astype(np.int32)


def _of_output(y, dtype):
    if y.dtype == np.float64 and dtype != "float64":
        return y.astype(np.float32)
    return y


def _yes_or_no(y, samples, shape):
    """0 and 1, int32 (N, ...) as the outputs, from labels (N,) too where there is one output."""
    y = np.asarray(y)
    if y.shape == (samples,) and shape == (1,):
        y = y[:, None]
    if y.shape != (samples, *shape) or not ((y == 0) | (y == 1)).all():
        raise ValueError(
            f"the labels have shape {y.shape}; as the model ends in a sigmoid, they must be 0 or 1, of shape "
            f"{_text((samples, *shape))}"
        )
    return y.astype(np.int32)


def _text(shape):
    return f"(N,{', '.join(['', *map(str, shape[1:])])[1:] if len(shape) > 1 else ''})"


def batches(x: Any, y: Any, batch_size: int) -> Iterator[tuple]:
    """Cut samples and labels into tensors of ``batch_size``; the last may be smaller."""
    batch_size = checks.whole("batch_size", batch_size, least=1)
    for start in range(0, count(x), batch_size):
        yield samples_at(x, y, slice(start, start + batch_size))


def samples_at(x, y, index):
    """Some of the samples and their labels, as tensors."""
    return keras.tree.map_structure(lambda part: tf.constant(part[index]), (x, y))


def specs(x, y):
    """``tf.TensorSpec`` of batches of any size of such samples and labels."""
    return keras.tree.map_structure(
        lambda part: tf.TensorSpec([None, *part.shape[1:]], tf.as_dtype(part.dtype)), (x, y)
    )


def selections_of(
    model: keras.Model,
    layers: Iterable[str],
    samples: int,
    keep: Keep = Keep(),
    snapshots: Snapshots = Snapshots(),
    *,
    x: Any = None,
    output: str | int | None = None,
) -> dict[str, Selection]:
    """What is recorded of each layer, {layer: Selection}; see ``selection.select``."""
    shapes = neuron_tools.find(model, x, output).shapes
    return select({name: _known(name, shapes[name]) for name in layers}, samples, keep, snapshots)


def _known(name, shape):
    if None in shape:
        raise ValueError(
            f"the activations of {name!r} have shape {shape}, not fully known; build the model with a "
            "fixed input shape to record it"
        )
    return shape
