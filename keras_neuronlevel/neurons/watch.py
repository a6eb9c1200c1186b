"""Look at the neurons of any Keras model while it runs: functional, nested, subclassed.

The model itself is called, so what is seen is what it computes. For the length of one call, everything that
applies an activation function reports its pre-activation p and activation a: activation layers, the
``activation`` of other layers, and the activation functions of Keras and TensorFlow, called by a layer, a
node of a functional model, or a model's own ``call``. Nothing is added to the model or its layers.
"""

import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.neurons import heads, kinds
from keras_neuronlevel.neurons.names import Names, layer_paths
from keras_neuronlevel.neurons.views import channels_first, channels_last, folded, unfolded

_LOOP = "its activation functions are applied inside a loop or a compiled function of its own"
_UNSEEN = (
    "its function was called by a name that is not watched; call it as keras.activations does, or as a layer"
)


_ONE_THREAD = threading.RLock()  # functions that two threads had exchanged would not be put back in order


def watch(
    model: keras.Model,
    x: Any,
    on_activation: Callable[[str, tf.Tensor, tf.Tensor], object],
    *,
    left_out: dict[str, str] | None = None,
) -> Any:
    """``model(x, training=False)``, with ``on_activation(name, p, a)`` called for every activation.

    Runs eagerly or while a function is traced; a ``tf.GradientTape`` may watch a the moment it is reported.
    Both p and a have the neurons on their last axis. Names are paths of layers, the same at every call:

    - an activation layer is called what it is called, inside other models or layers ``backbone/relu``;
    - ``Dense(activation="relu", name="dense1")`` gives ``dense1-relu``;
    - a function that is called on what a layer gave is named after that layer in the same way, other ones
      after the layer in whose ``call`` they stand, or ``relu`` alone;
    - the second application of a shared layer has ``:2`` after its name, and so on.

    ``left_out`` is a dictionary that takes {name: why it cannot be reported}.
    """
    watcher = _Watcher(model, on_activation, left_out)
    with _ONE_THREAD, watcher.installed():
        outputs = model(x, training=False)
    watcher.leave_out_unseen()
    return outputs


class _Watcher:
    def __init__(self, model, on_activation, left_out):
        self._on_activation, self._left_out = on_activation, left_out
        self._model, self._paths = model, layer_paths(model)
        self._layers = [layer for _, layer in self._paths.values()]
        self._names = Names(path for path, _ in self._paths.values())
        self._first = any(kinds.keeps_channels_first(layer) for layer in self._layers)
        self._first = self._first or keras.config.image_data_format() == "channels_first"
        self._thread, self._graph = threading.get_ident(), _graph()
        self._stack, self._made = [], {}  # layers being called; {id of tensor: (tensor, layer, path)}
        self._silent, self._views, self.claimed = 0, [], set()

    # Taking hold of the layers and functions ---------------------------------------------------------

    @contextlib.contextmanager
    def installed(self):
        losses = [(layer, list(layer._losses), set(layer._loss_ids)) for layer in self._layers]
        with contextlib.ExitStack() as stack:
            self._swap_activations(stack)
            for layer in self._layers:
                stack.enter_context(swapped(layer, "call", self._watched_call(layer)))
            for module, name, _ in kinds.FUNCTION_HOMES:
                original = getattr(module, name)
                stack.enter_context(swapped(module, name, self._watched_function(original, name)))
            yield
        for layer, kept, ids in losses:  # regularizers add what they found in this graph
            layer._losses[:], layer._loss_ids = kept, ids

    def _swap_activations(self, stack):
        for owner in [self._model, *self._layers]:
            if kinds.is_neuron_layer(owner) or kinds.is_recurrent(owner):
                continue
            for name, value in list(vars(owner).items()):
                if name == "activation" and kinds.is_fused(owner) and owner is not self._model:
                    stack.enter_context(swapped(owner, name, self._watched_activation(owner, value)))
                elif kinds.is_known(value):
                    watched = self._watched_function(value, kinds.function_name(value))
                    stack.enter_context(swapped(owner, name, watched))

    def _watched_activation(self, layer, function):
        def activation(p, *args, **kwargs):
            name = partial(self._names.function, self._path(layer), kinds.function_name(function))
            return self._apply(name, layer, function, p, *args, **kwargs)

        activation.__name__ = kinds.function_name(function)
        return activation

    def _watched_function(self, function, phi):
        def watched(*args, **kwargs):
            if threading.get_ident() != self._thread or not args or not tf.is_tensor(args[0]):
                return function(*args, **kwargs)
            if phi in kinds.MIXING:
                return self._quietly(function, *args, **kwargs)
            around = self._stack[-1] if self._stack else (None, "")
            _, layer, path = self._made.get(id(args[0]), (None, *around))
            name = partial(self._names.function, path, phi)
            return self._apply(name, layer, function, *args, **kwargs)

        return watched

    def _watched_call(self, layer):
        call, path = layer.call, self._path(layer)

        def watched(*args, **kwargs):
            if threading.get_ident() != self._thread:
                return call(*args, **kwargs)
            self._stack.append((layer, path))
            try:
                outputs = self._call(layer, path, call, args, kwargs)
            finally:
                self._stack.pop()
            for tensor in keras.tree.flatten(outputs):
                self._made[id(tensor)] = tensor, layer, path
            return outputs

        return watched

    def _call(self, layer, path, call, args, kwargs):
        if kinds.is_neuron_layer(layer) and args and tf.is_tensor(args[0]):
            made_by = self._made.get(id(args[0]), (None, None, None))[1]
            return self._apply(partial(self._names.layer, path), made_by, call, *args, **kwargs)
        if kinds.is_recurrent(layer):
            if not self._silent:
                self._leave_out(path, "it is recurrent: " + _LOOP)
            return self._quietly(call, *args, **kwargs)
        if isinstance(layer, keras.layers.TimeDistributed):
            return self._time_distributed(layer, call, args, kwargs)
        return call(*args, **kwargs)

    def _path(self, layer):
        return self._paths[id(layer)][0]

    def leave_out_unseen(self):
        """Name the activation functions in the graph that nothing above has called."""
        for op in self._operations():
            if (op.type in heads.ACTIVATIONS | {"Sigmoid"} or _is_relu(op)) and op.name not in self.claimed:
                self._leave_out(op.name, _UNSEEN)

    def _leave_out(self, name, why):
        if self._left_out is not None:
            self._left_out[name] = why

    # Reporting -----------------------------------------------------------------------------------------

    def _quietly(self, function, *args, **kwargs):
        start = self._operations()
        self._silent += 1
        try:
            return function(*args, **kwargs)
        finally:
            self._silent -= 1
            if not self._silent:
                self.claimed.update(op.name for op in self._operations()[len(start) :])

    def _operations(self):
        """The operations of the graph so far; none where nobody asks what is left out."""
        if self._left_out is None or self._silent or self._graph is None:
            return []
        return self._graph.get_operations()

    def _apply(self, name, layer, function, p, *args, **kwargs):
        """a = φ(p), reported once: what φ itself calls is not reported again."""
        a = self._quietly(function, p, *args, **kwargs)
        if self._silent or threading.get_ident() != self._thread or not tf.is_tensor(a):
            return a
        name = name()
        problem = self._problem(p, a, layer)
        if problem:
            self._leave_out(name, problem)
            return a
        if a is p:  # a linear φ: what else reads p must not count as reading a
            a = keras.ops.copy(p)
        return self._report(name, layer, p, a)

    def _problem(self, p, a, layer):
        if _graph() is not self._graph:
            return _LOOP
        if not tf.is_tensor(p) or not a.dtype.is_floating or p.shape.rank is None or p.shape.rank < 2:
            return "it is no array of samples and neurons"
        if not _same_shape(p.shape, a.shape):
            return f"it makes {p.shape} into {a.shape}, so it does not work element by element"
        known = None if layer is None else kinds.keeps_channels_first(layer)
        if self._first and known is None and a.shape.rank - len(self._views) > 2:
            return (
                "the model has layers whose channels come first, and whether this one's do is not known; "
                "build it with data_format='channels_last'"
            )
        return None

    def _report(self, name, layer, p, a):
        views = list(self._views)
        if a.shape.rank > 2 and layer is not None and kinds.keeps_channels_first(layer):
            views.append((channels_last, channels_first))
        for there, _ in reversed(views):
            p, a = there(p), there(a)
        self._quietly(self._on_activation, name, p, a)
        for _, back in views:
            a = back(a)
        return a

    def _time_distributed(self, layer, call, args, kwargs):
        """All time steps at once, as further samples, so that their activations are one tensor."""
        x, *others = args
        if others or kwargs.get("mask") is not None or layer.layer.name is None:
            self._leave_out(self._path(layer), _LOOP)
            return self._quietly(call, *args, **kwargs)
        steps = x.shape[1] if x.shape[1] is not None else tf.shape(x)[1]
        options = {"training": kwargs.get("training")} if layer.layer._call_has_training_arg else {}
        self._views.append((lambda t: unfolded(t, steps), folded))
        try:
            y = layer.layer.call(folded(x), **options)
        finally:
            self._views.pop()
        return unfolded(y, steps)


def _is_relu(op):
    """Whether the operation is a ReLU written out, maximum(p, 0)."""
    if op.type != "Maximum":
        return False
    constants = [tf.get_static_value(tensor) for tensor in op.inputs]
    return any(value is not None and not np.any(value) for value in constants)


def _same_shape(one, other):
    if one.rank != other.rank:
        return False
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def _graph():
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


@contextlib.contextmanager
def swapped(owner, name, value):
    """``owner.name`` is ``value`` while the context lasts, past Keras's tracking of attributes."""
    own, original = vars(owner), vars(owner).get(name, _NONE)
    own[name] = value
    try:
        yield
    finally:
        if original is _NONE:
            del own[name]
        else:
            own[name] = original


_NONE = object()
