"""Cut a network in two at a neuron layer: the prefix up to p, the suffix from p to the output.

The cut goes through the edge p -> φ of the graph. Whatever else the suffix needs (a skip connection that
passes the layer by, p itself where a second layer reads it) crosses the cut as well and is carried
along, so the prefix runs once however many values are injected. Because the graph is cut at *nodes*,
every functional model can be cut at every neuron layer, and no injecting clone is needed.

Both halves call the model's own layers, so they share its weights; they add no node to them
(KERAS_TRAPS 7) and leave the model as it is.
"""

import contextlib
import random
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons, streams
from keras_neuronlevel.neurons.find import input_structure
from keras_neuronlevel.recording.samples import packed
from keras_neuronlevel.samples import check_images

# {model: (its structure, {(layer name, output): Truncation})}, gone with the model
_cuts: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def truncate(model: keras.Model, layer: str, output: str | int | None = None) -> "Truncation":
    """The :class:`Truncation` of a model at a neuron layer, made once and kept as long as the model has these
    layers, activation functions and variables. ``output`` is needed where the model has several."""
    if not isinstance(model, keras.Layer):
        raise ValueError(f"{type(model).__name__} is no Keras model; give a keras.Model")
    now = neurons.structure(model)
    if _cuts.get(model, (None, None))[0] != now:
        _cuts[model] = now, {}
    cuts = _cuts[model][1]
    if (layer, output) not in cuts:
        cuts[layer, output] = Truncation(model, layer, output)
    return cuts[layer, output]


class Truncation:
    """The two halves of ``model`` at the neuron layer ``layer``, for one of its outputs.

    ``prefix(x)`` gives ``(p, crossing)``: the pre-activations (N, ..., U), neurons last even where the
    model has its channels first, and the list of the other
    tensors that the suffix needs (often empty). ``suffix(p, crossing)`` gives the logits, (N, K) or, of a
    model that answers for each token, (N, ..., K); ``answer(p, crossing)`` the output itself. All run in
    inference mode, eagerly or inside a ``tf.function``; ``answer(*prefix(x))`` is ``model(x)``, and
    ``suffix(*prefix(x))`` what it is before its softmax; for a model that ends in one sigmoid of z it is
    (0, z), K = 2. Fused layers (``Dense(activation="relu")``) are split first, Sequential models work.

    Attributes: ``layer``, ``units`` (U), ``shape`` of p without samples, ``inputs`` (the model's, as it
    takes them), ``input_shape`` (where there is one), ``output_shape`` without samples, ``classes`` (K; None
    where the output is one number), ``crossing_shapes``, ``widest`` (how many values the network's largest
    tensor has for one image), ``entering`` and ``later`` (how many p and the crossing tensors have, and each
    tensor after the cut, a side that is not known counted as 1), ``sized`` (whether all of those are known),
    ``later_weights`` (how many values the layers after the cut have), ``masked`` (whether some of a sample's
    outputs may be masked), and ``is_logits``: whether cross-entropy of the outputs makes sense (False where
    they passed a final activation other than softmax; then only their order counts).

    Raises ``ValueError`` for unknown layers (with the nearest names), layers applied twice, subclassed
    models, and several outputs of which none is chosen.
    """

    def __init__(self, model: keras.Model, layer: str, output: str | int | None = None):
        model = _with_one_output(model, output)
        p, a = neurons.pre_activation(model, layer), neurons.activation(model, layer)
        self.layer, self.name = layer, model.name
        self.inputs, self._inputs, self._p, self._a = input_structure(model), model.inputs, p, a
        self._output, self._logits = model.outputs[0], neurons.logits(model)
        self._mask = getattr(self._output, "_keras_mask", None)
        self.masked = self._mask is not None and len(self._logits.shape) > 2
        ends = [self._output, self._mask] if self.masked else [self._output]
        self.nodes = _nodes(keras.Model(model.inputs, ends) if self.masked else model)
        self.before, self._after = _split(self.nodes, a, *ends)
        if not self._after:
            raise ValueError(
                f"the output of {model.name!r} does not depend on the layer {layer!r}; choose another"
            )
        self._crossing = _crossing(self.before, self._after, a, ends, model.inputs)
        self.is_logits = neurons.gives_logits(model)
        self._channels_first = neurons.channels_first(p)
        self.units, *sides = p.shape[1:] if self._channels_first else (p.shape[-1], *p.shape[1:-1])
        self.shape = (*sides, self.units)
        self.input_shape = None if keras.tree.is_nested(self.inputs) else tuple(self.inputs.shape[1:])
        self.output_shape = tuple(self._output.shape[1:])
        self.crossing_shapes = [tuple(tensor.shape[1:]) for tensor in self._crossing]
        self._yes_or_no = neurons.output_sigmoid(model) is not None
        scores = self._logits.shape[-1] if self.output_shape else 1
        self.classes = 2 if self._yes_or_no else scores if scores > 1 else None
        self.widest, self.later = max(tensor_sizes(self.nodes)), tensor_sizes(self._after)
        self.entering = [_size(shape) for shape in (self.shape, *self.crossing_shapes)]
        made = [tuple(tensor.shape[1:]) for node in self._after for tensor in node.output_tensors]
        self.sized = not any(None in shape for shape in (self.shape, *self.crossing_shapes, *made))
        self.later_weights = _weights(self._after)
        self._compiled: dict[Callable, Any] = {}

    @property
    def threshold_dtype(self) -> str:
        """Of thresholds and means: float64 where p is, so that ties with them are ties, or else float32."""
        return "float64" if self._p.dtype == "float64" else "float32"

    def checked(self, x: Any, what: str = "x") -> Any:
        """Images that the network can take, as it takes them; several inputs as a list or dictionary.

        Raises:
            ValueError: as ``samples.check_images``, and for inputs of different numbers.
        """
        x = packed(x, self.inputs, self.name)
        if self.input_shape is not None:
            return check_images(x, self.input_shape, what, self.inputs.dtype)

        def fit(part, tensor):
            part = np.asarray(part)
            return (
                part if tensor.dtype == "string" else check_images(part, tensor.shape[1:], what, tensor.dtype)
            )

        x = keras.tree.map_structure(fit, x, self.inputs)
        counts = {len(part) for part in keras.tree.flatten(x)}
        if len(counts) > 1:
            raise ValueError(f"the inputs in {what} have {sorted(counts)} samples; give as many of each")
        return x

    def compiled(self, make: Callable) -> Any:
        """``make(self)``, made once for this truncation and kept with it: a place for ``tf.function``s."""
        if make not in self._compiled:
            self._compiled[make] = make(self)
        return self._compiled[make]

    @property
    def image_spec(self) -> Any:
        """The ``tf.TensorSpec`` of a batch of images of any size; of several inputs a structure of them."""
        return keras.tree.map_structure(lambda t: tf.TensorSpec([None, *t.shape[1:]], t.dtype), self.inputs)

    @property
    def specs(self) -> tuple[tf.TensorSpec, list[tf.TensorSpec]]:
        """The ``tf.TensorSpec`` of p, and the list of those of the crossing tensors."""
        shapes, tensors = (self.shape, *self.crossing_shapes), (self._p, *self._crossing)
        spec, *crossing = (
            tf.TensorSpec([None, *shape], t.dtype) for shape, t in zip(shapes, tensors, strict=True)
        )
        return spec, crossing

    def prefix(self, x: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Images x (N, ...) -> p (N, ..., U) and the list of the tensors that cross the cut with it."""
        return shared_prefix([self])(x)[0]

    def cut(self, known: dict) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """``(p, crossing)`` among the values ``known``, {id of symbolic tensor: value}."""
        p = known[id(self._p)]
        p = keras.ops.moveaxis(p, 1, -1) if self._channels_first else p
        return p, [known[id(tensor)] for tensor in self._crossing]

    def suffix(self, p: Any, crossing: Sequence = ()) -> tf.Tensor:
        """Injected pre-activations p and what crosses with them -> logits (N, ..., K)."""
        return self._from(p, crossing, _inference, self._logits)

    def answer(self, p: Any, crossing: Sequence = ()) -> tf.Tensor:
        """Injected pre-activations p and what crosses with them -> the model's own output (N, ...)."""
        return self._from(p, crossing, _inference, self._output)

    def fresh_suffix(self, seed: int, own_head: bool = False) -> keras.Model:
        """A trainable ``keras.Model([p, *crossing], logits)`` like the suffix, with fresh weights; with
        ``own_head`` it ends in the model's own output.

        The same layers with new variables, drawn anew from ``seed``: seeds written into the original's
        initializers and dropouts are replaced, or it would start where the original did, and what has no seed
        draws one from numbers made of ``seed`` (the program's own go on as if nothing had been drawn).
        Weights that a layer makes of one initializer, as attention does of its queries, keys and values,
        differ. All of it is trainable, and batch normalization learns, even where the original was frozen.

        Raises ``ValueError`` where the copy of a layer would be another function, or have the original's own
        variables.
        """
        target = self._output if own_head else self._logits
        copies = _FreshLayers(seed)
        model = self._fresh(copies, target)
        self._check_own(model)
        alike = copies.alike()
        return self._fresh(_FreshLayers(seed, alike), target) if alike else model

    def _check_own(self, fresh):
        """Raises ``ValueError`` where training a fresh suffix would train the network itself."""
        variables = {id(v) for node in self._after for v in getattr(node.operation, "variables", ())}
        shared = [variable.path for variable in fresh.variables if id(variable) in variables]
        if shared:
            raise ValueError(
                f"a readout of {self.layer!r} would train the network's own {', '.join(shared)}, which a "
                "copy of their layer shares with it (a Lambda or Activation that holds a layer, or a "
                "get_config() that gives one as it is); make it a layer whose from_config() makes new weights"
            )

    def _fresh(self, copies, target):
        p, crossing = self.specs
        inputs = [keras.Input(spec.shape[1:], dtype=spec.dtype.name) for spec in (p, *crossing)]
        with copies.drawing():
            return keras.Model(inputs, self._from(inputs[0], inputs[1:], copies, target))

    def _from(self, p, crossing, operation, target):
        crossing = list(crossing)
        if len(crossing) != len(self._crossing):
            raise ValueError(
                f"{len(crossing)} crossing tensors were given at {self.layer!r}, where "
                f"{len(self._crossing)} cross the cut; pass on what prefix(x) gave"
            )
        known = {id(t): value for t, value in zip(self._crossing, crossing, strict=True)}
        # p may be among the crossing tensors (a second layer reads it): φ alone sees what is injected.
        phi, *after = self._after
        p = keras.ops.moveaxis(p, -1, 1) if self._channels_first else p
        known[id(self._a)] = operation(phi.operation)(p)
        masked = self.masked and not isinstance(p, keras.KerasTensor)
        targets = [target, self._mask] if masked else [target]
        known = _run(_needed(after, *targets), known, operation)
        found = known[id(target)]
        if masked:
            found._keras_mask = known[id(self._mask)]
        if self._yes_or_no and target is self._logits:  # a sigmoid of z is the softmax of (0, z)
            return keras.ops.concatenate([keras.ops.zeros_like(found), found], axis=-1)
        return found


def shared_prefix(truncations: Sequence["Truncation"]) -> Callable:
    """A function images -> [(p, crossing), ...] of several truncations of one model, which share all that
    they have in common: no layer runs twice."""
    first = truncations[0]
    nodes: dict[int, Any] = {}
    for truncation in truncations:
        nodes |= {id(node): node for node in truncation.before}
    ordered = [node for node in first.nodes if id(node) in nodes]

    def prefix(x):
        parts = zip(first._inputs, keras.tree.flatten(x), strict=True)
        given = {id(t): keras.ops.convert_to_tensor(part, dtype=t.dtype) for t, part in parts}
        known = _run(ordered, given, _inference)
        return [truncation.cut(known) for truncation in truncations]

    return prefix


def _with_one_output(model, output):
    """The model's twin in which every activation function is a layer, with the chosen output alone."""
    twin = neurons.split_fused(model)
    struct = neurons.functional(model)._outputs_struct
    places = keras.tree.pack_sequence_as(struct, list(range(len(twin.outputs))))
    place = neurons.pick_output(model, places, output)
    return twin if len(twin.outputs) == 1 else keras.Model(twin._inputs_struct, twin.outputs[place])


def tensor_sizes(nodes: Sequence) -> list[int]:
    """How many values each tensor that the nodes make has for one image."""
    return [_size(tensor.shape[1:]) for node in nodes for tensor in node.output_tensors]


def _size(shape):
    return int(np.prod([side or 1 for side in shape]))


def _weights(nodes):
    """How many values the weights of the nodes' layers have."""
    weights = {id(w): w for node in nodes for w in getattr(node.operation, "weights", ())}
    return sum(int(np.prod(weight.shape)) for weight in weights.values())


def _nodes(model):
    """The model's nodes in the order in which they can be computed."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def _split(nodes, a, *ends):
    """The nodes before the cut, and those after it (that depend on a and lead to the ends), φ first."""
    nodes = _needed(nodes, *ends)
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


def _crossing(before, after, a, ends, inputs):
    """The tensors made before the cut and read after it or at the end, other than the p that φ reads."""
    made = {id(tensor) for node in before for tensor in node.output_tensors} | {id(t) for t in inputs}
    crossing = {}
    for node in after:
        if not any(tensor is a for tensor in node.output_tensors):
            crossing |= {id(t): t for t in node.input_tensors if id(t) in made}
    crossing |= {id(t): t for t in ends if id(t) in made}
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

    def __init__(self, seed, unseeded=()):
        self._rng = streams.generator(seed, "fresh weights")
        self._seed, self._unseeded = seed, set(unseeded)
        self._copies = {}

    @contextlib.contextmanager
    def drawing(self):
        """While layers are built: whatever has no seed of its own draws one from Python's random numbers,
        which go on afterwards where they were."""
        before = random.getstate()
        random.seed(int(streams.generator(self._seed, "fresh weights without a seed").integers(2**63)))
        try:
            yield
        finally:
            random.setstate(before)

    def alike(self):
        """The layers (ids) in which two weights were drawn alike: a seeded initializer that a layer clones
        gives every clone the same numbers."""
        return {number for number, copy in self._copies.items() if _has_twins(copy.weights)}

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
        seeds = _reseeded(layer.get_config(), self._rng)
        copy = type(layer).from_config(_reseeded(seeds, None) if id(layer) in self._unseeded else seeds)
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


def _has_twins(weights):
    """Whether two weights of one shape hold the same numbers, which are not all the same."""
    seen = set()
    for weight in weights:
        values = keras.ops.convert_to_numpy(keras.ops.cast(weight, "float32"))
        if values.size < 2 or (values == values.flat[0]).all():
            continue
        key = values.shape, values.tobytes()
        if key in seen:
            return True
        seen.add(key)
    return False


def _reseeded(config, rng):
    """A layer's config with every ``seed`` in it, however deep, replaced by a new one, or without ``rng`` by
    None."""
    if isinstance(config, dict):
        return {
            key: (rng and int(rng.integers(2**31))) if key == "seed" else _reseeded(value, rng)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return type(config)(_reseeded(value, rng) for value in config)
    return config
