"""Find the neurons of a Keras model, and look at them while the model runs.

A *neuron* is one application of an activation function a = φ(p), element by element, to the pre-activations
p. In a dense layer a neuron is one of U units; in a feature map of shape (H, W, U) a neuron is a channel,
with P = H · W positions (long paper, §3).

:func:`watch` reaches the neurons of any model by calling it; :func:`split_fused` makes the flat graph that
can be cut in two, for curves. Both give them the same names.
"""

from collections.abc import Iterable
from typing import Any

import keras

from keras_neuronlevel.neurons.find import HARMLESS, Neurons, activation_functions, choose, find, structure
from keras_neuronlevel.neurons.graph import (
    activation,
    channels_first,
    functional,
    gives_logits,
    logits,
    output_sigmoid,
    output_softmax,
    pre_activation,
)
from keras_neuronlevel.neurons.heads import (
    Head,
    check_logits,
    class_logits,
    head,
    looks_like_probabilities,
    output_name,
    pick_output,
)
from keras_neuronlevel.neurons.kinds import activation_name
from keras_neuronlevel.neurons.state import computing_in, float_types, put_back, side_effects, unchanged_state
from keras_neuronlevel.neurons.twin import close, copied, split_fused, tolerance
from keras_neuronlevel.neurons.watch import watch


def neuron_layers(model: keras.Model, x: Any = None, output: str | int | None = None) -> list[str]:
    """The names of the neuron layers of a model, from input to output; see :func:`watch` for how they are
    named.

    Counted are ``Activation`` layers (with ``linear`` too, as in the papers' linear networks), ``ReLU``,
    ``LeakyReLU``, ``PReLU``, ``ELU``, the activation functions that other layers apply, and those of Keras
    and TensorFlow that are called as functions. Left out are softmax and other functions that mix the values
    of a sample, and what makes the model's output. ``x``, a few samples, is needed only where the model does
    not know the shapes of its inputs.
    """
    return list(find(model, x, output).shapes)


def choose_layers(
    model: keras.Model, layers: Iterable[str] | None = None, x: Any = None, output: str | int | None = None
) -> list[str]:
    """The given neuron layers checked, or all of them when ``layers`` is None. Raises ``ValueError`` with the
    nearest names where there is no such layer, and with the reason where it cannot be reached."""
    return choose(find(model, x, output), layers, model.name)


__all__ = [
    "HARMLESS",
    "Head",
    "Neurons",
    "activation",
    "activation_functions",
    "activation_name",
    "channels_first",
    "check_logits",
    "choose_layers",
    "class_logits",
    "close",
    "computing_in",
    "copied",
    "find",
    "float_types",
    "functional",
    "gives_logits",
    "head",
    "logits",
    "looks_like_probabilities",
    "neuron_layers",
    "output_name",
    "output_sigmoid",
    "output_softmax",
    "pick_output",
    "pre_activation",
    "put_back",
    "side_effects",
    "split_fused",
    "structure",
    "tolerance",
    "unchanged_state",
    "watch",
]
