"""The graph of a functional or Sequential model: its neuron layers' tensors, its logits.

Only what has to be cut in two needs these; :func:`~keras_neuronlevel.neurons.watch` needs no graph.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import streams
from keras_neuronlevel.neurons import kinds
from keras_neuronlevel.neurons.find import check_built, find, input_structure, unknown
from keras_neuronlevel.neurons.heads import looks_like_probabilities
from keras_neuronlevel.neurons.names import Names, layer_path


def functional(model: keras.Model) -> keras.Model:
    """The model as a functional one that shares its layers; a functional model is returned as is.

    Raises ``ValueError`` for a model without a graph of layers: subclassed, or not built yet.
    """
    if not isinstance(model, keras.Layer):
        raise ValueError(f"{type(model).__name__} is no Keras model; give a keras.Model")
    if isinstance(model, keras.Sequential):
        if not model.built or input_structure(model) is None:
            raise ValueError(
                f"the Sequential model {model.name!r} is not built, so its layers are not connected; "
                "give it an Input, or call model.build(input_shape) first"
            )
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if not has_graph(model):
        raise ValueError(
            f"{type(model).__name__} {model.name!r} is not a functional or Sequential model, so it cannot be "
            "cut in two; express it with keras.Model(inputs, outputs) for curves (the recorder takes it as "
            "it is)"
        )
    return model


def has_graph(model) -> bool:
    """Whether calling the model runs through a graph of layers that Keras knows, and does nothing else."""
    plain: Any = keras.Sequential if isinstance(model, keras.Sequential) else _Functional
    return isinstance(model, plain) and type(model).call is plain.call and input_structure(model) is not None


_Functional = type(keras.Model(_input := keras.Input((1,)), _input)).__mro__[0]


def nodes(model) -> list:
    """The model's nodes in the order in which they are computed, without its inputs."""
    by_depth = functional(model)._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth] if not node.is_input]


def graph_neurons(model) -> dict:
    """{name: node} of the neuron layers that stand in the model's own graph, the output's left out."""
    model, names, found = functional(model), Names(), {}
    outputs = {id(output) for output in model.outputs}
    for node in nodes(model):
        if kinds.is_neuron_layer(node.operation):
            name = names.layer(layer_path(node.operation))
            if id(node.output_tensors[0]) not in outputs:
                found[name] = node
    return found


def _node(model, name):
    found = graph_neurons(model)
    if name not in found:
        reached = find(model)
        if name in reached.shapes:
            raise ValueError(
                f"{name!r} is no layer of the graph of {model.name!r} itself: use neurons.split_fused(model) "
                "first; where it is missing there too, it stands in a layer of one's own, which cannot be cut"
            )
        raise ValueError(unknown(name, list(found) or list(reached.shapes), reached.left_out))
    left_out = find(model).left_out
    if name in left_out:
        raise ValueError(f"{name!r} cannot be taken: {left_out[name]}")
    return found[name]


def channels_first(p: keras.KerasTensor) -> bool:
    """Whether the neurons of a symbolic tensor are its second axis and not its last."""
    return len(p.shape) > 2 and bool(kinds.keeps_channels_first(p._keras_history.operation))


def pre_activation(model: keras.Model, name: str) -> keras.KerasTensor:
    """The symbolic tensor p that goes into the neuron layer ``name``, its axes as the model has them.

    Raises ``ValueError`` with the nearest names when there is no such neuron layer in the graph.
    """
    return _node(model, name).input_tensors[0]


def activation(model: keras.Model, name: str) -> keras.KerasTensor:
    """The symbolic tensor a = φ(p) that comes out of the neuron layer ``name``."""
    return _node(model, name).output_tensors[0]


def output_softmax(model: keras.Model) -> keras.Layer | None:
    """The softmax layer whose output is the model's output, or None where the model ends in logits."""
    model = functional(model)
    if len(model.outputs) != 1:
        raise ValueError(f"the model {model.name!r} has {len(model.outputs)} outputs; a classifier has one")
    node = _output_node(model)
    return node.operation if kinds.is_softmax(node.operation) else None


def output_sigmoid(model: keras.Model) -> keras.Layer | None:
    """The sigmoid whose only value is the model's output, a yes-or-no classifier's, or None."""
    model = functional(model)
    operation = _output_node(model).operation
    one = len(model.outputs) == 1 and tuple(model.outputs[0].shape[1:]) == (1,)
    sigmoid = isinstance(operation, keras.layers.Activation) and kinds.activation_name(operation) == "sigmoid"
    return operation if one and sigmoid else None


def gives_logits(model: keras.Model) -> bool:
    """Whether the cross-entropy of :func:`logits` makes sense: they passed no activation function and are no
    probabilities. Otherwise (several sigmoids, a softmax inside a layer of one's own) only their order
    counts.
    """
    model = functional(model)
    if output_softmax(model) is not None or output_sigmoid(model) is not None:
        return True
    last = _output_node(model).operation
    if kinds.is_elementwise(last) or kinds.applies_activation(last) or find(model).head != "plain":
        return False
    outputs = model(sample_inputs(model), training=False)
    return not looks_like_probabilities(keras.tree.flatten(outputs)[0])


def _output_node(model):
    """The node that makes the output, seen through final linear activations (casts to float32)."""
    made = {id(tensor): node for node in nodes(model) for tensor in node.output_tensors}
    node = made[id(model.outputs[0])]
    while (
        isinstance(node.operation, keras.layers.Activation)
        and kinds.activation_name(node.operation) == "linear"
        and id(node.input_tensors[0]) in made
    ):
        node = made[id(node.input_tensors[0])]
    return node


def logits(model: keras.Model) -> keras.KerasTensor:
    """The symbolic logits (K,) of a classifier: its output, or what goes into its last softmax (or into its
    only sigmoid, K = 1).

    Derivatives are always taken from logits: cross-entropy of a softmax output clips at 1e-7 and turns
    the derivative of a confidently wrong sample into exactly zero.
    """
    model = functional(model)
    if output_softmax(model) is None and output_sigmoid(model) is None:
        return model.outputs[0]
    return _output_node(model).input_tensors[0]


def sample_inputs(model, count=3):
    """A few made-up samples that a functional model takes, always the same ones."""
    check_built(model)
    rng = streams.generator(0, "made up samples")
    free = {3: 16, 4: 96}  # of a sequence, of an image, whose size is not fixed

    def drawn(tensor):
        batch = tensor.shape[0] or count
        shape = [batch, *(n or free.get(len(tensor.shape), 8) for n in tensor.shape[1:])]
        if "int" in tensor.dtype or tensor.dtype == "bool":
            return tf.constant(rng.integers(0, 2, shape), tensor.dtype)
        if tensor.dtype == "string":
            return tf.constant(np.full(shape, "a"))
        return tf.constant(rng.uniform(-1, 1, shape), tensor.dtype)

    return keras.tree.map_structure(drawn, input_structure(model))
