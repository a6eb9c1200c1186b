"""∂L/∂a of every sample and neuron, for one set of weights."""

import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.samples import batches, check_samples
from keras_neuronlevel.training import cross_entropy


def forward_and_derivatives(model, layers, x, y, loss=None):
    """One traceable pass: (derivatives, pre-activations, losses (N,), logits (N, K)).

    The first two are {layer: tensor (N, U) or (N, ..., U)}: ∂L_n/∂a and p. ``tape.watch`` is set on each
    activation the moment its layer returns it. ``loss(y, logits)`` gives the samples' own losses;
    the default is cross-entropy of integer labels. The sum over samples is differentiated: as no sample
    meets another in inference mode, that gives every sample the derivative of its own loss.
    """
    wanted = [neuron_tools.neuron_layer(model, name) for name in layers]
    softmax = neuron_tools.output_softmax(model)
    taps = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def on_call(layer, p, a):
            tape.watch(a)
            taps[layer.name] = p, a

        with neuron_tools.tapped([*wanted, *([softmax] if softmax else [])], on_call):
            output = model(x, training=False)
        logits = taps.pop(softmax.name)[0] if softmax else output
        losses = (loss or cross_entropy)(y, logits)
        if losses.shape.rank != 1:
            raise ValueError(
                f"the loss gave shape {losses.shape}; it must give one value for each sample, shape (N,)"
            )
        total = tf.reduce_sum(losses)
    activations = {name: taps[name][1] for name in layers}
    derivatives = tape.gradient(total, activations)
    for name, derivative in derivatives.items():
        if derivative is None:
            raise ValueError(
                f"the loss does not depend on the activations of {name!r}, so they have no derivative; "
                "leave that layer out"
            )
    return derivatives, {name: taps[name][0] for name in layers}, losses, logits


def activation_derivatives(model, x, y, layers=None, *, loss=None, batch_size=1000):
    """∂L_n/∂a of every sample and neuron: {layer: float32 (N, U) or (N, H, W, U)}.

    ``layers`` are neuron layers (default: all); those of a model with fused layers are named as
    ``neurons.split_fused`` does. ``loss(y, logits) -> (N,)`` replaces the cross-entropy of integer labels.
    Raises ``ValueError`` for unknown layers, samples of the wrong shape or not finite, labels outside
    [0, K), and a layer on which the loss does not depend.
    """
    model = neuron_tools.split_fused(model)
    layers = neuron_tools.choose_layers(model, layers)
    x, y = check_samples(model, x, y, loss)

    @tf.function(reduce_retracing=True)
    def step(x, y):
        return forward_and_derivatives(model, layers, x, y, loss)[0]

    parts = [step(*batch) for batch in batches(x, y, batch_size)]
    return {
        name: np.concatenate([part[name].numpy() for part in parts]).astype(np.float32, copy=False)
        for name in layers
    }
