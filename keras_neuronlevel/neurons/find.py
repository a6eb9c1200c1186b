"""Find the neurons of any Keras model, by tracing it once, and say which ones cannot be reached."""

import difflib
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.neurons import kinds
from keras_neuronlevel.neurons.heads import head, pick_output
from keras_neuronlevel.neurons.names import layer_paths
from keras_neuronlevel.neurons.watch import watch

_OUTPUT, _UNUSED = "it is the model's output", "the output does not depend on it"
HARMLESS = {_OUTPUT, _UNUSED}  # reasons that nobody needs to be warned of
_TRACE_BATCH = 13  # samples of a traced call: a size that layers hardly have
# {model: {(structure, inputs, output): Neurons}}
_found: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@dataclass(frozen=True)
class Neurons:
    """What tracing a model found: ``shapes`` {name: shape of a sample's activation (..., U)} from input to
    output, ``left_out`` {name: why}, and of the chosen output the kind of ``head`` (see
    :class:`~keras_neuronlevel.neurons.Head`; None where the model has several outputs and none was chosen),
    the ``shape`` of a sample and the ``dtype``."""

    shapes: dict
    left_out: dict
    head: str | None = None
    shape: tuple = ()
    dtype: str = "float32"


def find(model: keras.Model, x: Any = None, output: str | int | None = None) -> Neurons:
    """The :class:`Neurons` of a model, found once for each of its structures.

    ``x``, samples as the model takes them, is needed where the model does not know its inputs' shapes.
    Raises ``ValueError`` for a model that is not built or cannot take such samples.
    """
    inputs = input_specs(model, x)
    check_stateless(model)
    key = (structure(model), str(inputs), output)
    kept = _found.setdefault(model, {})
    if key not in kept:
        kept.clear()  # a model of another structure is not looked at again
        kept[key] = _trace(model, inputs, output)
    return kept[key]


def _trace(model, inputs, output):
    seen, left_out, tensors = {}, {}, {}

    def on_activation(name, p, a):
        seen[name], tensors[name] = tuple(a.shape), a

    with tf.__internal__.FuncGraph("neurons").as_default():
        x = keras.tree.map_structure(lambda s: tf.compat.v1.placeholder(s.dtype, s.shape), inputs)
        outputs = _called(model, x, on_activation, left_out)
        ends = keras.tree.flatten(outputs)
        chosen = None if output is None and len(ends) > 1 else pick_output(model, outputs, output)
        batch = keras.tree.flatten(inputs)[0].shape[0]
        needed = _needed(ends if chosen is None else [chosen])
        for name, a in tensors.items():
            if seen[name][0] not in (batch, None):
                left_out[name] = f"its first axis, of {seen[name][0]} for {batch} samples, is not the samples"
            elif _origin(a) in {_origin(end) for end in ends}:
                left_out[name] = _OUTPUT
            elif a.op.name not in needed:
                left_out[name] = _UNUSED
        shapes = {name: shape[1:] for name, shape in seen.items() if name not in left_out}
        if chosen is None:
            return Neurons(shapes, left_out)
        return Neurons(shapes, left_out, head(chosen).kind, tuple(chosen.shape[1:]), chosen.dtype.name)


def activation_functions(model: keras.Model, names: Iterable[str]) -> dict[str, str]:
    """{name: the name of its activation function φ} of neuron layers; "" where several layers have its
    path."""
    layers: dict[str, Any] = {}
    for path, layer in layer_paths(model).values():
        layers[path] = None if path in layers else layer
    return {name: _function(layers, name) for name in names}


def _function(layers, name):
    path = name if name in layers else name.split(":")[0]
    if path not in layers:
        return path.rsplit("-", 1)[-1].strip("_")
    return "" if layers[path] is None else kinds.applied_function(layers[path])


def _needed(ends):
    """The names of the operations that the tensors are computed from."""
    waiting, needed = [tensor.op for tensor in ends], set()
    while waiting:
        op = waiting.pop()
        if op.name not in needed:
            needed.add(op.name)
            waiting += [tensor.op for tensor in op.inputs]
    return needed


def _called(model, x, on_activation, left_out):
    try:
        return watch(model, x, on_activation, left_out=left_out)
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"the model {model.name!r} cannot be called with such samples: {first}") from error


def _origin(tensor):
    """The name of the tensor whose values these are."""
    while tensor.op.type in ("Identity", "Cast"):
        tensor = tensor.op.inputs[0]
    return tensor.name


def input_specs(model, x=None):
    """The structure of the model's inputs as ``tf.TensorSpec``, with a batch of a fixed size."""
    check_built(model)
    struct = input_structure(model)
    if struct is not None:
        return keras.tree.map_structure(_spec, struct)
    if x is not None:
        return keras.tree.map_structure(
            lambda a: tf.TensorSpec([_TRACE_BATCH, *np.shape(a)[1:]], _dtype(np.asarray(a).dtype)), x
        )
    shapes = getattr(model, "_build_shapes_dict", None) or {}
    known = [shape for shape in shapes.values() if shape and isinstance(shape[-1], int)]
    if len(shapes) != 1 or len(known) != 1:
        raise ValueError(
            f"the model {model.name!r} does not say which inputs it takes; give x, a few samples, as well"
        )
    return tf.TensorSpec([_TRACE_BATCH, *known[0][1:]], model.input_dtype)


def _dtype(dtype):
    return keras.config.floatx() if dtype.kind == "f" else dtype


def _spec(tensor):
    batch = tensor.shape[0] or _TRACE_BATCH
    return tf.TensorSpec([batch, *tensor.shape[1:]], tensor.dtype)


def input_structure(model):
    """The Keras tensors that go into a functional or Sequential model, as it takes them, or None."""
    graph = getattr(model, "_functional", None) or model
    struct = getattr(graph, "_inputs_struct", None)
    if isinstance(struct, list | tuple) and len(struct) == 1:
        struct = struct[0]
    return struct


def check_stateless(model):
    """Raises ``ValueError`` for a model with a recurrent layer whose states outlive a call."""
    stateful = [path for path, layer in layer_paths(model).values() if getattr(layer, "stateful", False)]
    if stateful:
        raise ValueError(
            f"{', '.join(stateful)} of {model.name!r} keeps its state between calls, so looking at the "
            "model would change its training, and a sample's derivatives depend on those before it; build "
            "it with stateful=False"
        )


def check_built(model):
    if not isinstance(model, keras.Layer):
        raise ValueError(f"{type(model).__name__} is no Keras model; give a keras.Model")
    if not model.built:
        raise ValueError(
            f"the model {model.name!r} is not built, so it has no weights yet; give it an Input, call "
            "model.build(input_shape), or call it once on a few samples"
        )


def structure(model: keras.Model) -> int:
    """A value that changes when layers, activation functions or variables of a model are exchanged."""
    parts = []
    for path, layer in layer_paths(model).values():
        own = [
            id(value)
            for value in vars(layer).values()
            if callable(value) or isinstance(value, keras.Variable)
        ]
        flags = str(layer.dtype_policy), getattr(layer, "lora_enabled", None), len(layer._layers)
        parts.append((path, id(layer), *own, *flags))
    return hash((tuple(parts), id(getattr(model, "_functional", None)), keras.config.image_data_format()))


def choose(found, layers, model_name):
    """The given names checked, in the model's order, or all of them where ``layers`` is None."""
    if isinstance(layers, str):
        layers = [layers]
    names = list(found.shapes)
    if not names:
        raise ValueError(_none(found, model_name))
    chosen = names if layers is None else list(layers)
    if not chosen:
        raise ValueError("layers is empty; name at least one neuron layer, or give None for all")
    for name in chosen:
        if name not in names:
            raise ValueError(unknown(name, names, found.left_out))
    return sorted(dict.fromkeys(chosen), key=names.index)


def unknown(name, names, left_out=None):
    """One sentence about a name that no neuron layer has."""
    if name in (left_out or {}):
        return f"{name!r} cannot be taken: {left_out[name]}"
    near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.3) or names[:3]
    return f"no neuron layer is called {name!r}; the nearest of the {len(names)} are {', '.join(near)}"


def _none(found, model_name):
    text = f"the model {model_name!r} has no neuron layer"
    if found.left_out:
        reasons = "; ".join(f"{name}: {why}" for name, why in found.left_out.items())
        return f"{text} that can be reached ({reasons})"
    return f'{text}; give it layers such as keras.layers.Activation("relu") between its weights'
