"""A model's twin for curves: one flat graph in which every activation function is a layer of its own."""

import contextlib
import weakref
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.neurons import kinds
from keras_neuronlevel.neurons.find import check_stateless, structure
from keras_neuronlevel.neurons.graph import functional, has_graph, nodes, sample_inputs
from keras_neuronlevel.neurons.names import Names, layer_paths
from keras_neuronlevel.neurons.state import unchanged_state

# {model: (its structure, its twin, or None where it is one itself)}
_twins: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def split_fused(model: keras.Model) -> keras.Model:
    """A model of the same function in which every activation function that can be cut at is a layer.

    ``Dense(512, activation="relu", name="dense1")`` becomes a linear ``dense1``, whose output is the
    pre-activation, and ``dense1-relu``; functional and Sequential models inside the model become part of one
    flat graph, in which their neurons are called ``backbone/conv1-relu``, as everywhere. The new model
    *shares its weights* with the old one: training either trains both. It adds nothing to the model's layers
    and draws no random number. A model that has nothing to split is returned as it is.

    The twin is held against the model on a few made-up samples, which must leave the model as it is, also
    where it is the model itself; it is kept as long as the model, and made anew when layers, activation
    functions or variables of the model have been exchanged.

    Raises ``ValueError`` for subclassed and unbuilt models, and for one whose twin is not the same function
    (a layer that does more after its activation function; a layer that keeps state between calls).
    """
    graph = functional(model)
    check_stateless(model)
    now = structure(model)
    kept, twin = _twins.get(model, (None, None))
    if kept != now:
        twin = graph
        if _needs_split(graph):
            twin = _split(graph, model)
        _check_same(model, twin)
        _twins[model] = now, None if twin is model else twin
        return twin
    return twin or model


def _needs_split(model):
    operations = [node.operation for node in nodes(model)]
    return any(kinds.applies_activation(op) or has_graph(op) or kinds.operation_phi(op) for op in operations)


def _split(graph, model):
    if not all(layer.built for _, layer in layer_paths(model).values()):
        model(sample_inputs(model), training=False)  # such as a PReLU that is another layer's activation
    inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name) for t in graph.inputs]
    known = {id(old): new for old, new in zip(graph.inputs, inputs, strict=True)}
    outputs = _Flattening(model).run(graph, known, "")
    return keras.Model(
        keras.tree.pack_sequence_as(graph._inputs_struct, inputs),
        keras.tree.pack_sequence_as(graph._outputs_struct, outputs),
        name=model.name,
    )


class _Flattening:
    """Runs graphs of layers symbolically with copies of the layers, nested graphs as part of one."""

    def __init__(self, model):
        self._paths = layer_paths(model)
        self._names = Names(path for path, _ in self._paths.values())
        self._used, self._copies, self._made = set(), {}, {}

    def run(self, graph, known, around):
        """The outputs of ``graph`` from ``known`` {id of its tensor: tensor of the twin}."""
        for node in nodes(graph):
            args, kwargs = node.arguments.fill_in(known)
            outputs = keras.tree.flatten(self._apply(node.operation, args, kwargs, around))
            for old, new in zip(node.output_tensors, outputs, strict=True):
                known[id(old)] = new
                if isinstance(node.operation, keras.Layer):
                    self._made[id(new)] = self._path(node.operation)
        return [known[id(tensor)] for tensor in graph.outputs]

    def _path(self, layer):
        return self._paths[id(layer)][0]

    def _apply(self, operation, args, kwargs, around):
        if has_graph(operation):
            nested = functional(operation)
            given = keras.tree.flatten(args[0])
            if len(args) == 1 and len(given) == len(nested.inputs):
                inputs = {id(old): new for old, new in zip(nested.inputs, given, strict=True)}
                return self.run(nested, inputs, self._path(operation))
        phi = kinds.operation_phi(operation)
        if phi:
            name = self._names.function(self._made.get(id(args[0]), around), phi)
            return self._neuron(copied(operation), name)(*args, **kwargs)
        if kinds.is_neuron_layer(operation):
            return self._neuron(copied(operation), self._names.layer(self._path(operation)))(*args, **kwargs)
        outputs = self._copy(operation)(*args, **kwargs)
        return self._phi(operation)(outputs) if kinds.applies_activation(operation) else outputs

    def _copy(self, operation):
        """The same layer with the same variables, linear where it is fused, and without its history."""
        if id(operation) not in self._copies:
            path = self._path(operation) if isinstance(operation, keras.Layer) else operation.name
            changes = {"neuron_path": path, "name": self._name(path)}
            if kinds.applies_activation(operation):
                changes["activation"] = keras.activations.linear
            self._copies[id(operation)] = operation, copied(operation, **changes)
        return self._copies[id(operation)][1]

    def _phi(self, layer):
        """A layer that applies the activation function of a fused layer."""
        name = self._names.function(self._path(layer), kinds.activation_name(layer))
        function = layer.activation
        if isinstance(function, keras.Layer):
            return self._neuron(copied(function), name)
        phi = keras.layers.Activation(function, name=self._name(name), dtype=_dtype(layer))
        return self._neuron(phi, name, kinds.is_fused(layer), phi.name)

    def _neuron(self, operation, name, applies_phi=True, unique=None):
        """Marked as the neuron layer ``name``: one for each application, so that no two can be confused."""
        vars(operation).update(neuron_path=name, applies_phi=applies_phi, name=unique or self._name(name))
        return operation

    def _name(self, path):
        name = path.replace("/", ".").replace(":", ".")
        while name in self._used:
            name += "_"
        self._used.add(name)
        return name


def _dtype(layer):
    return layer.compute_dtype if layer.quantization_mode else layer.dtype_policy


def copied(operation: Any, **changes: Any) -> Any:
    """A shallow copy of a layer or operation: the same class, attributes and variables, none of its history.

    Nothing is initialized, so no random number is drawn, and whatever a subclass keeps is kept.
    """
    twin = object.__new__(type(operation))
    vars(twin).update(vars(operation))
    vars(twin).update(_inbound_nodes=[], _outbound_nodes=[])
    if isinstance(operation, keras.Layer):
        vars(twin).update(_losses=[], _loss_ids=set(), _losses_override=[])
    vars(twin).update(changes)
    return twin


def _check_same(model, twin):
    x = sample_inputs(model)
    with unchanged_state(model):
        if twin is model:  # there is nothing to compare, and it need not take what is made up
            with contextlib.suppress(ValueError, TypeError, tf.errors.OpError):
                model(x, training=False)
            return
        expected, found = (keras.tree.flatten(m(x, training=False)) for m in (model, twin))
    for one, other in zip(expected, found, strict=True):
        check_equal(model, np.asarray(one, np.float64), np.asarray(other, np.float64), one.dtype)


def check_equal(model, expected, found, dtype):
    error, scale = np.abs(expected - found).max(), np.abs(expected).max()
    if np.isinf(scale):
        return
    if not error <= tolerance(dtype) * max(scale, 1e-30) and not (np.isnan(error) and np.isnan(scale)):
        raise ValueError(
            f"the layers of {model.name!r} cannot be split at their activation functions: the split model's "
            f"outputs differ by {error:.3g} of {scale:.3g}; a layer of one's own does more after its "
            "activation function. Make that a layer of its own (the recorder takes the model as it is)"
        )


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> bool:
    """Whether two arrays are the same up to a share of the whole; of expected values that are not finite only
    the shape is compared: they are for those to judge who meet them."""
    if found.shape != expected.shape or not np.isfinite(expected).all():
        return found.shape == expected.shape
    return bool(np.linalg.norm(found - expected) <= tolerance * np.linalg.norm(expected) + 1e-9)


def tolerance(dtype: Any) -> float:
    """How far two ways to compute the same may differ, as a share of the whole; GPUs may round float32 to
    TensorFloat-32 on the way."""
    rounds = tf.config.experimental.tensor_float_32_execution_enabled()
    float32 = 2e-2 if rounds and tf.config.list_physical_devices("GPU") else 1e-3
    return {"float64": 1e-9, "float32": float32}.get(str(getattr(dtype, "name", dtype)), 0.1)
