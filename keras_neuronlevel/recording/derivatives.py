"""∂L/∂a of every sample and neuron, for one set of weights."""

import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.losses import check_compiled, chosen_loss, per_sample
from keras_neuronlevel.recording.samples import batches, check_samples, specs


@tf.autograph.experimental.do_not_convert
def forward_and_derivatives(model, layers, x, y, loss=None, output=None):
    """One pass, inside a ``tf.function``: (derivatives, pre-activations, losses (N,), output (N, ...)).

    The first two are {layer: tensor (N, U) or (N, ..., U)}: ∂L_n/∂a and p. ``tape.watch`` is set on each
    activation the moment it was computed (see ``neurons.watch``). The sum over samples is differentiated: as
    no sample meets another in inference mode, that gives every sample the derivative of its own loss.
    ``loss`` and ``output`` as in :func:`activation_derivatives`.
    """
    if tf.executing_eagerly():
        raise ValueError("forward_and_derivatives reads the traced graph; call it inside a tf.function")
    loss = per_sample(chosen_loss(model, loss, output))
    wanted, taps = set(layers), {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def on_activation(name, p, a):
            if name in wanted:
                tape.watch(a)
                taps[name] = p, a

        outputs = neuron_tools.watch(model, x, on_activation)
        chosen = neuron_tools.pick_output(model, outputs, output)
        losses = loss(y, chosen)
        total = tf.reduce_sum(losses)
    _check_reached(model, wanted, taps)
    derivatives = tape.gradient(total, {name: taps[name][1] for name in layers})
    for name, derivative in derivatives.items():
        if derivative is None:
            raise ValueError(
                f"the loss does not depend on the activations of {name!r}, so they have no derivative; "
                "leave that layer out"
            )
    return derivatives, {name: taps[name][0] for name in layers}, losses, chosen


def _check_reached(model, wanted, taps):
    missing = sorted(wanted - set(taps))
    if missing:
        raise ValueError(
            f"{model.name!r} did not apply {', '.join(missing)} this time; a model whose layers depend on "
            "more than its input's shape cannot be recorded there"
        )


def derivative_function(model, layers, x, y, loss=None, output=None):
    """:func:`forward_and_derivatives` compiled once, for batches of any size of samples such as x and y."""

    def step(x, y):
        return forward_and_derivatives(model, layers, x, y, loss, output)

    return tf.function(step, autograph=False).get_concrete_function(*specs(x, y))


def activation_derivatives(model, x, y, layers=None, *, loss=None, output=None, batch_size=1000):
    """∂L_n/∂a of every sample and neuron: {layer: float32 (N, U) or (N, H, W, U)}.

    Args:
        model: any built Keras model with float activations; it is called as it is, in inference mode.
        x: the samples, (N, ...), or a list or dictionary of such arrays where the model takes several.
        y: their labels, or whatever the loss takes.
        layers: names of neuron layers as ``neurons.neuron_layers`` gives them; default all.
        loss: what L is; default: what the model was compiled with, or else the cross-entropy of integer
            labels (of yes-or-no labels where the model ends in a sigmoid), always from logits, even where
            the model ends in a softmax. Or a Keras loss or its name, which gets the model's output as in
            ``fit``; or a function (y, output) -> (N,) of the model's output.
        output: which output's loss is meant, a name or a number, where the model has several.
        batch_size: samples that are evaluated together; changes memory and speed, not the result.

    Raises:
        ValueError: unknown layers; samples of the wrong shape or not finite; labels outside [0, K); a model
            whose logits cannot be had, or in which samples meet (see ``verification``); a layer on which the
            loss does not depend.
    """
    from keras_neuronlevel.recording.verification import verify

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
