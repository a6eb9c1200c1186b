"""Cut a network in two at a neuron layer: the prefix up to p, the suffix from p to the logits.

The cut goes through the edge p -> φ of the graph. Whatever else the suffix needs (a skip connection that
passes the layer by, p itself where a second layer reads it) crosses the cut as well and is carried
along, so the prefix runs once however many values are injected. Because the graph is cut at *nodes*,
every functional model can be cut at every neuron layer, and no injecting clone is needed.

Both halves call the model's own layers, so they share its weights; they add no node to them
(KERAS_TRAPS 7) and leave the model as it is.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons, streams

# {model: (its structure, {layer name: Truncation})}, gone with the model
_cuts: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def truncate(model: keras.Model, layer: str) -> "Truncation":
    """The :class:`Truncation` of a model at a neuron layer, made once and kept as long as the model has these
    layers, activation functions and variables."""
    now = neurons.structure(model)
    if _cuts.get(model, (None, None))[0] != now:
        _cuts[model] = now, {}
    cuts = _cuts[model][1]
    if layer not in cuts:
        cuts[layer] = Truncation(model, layer)
    return cuts[layer]


class Truncation:
    """The two halves of ``model`` at the neuron layer ``layer``.

    ``prefix(x)`` gives ``(p, crossing)``: the pre-activations (N, ..., U), and the list of the other
    tensors that the suffix needs (often empty). ``suffix(p, crossing)`` gives the logits (N, K). Both run
    in inference mode, eagerly or inside a ``tf.function``; ``suffix(*prefix(x))`` is ``model(x)`` before
    its softmax; for a model that ends in one sigmoid of z they are (0, z), K = 2. Fused layers
    (``Dense(activation="relu")``) are split first, Sequential models work.

    Attributes: ``layer``, ``units`` (U), ``classes`` (K), ``shape`` of p without samples,
    ``input_shape``, ``crossing_shapes``, ``widest`` (how many values the network's largest tensor has for one
    image), and ``is_logits``: whether cross-entropy of the outputs makes
    sense (False where they passed a final activation other than softmax; then only their order counts).

    Raises ``ValueError`` for unknown layers (with the nearest names), layers applied twice, and models
    that are subclassed or not classifiers with one input and one output (N, K).
    """

    def __init__(self, model: keras.Model, layer: str):
        model = neurons.split_fused(model)
        _check_classifier(model)
        p, a = neurons.pre_activation(model, layer), neurons.activation(model, layer)
        self.layer = layer
        self.input, self._p, self._a = model.inputs[0], p, a
        self._logits = neurons.logits(model)
        self.nodes = _nodes(model)
        self.before, self._after = _split(model, a, self._logits)
        if not self._after:
            raise ValueError(
                f"the output of {model.name!r} does not depend on the layer {layer!r}; choose another"
            )
        self._crossing = _crossing(self.before, self._after, a, self.input)
        self.is_logits = neurons.gives_logits(model)
        self.shape, self.units = tuple(p.shape[1:]), p.shape[-1]
        self.input_shape = tuple(self.input.shape[1:])
        self.crossing_shapes = [tuple(tensor.shape[1:]) for tensor in self._crossing]
        self._yes_or_no = neurons.output_sigmoid(model) is not None
        self.classes = 2 if self._yes_or_no else self._logits.shape[-1]
        made = [tensor for node in self.nodes for tensor in node.output_tensors]
        self.widest = max(int(np.prod([n or 1 for n in tensor.shape[1:]])) for tensor in made)
        self._compiled: dict[Callable, Any] = {}

    def compiled(self, make: Callable):
        """``make(self)``, made once for this truncation and kept with it: a place for ``tf.function``s."""
        if make not in self._compiled:
            self._compiled[make] = make(self)
        return self._compiled[make]

    @property
    def image_spec(self) -> tf.TensorSpec:
        """The ``tf.TensorSpec`` of a batch of images of any size."""
        return tf.TensorSpec([None, *self.input_shape], self.input.dtype)

    @property
    def specs(self) -> tuple[tf.TensorSpec, list[tf.TensorSpec]]:
        """The ``tf.TensorSpec`` of p, and the list of those of the crossing tensors."""
        spec, *crossing = (
            tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype) for tensor in (self._p, *self._crossing)
        )
        return spec, crossing

    def prefix(self, x) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Images x (N, ...) -> p (N, ..., U) and the list of the tensors that cross the cut with it."""
        return shared_prefix([self])(x)[0]

    def cut(self, known: dict) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """``(p, crossing)`` among the values ``known``, {id of symbolic tensor: value}."""
        return known[id(self._p)], [known[id(tensor)] for tensor in self._crossing]

    def suffix(self, p, crossing: Sequence = ()) -> tf.Tensor:
        """Injected pre-activations p and what crosses with them -> logits (N, K)."""
        return self._from(p, crossing, _inference)

    def fresh_suffix(self, seed: int) -> keras.Model:
        """A trainable ``keras.Model([p, *crossing], logits)`` like the suffix, with fresh weights.

        The same layers with new variables, drawn anew from ``seed`` (seeds written into the original's
        initializers and dropouts are replaced, or it would start where the original did). All of it is
        trainable, and batch normalization learns, even where the original was frozen.
        """
        tensors = [self._p, *self._crossing]
        inputs = [keras.Input(tensor.shape[1:], dtype=tensor.dtype) for tensor in tensors]
        copies = _FreshLayers(seed)
        return keras.Model(inputs, self._from(inputs[0], inputs[1:], copies))

    def _from(self, p, crossing, operation):
        crossing = list(crossing)
        if len(crossing) != len(self._crossing):
            raise ValueError(
                f"{len(crossing)} crossing tensors were given at {self.layer!r}, where "
                f"{len(self._crossing)} cross the cut; pass on what prefix(x) gave"
            )
        known = {id(t): value for t, value in zip(self._crossing, crossing, strict=True)}
        # p may be among the crossing tensors (a second layer reads it): φ alone sees what is injected.
        phi, *after = self._after
        known[id(self._a)] = operation(phi.operation)(p)
        logits = _run(after, known, operation)[id(self._logits)]
        if self._yes_or_no:  # a sigmoid of z is the softmax of (0, z)
            return keras.ops.concatenate([keras.ops.zeros_like(logits), logits], axis=-1)
        return logits


def shared_prefix(truncations: Sequence["Truncation"]) -> Callable:
    """A function images -> [(p, crossing), ...] of several truncations of one model, which share all that
    they have in common: no layer runs twice."""
    first = truncations[0]
    nodes: dict[int, Any] = {}
    for truncation in truncations:
        nodes |= {id(node): node for node in truncation.before}
    ordered = [node for node in first.nodes if id(node) in nodes]

    def prefix(x):
        x = keras.ops.convert_to_tensor(x, dtype=first.input.dtype)
        known = _run(ordered, {id(first.input): x}, _inference)
        return [truncation.cut(known) for truncation in truncations]

    return prefix


def _check_classifier(model):
    if len(model.inputs) != 1:
        raise ValueError(
            f"the model {model.name!r} has {len(model.inputs)} inputs; truncation needs one input, the images"
        )
    shape = neurons.logits(model).shape
    if len(shape) != 2:
        raise ValueError(
            f"the output of {model.name!r} has shape {tuple(shape)}; a classifier gives one score per "
            "class, (None, K)"
        )
    if shape[-1] == 1 and neurons.output_sigmoid(model) is None:
        raise ValueError(
            f"the model {model.name!r} gives one number, which is no answer that can be right or wrong; "
            "curves need a classifier (one output that passes a sigmoid counts as one)"
        )


def _nodes(model):
    """The model's nodes in the order in which they can be computed."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _split(model, a, logits):
    """The nodes before the cut, and those after it (that depend on a and lead to the logits), φ first."""
    nodes = _needed(_nodes(model), logits)
    after, depends = [], {id(a)}
    for node in nodes:
        made = {id(tensor) for tensor in node.output_tensors}
        if id(a) in made or any(id(tensor) in depends for tensor in node.input_tensors):
            depends |= made
            after.append(node)
    late = {id(node) for node in after}
    return [node for node in nodes if id(node) not in late], after


def _needed(nodes, *targets):
    """Of nodes in order, those that the targets are computed from."""
    wanted, kept = {id(target) for target in targets}, []
    for node in reversed(nodes):
        if any(id(tensor) in wanted for tensor in node.output_tensors):
            wanted |= {id(tensor) for tensor in node.input_tensors}
            kept.append(node)
    return kept[::-1]


def _crossing(before, after, a, model_input):
    """The tensors made before the cut and read after it, other than the p that φ reads."""
    made = {id(tensor) for node in before for tensor in node.output_tensors} | {id(model_input)}
    crossing = {}
    for node in after:
        if not any(tensor is a for tensor in node.output_tensors):
            crossing |= {id(t): t for t in node.input_tensors if id(t) in made}
    return list(crossing.values())


def _run(nodes, known, operation):
    """Compute nodes in order from ``known`` ({id of symbolic tensor: value}), and return all values."""
    known = dict(known)
    for node in nodes:
        args, kwargs = node.arguments.fill_in(known)
        outputs = operation(node.operation)(*args, **kwargs)
        for symbol, value in zip(node.output_tensors, keras.tree.flatten(outputs), strict=True):
            known[id(symbol)] = value
    return known


def _inference(operation):
    """The operation with ``training=False``, where it takes that argument."""
    if not getattr(operation, "_call_has_training_arg", False):
        return operation
    return lambda *args, **kwargs: operation(*args, **{**kwargs, "training": False})


class _FreshLayers:
    """Called with a layer, gives its copy with fresh weights: one copy per layer, however often used."""

    def __init__(self, seed):
        self._rng = streams.generator(seed, "fresh weights")
        self._copies = {}

    def __call__(self, operation):
        if not isinstance(operation, keras.Layer):
            return operation
        if id(operation) not in self._copies:
            copy = self._made_of(operation)
            self._copies[id(operation)] = copy
        return self._copies[id(operation)]

    def _made_of(self, layer):
        if isinstance(layer, keras.layers.Activation | keras.layers.Lambda):
            return neurons.copied(layer)  # no weights; and a lambda function cannot be made of a config
        copy = type(layer).from_config(_reseeded(layer.get_config(), self._rng))
        # What a fresh layer does not have yet, it gets when it is built or loaded.
        fresh = _options(copy)
        lost = [name for name, value in _options(layer).items() if fresh.get(name, value) != value]
        if lost:
            raise ValueError(
                f"a fresh {type(layer).__name__} ({layer.name!r}) is another function, because its "
                f"get_config() does not say {', '.join(lost)}; add that to it to train readouts"
            )
        copy.trainable = True
        return copy


def _options(layer):
    """The plain values that a layer keeps under public names, but for its seed and its state."""
    state = ("seed", "trainable", "built", "lora_enabled", "neuron_path", "applies_phi", "autocast")
    return {
        name: value
        for name, value in vars(layer).items()
        if isinstance(value, bool | int | float | str) and not name.startswith("_") and name not in state
    }


def _reseeded(config, rng):
    """A layer's config with every ``seed`` in it, however deep, replaced by a new one."""
    if isinstance(config, dict):
        return {
            key: int(rng.integers(2**31)) if key == "seed" else _reseeded(value, rng)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_reseeded(value, rng) for value in config)
    return config
