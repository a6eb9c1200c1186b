"""One look at a network before it is measured: are its two halves, one after the other, the network?"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons
from keras_neuronlevel.evaluation.calibration import compiled_prefix
from keras_neuronlevel.evaluation.scoring import ACCURACY, Accuracy, Metric
from keras_neuronlevel.evaluation.truncation import Truncation
from keras_neuronlevel.samples import count, slices, some_of

SAMPLES = 5


def verify(
    model: keras.Model,
    cuts: Sequence[Truncation],
    x: Any,
    output: str | int | None = None,
    scored: Accuracy | Metric = ACCURACY,
) -> None:
    """Hold the halves of a network at each cut against the whole ``model``, on a few of the images x.

    The prefix is compiled, as where it is measured, so that what tensors carry beside their values does not
    reach the suffix. Where accuracy is ``scored``, the logits have to give the network's output, too. And
    images are taken together and one by one.

    Raises:
        ValueError: the halves give other outputs than the model, or logits that do not make them; an image's
            outputs depend on the images beside it.
    """
    few = _few(cuts[0], x)
    with neurons.unchanged_state(model):
        expected = _array(neurons.pick_output(model, model(few, training=False), output))
    tolerance = max(map(neurons.tolerance, neurons.float_types(model)))
    for cut in cuts:
        p, crossing = compiled_prefix(cut)(few)
        found = _array(cut.answer(p, crossing))
        if not neurons.close(found, expected, tolerance):
            raise ValueError(
                f"the model {cut.name!r}, cut in two at {cut.layer!r}, gives other outputs than the whole, "
                f"by {_difference(found, expected)}: a mask is lost at the cut (build it without mask_zero "
                "or Masking), it draws random numbers in inference mode, one of its layers was changed after "
                "it was first measured, or a layer of one's own does more after its activation function"
            )
        if scored is ACCURACY and not _gives(_array(cut.suffix(p, crossing)), expected, tolerance):
            raise ValueError(
                f"the scores before the last function of {cut.name!r} do not give its outputs by a softmax "
                "or sigmoid over the last axis; end the model in Keras' own softmax or sigmoid without a "
                "mask, or give metric="
            )
    _check_alone(cuts[0], few, expected, tolerance)


def _few(cut, x):
    """Some of the images, evenly spread, as tensors; as many as a model of a fixed batch size takes."""
    size = keras.tree.flatten(cut.inputs)[0].shape[0] or min(SAMPLES, count(x))
    index = np.linspace(0, count(x) - 1, size).astype(int)
    images = next(iter(slices(some_of(x, index), size)))
    return keras.tree.map_structure(lambda spec, part: tf.constant(part, spec.dtype), cut.image_spec, images)


def _check_alone(cut, few, expected, tolerance):
    if keras.tree.flatten(cut.inputs)[0].shape[0]:
        return
    each = [some_of(few, slice(n, n + 1)) for n in range(len(expected))]
    found = np.concatenate([_array(cut.answer(*compiled_prefix(cut)(image))) for image in each])
    if not neurons.close(found, expected, tolerance):
        raise ValueError(
            f"samples meet in {cut.name!r}: its outputs differ by {_difference(found, expected)}, "
            "depending on which images are evaluated together; a layer mixes over the first axis, where the "
            "samples are"
        )


def _array(output):
    return np.asarray(tf.cast(output, tf.float64))


def _gives(logits, output, tolerance):
    """Whether outputs (N, ..., K) are the logits, or their softmax; or (N, ..., 1) the second of two."""
    if not np.isfinite(logits).all():
        return True
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmax = powers / powers.sum(axis=-1, keepdims=True)
    return any(neurons.close(made, output, tolerance) for made in (logits, softmax, softmax[..., 1:]))


def _difference(found, expected):
    if found.shape != expected.shape:
        return f"their shape, {found.shape} instead of {expected.shape}"
    return f"{np.abs(found - expected).max():.3g} of {np.abs(expected).max():.3g}"
