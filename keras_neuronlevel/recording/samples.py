"""The recorded samples checked against the model, and cut into batches."""

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.neurons.find import check_built, input_structure
from keras_neuronlevel.selection import select


def count(x) -> int:
    """How many samples x holds: an array (N, ...), or a list or dictionary of such arrays."""
    return len(keras.tree.flatten(x)[0]) if _is_structure(x) else len(x)


def _is_structure(x):
    """Whether x is several arrays rather than one: a dictionary, a tuple, or a list of arrays."""
    if isinstance(x, dict | tuple):
        return True
    return isinstance(x, list) and all(hasattr(part, "shape") and len(part.shape) > 0 for part in x)


def check_samples(model, x, y, loss=None, output=None):
    """The samples as arrays of the model's input types, and the labels: int32 classes where ``loss`` is None.

    ``loss`` is one from ``losses.chosen_loss``. ``ValueError`` says what does not fit: shape, number, NaN or
    infinity, labels.
    """
    check_built(model)
    x = _as_model_takes(model, x)
    first, *others = keras.tree.flatten(x)
    y = _arrays(y)
    for part in [*others, *keras.tree.flatten(y)]:
        if len(first) != len(part) or not len(first):
            raise ValueError(
                f"there are {len(first)} samples and {len(part)} labels or further inputs; give as many of both, "
                "1 or more"
            )
    for part in keras.tree.flatten(x):
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            bad = int((~np.isfinite(part.reshape(len(part), -1)).all(axis=1)).argmax())
            raise ValueError(f"sample {bad} holds NaN or infinite values; clean the samples first")
    if not len(first):
        raise ValueError("there are 0 samples; give 1 or more")
    return x, _check_labels(model, x, y, loss, output)


def _as_model_takes(model, x):
    struct = input_structure(model)
    if struct is None:
        return keras.tree.map_structure(_floats, _arrays(x))
    if not keras.tree.is_nested(struct):
        x = x[0] if isinstance(x, list | tuple) and len(x) == 1 and _is_structure(x) else x
        return _fitting(_array(x), struct)
    given = list(x.values()) if isinstance(x, dict) else x
    tensors = keras.tree.flatten(struct)
    if not isinstance(given, list | tuple) or len(given) != len(tensors):
        names = ", ".join(str(tensor.name) for tensor in tensors)
        raise ValueError(
            f"the model {model.name!r} has {len(tensors)} inputs ({names}); give x as one array for each"
        )
    if isinstance(struct, dict) and isinstance(x, dict):
        if set(x) != set(struct):
            raise ValueError(f"x has the inputs {sorted(x)}; the model {model.name!r} takes {sorted(struct)}")
        return {name: _fitting(_array(x[name]), struct[name]) for name in struct}
    parts = [_fitting(_array(part), tensor) for part, tensor in zip(given, tensors, strict=True)]
    return keras.tree.pack_sequence_as(struct, parts)


def _arrays(x):
    return keras.tree.map_structure(_array, x) if _is_structure(x) else _array(x)


def _array(x):
    if hasattr(x, "element_spec") or not hasattr(x, "__len__"):
        raise ValueError(
            f"the recorded samples and labels are given as a {type(x).__name__}; give arrays (N, ...)"
        )
    return np.asarray(x)


def _fitting(x, tensor):
    expected = tensor.shape[1:]
    fits = x.ndim == len(expected) + 1 and all(
        e in (None, s) for e, s in zip(expected, x.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"the samples have shape {x.shape}; the model takes (N, {', '.join(map(str, expected))})"
        )
    return x.astype(tensor.dtype, copy=False) if tensor.dtype != "string" else x


def _floats(x):
    return x.astype(keras.config.floatx()) if x.dtype == np.float64 else x


def _check_labels(model, x, y, loss, output):
    found = neuron_tools.find(model, x, output)
    if found.head is None:
        neuron_tools.pick_output(model, dict.fromkeys(getattr(model, "output_names", ["0", "1"])), output)
    if loss is not None:
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
    if found.head == "sigmoid":
        return _yes_or_no(y, len(keras.tree.flatten(x)[0]), found.shape)
    classes = found.shape[-1] if found.shape else 1
    if classes < 2:
        raise ValueError(
            f"the model has {classes} output; cross-entropy of integer labels needs one a class: give "
            "loss=, a function of (y, output) -> (N,), or the name of a Keras loss such as 'mse'"
        )
    return class_labels(y, (len(keras.tree.flatten(x)[0]), *found.shape[:-1]), classes)


def _of_output(y, dtype):
    if y.dtype == np.float64 and dtype != "float64":
        return y.astype(np.float32)
    return y


def class_labels(y, shape, classes) -> np.ndarray:
    """Class numbers, int32 of ``shape`` (None in it fits all), from numbers of any type, with or without a last
    axis of 1, or one-hot rows of K ``classes``. Raises ``ValueError``."""
    y = np.asarray(y)
    given = y.shape, y.dtype
    if y.ndim == len(shape) + 1 and y.shape[-1] == 1:
        y = y[..., 0]
    elif y.ndim == len(shape) + 1 and y.shape[-1] == classes and _is_one_hot(y):
        y = y.argmax(axis=-1)
    fits = y.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, y.shape, strict=True)
    )
    if not fits or y.dtype.kind not in "iufb" or not (y == np.floor(y)).all():
        raise ValueError(
            f"the labels have shape {given[0]} and type {given[1]}; they must be class numbers of shape "
            f"{_text(shape)}, or one-hot with {classes} more"
        )
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels lie in [{y.min()}, {y.max()}]; with {classes} outputs they must lie in [0, {classes - 1}]"
        )
    return y.astype(np.int32)


def _is_one_hot(y):
    return bool(((y == 0) | (y == 1)).all() and (y.sum(axis=-1) == 1).all())


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


def batches(x, y, batch_size):
    """Cut samples and labels into tensors of ``batch_size``; the last may be smaller."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
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


def selections_of(model, layers, samples, *, x=None, output=None, **choice):
    """What is recorded of each layer, {layer: Selection}; ``choice`` as in ``selection.select``."""
    shapes = neuron_tools.find(model, x, output).shapes
    return select({name: _known(name, shapes[name]) for name in layers}, samples, **choice)


def _known(name, shape):
    if None in shape:
        raise ValueError(
            f"the activations of {name!r} have shape {shape}, not fully known; build the model with a "
            "fixed input shape to record it"
        )
    return shape
