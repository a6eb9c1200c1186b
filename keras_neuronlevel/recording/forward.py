"""One pass through a model, forward and back: ∂L/∂a and p of the samples of one batch."""

from collections.abc import Iterable
from typing import Any

import keras
import tensorflow as tf

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.losses import chosen_loss, per_sample
from keras_neuronlevel.recording.samples import specs


@tf.autograph.experimental.do_not_convert
def forward_and_derivatives(
    model: keras.Model,
    layers: Iterable[str],
    x: Any,
    y: Any,
    loss: Any = None,
    output: str | int | None = None,
    precision: str = "float32",
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor], tf.Tensor, tf.Tensor]:
    """One pass, inside a ``tf.function``: (derivatives, pre-activations, losses (N,), output (N, ...)).

    The first two are {layer: tensor (N, U) or (N, ..., U)}: ∂L_n/∂a and p. ``tape.watch`` is set on each
    activation the moment it was computed (see ``neurons.watch``). The sum over samples is differentiated: as
    no sample meets another in inference mode, that gives every sample the derivative of its own loss.
    ``loss`` and ``output`` as in ``activation_derivatives``. With the ``precision`` "bfloat16", the model's
    layers compute in that type, and only the loss in float32.
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

        with neuron_tools.computing_in(model, precision):
            outputs = neuron_tools.watch(model, x, on_activation)
        chosen = neuron_tools.pick_output(model, outputs, output)
        if precision != "float32":
            chosen = _in_float32(chosen)
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


def _in_float32(output):
    cast = tf.cast(output, tf.float32)
    if getattr(output, "_keras_mask", None) is not None:
        cast._keras_mask = output._keras_mask
    return cast


def _check_reached(model, wanted, taps):
    missing = sorted(wanted - set(taps))
    if missing:
        raise ValueError(
            f"{model.name!r} did not apply {', '.join(missing)} this time; a model whose layers depend on "
            "more than its input's shape cannot be recorded there"
        )


def derivative_function(model, layers, x, y, loss=None, output=None, precision="float32"):
    """:func:`forward_and_derivatives` compiled once, for batches of any size of samples such as x and y."""

    def step(x, y):
        return forward_and_derivatives(model, layers, x, y, loss, output, precision)

    return tf.function(step, autograph=False).get_concrete_function(*specs(x, y))
