"""Batch normalization in training, by one operation of TensorFlow in place of a dozen."""

import contextlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from keras_neuronlevel.neurons.watch import swapped

LEAST_EPSILON = 1e-5  # that of cuDNN


@contextlib.contextmanager
def fused(model: keras.Model) -> Iterator[None]:
    """While the block traces or runs ``model(x, training=True)``, feature maps are normalized in one
    operation, ``tf.raw_ops.FusedBatchNormV3``, as Keras did on TensorFlow at the papers' time.

    y = γ (x - μ) / √(σ² + ε) + β, with mean μ and variance σ² of a channel over the samples and positions of
    the batch, x (N, H, W, U) in float32. What Keras 3 builds of single operations is the same up to rounding,
    and passes over every map again for each of them, forward and back. The running averages take σ², not its
    unbiased estimate, as they do in Keras 3.

    Layers that do otherwise are left to Keras: subclasses, channels that come first, masks, renormalization,
    statistics of several replicas, ε below 1e-5, other types, frozen layers, and inference.
    """
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers():
            if type(layer) is keras.layers.BatchNormalization:
                stack.enter_context(swapped(layer, "call", _call(layer)))
        yield


def _call(layer) -> Callable:
    call = layer.call

    def normalized(inputs, training=None, mask=None):
        if not (training and layer.trainable and mask is None and _can_be_fused(layer, inputs)):
            return call(inputs, training=training, mask=mask)
        units = inputs.shape[-1]
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=layer.gamma if layer.scale else tf.ones([units]),
            offset=layer.beta if layer.center else tf.zeros([units]),
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=layer.epsilon,
            is_training=True,
        )
        values = tf.cast(tf.size(inputs) // units, tf.float32)
        variance *= tf.maximum(values - 1, 1) / values  # it is that of a sample, divided by one value less
        for average, new in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            average.assign(average * layer.momentum + new * (1 - layer.momentum))
        return outputs

    return normalized


def _can_be_fused(layer, inputs):
    """Whether the layer normalizes a feature map (N, H, W, U) in float32, from its own batch alone, with an
    ε that all devices take."""
    maps = tf.is_tensor(inputs) and inputs.shape.rank == 4 and inputs.shape[-1] is not None
    float32 = maps and inputs.dtype == tf.float32 and layer.compute_dtype == layer.variable_dtype == "float32"
    alone = not layer.synchronized and not layer.renorm
    return float32 and alone and layer.axis in (-1, 3) and layer.epsilon >= LEAST_EPSILON
