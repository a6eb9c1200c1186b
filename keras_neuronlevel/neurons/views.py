"""Tensors as the watcher reports them, neurons on the last axis and samples on the first, and back."""

import tensorflow as tf


def _sizes(x):
    dynamic = tf.shape(x)
    return [dynamic[axis] if size is None else size for axis, size in enumerate(x.shape)]


def folded(x):
    """Samples of steps (n, T, ...) as samples (n T, ...)."""
    samples, steps, *sizes = _sizes(x)
    return tf.reshape(x, [samples * steps, *sizes])


def unfolded(x, steps):
    """Samples (n T, ...) as samples of steps (n, T, ...)."""
    samples, *sizes = _sizes(x)
    return tf.reshape(x, [samples // steps, steps, *sizes])


def channels_last(x):
    """Channels first to channels last."""
    return tf.transpose(x, [0, *range(2, x.shape.rank), 1])


def channels_first(x):
    """Channels last to channels first."""
    return tf.transpose(x, [0, x.shape.rank - 1, *range(1, x.shape.rank - 1)])
