"""∂L/∂a of every sample and neuron, for one set of weights."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.forward import derivative_function
from keras_neuronlevel.recording.losses import check_compiled, chosen_loss
from keras_neuronlevel.recording.samples import batches, check_samples
from keras_neuronlevel.recording.verification import verify


def activation_derivatives(
    model: keras.Model,
    x: Any,
    y: Any,
    layers: Sequence[str] | None = None,
    *,
    loss: Any = None,
    output: str | int | None = None,
    batch_size: int = 1000,
) -> dict[str, np.ndarray]:
    """∂L_n/∂a of every sample and neuron: {layer: float32 (N, U) or (N, H, W, U)}.

    Args:
        model: any built Keras model with float activations; it is called as it is, in inference mode.
        x: the samples, (N, ...), or a list or dictionary of such arrays where the model takes several.
        y: their labels, or whatever the loss takes.
        layers: names of neuron layers as ``neurons.neuron_layers`` gives them; default all.
        loss: what L is; default: what the model was compiled with, or else the cross-entropy of integer
            labels (of yes-or-no labels where the model ends in a sigmoid), always from logits, even where
            the model ends in a softmax. Or a Keras loss or its name, which gets the model's output as in
            ``fit``; or "clipped_cross_entropy", the cross-entropy of classes as Keras took it at the papers'
            time; or a function (y, output) -> (N,) of the model's output.
        output: which output's loss is meant, a name or a number, where the model has several.
        batch_size: samples that are evaluated together; changes memory and speed, not the result.

    Raises:
        ValueError: unknown layers; samples of the wrong shape or not finite; labels outside [0, K); a model
            whose logits cannot be had, or in which samples meet (see ``verification``); a layer on which the
            loss does not depend.
    """
    names, x, y, loss = prepare(model, x, y, layers, loss, output)
    step = derivative_function(model, names, x, y, loss, output)
    verify(model, names, x, y, loss, output, step)
    parts = [step(*batch)[0] for batch in batches(x, y, batch_size)]
    return {
        name: np.concatenate([part[name].numpy() for part in parts]).astype(np.float32, copy=False)
        for name in names
    }


def prepare(model, x, y, layers=None, loss=None, output=None):
    """(names of layers, samples, labels, the loss that is meant), all checked. Raises ``ValueError``."""
    meant = chosen_loss(model, loss, output)
    x, y = check_samples(model, x, y, meant, output)
    if loss is None:
        check_compiled(model, neuron_tools.find(model, x, output).head, output)
    return neuron_tools.choose_layers(model, layers, x, output), x, y, meant
