"""Two-value quantization of a layer's pre-activations, without retraining (I §5.1, Fig. 3, Table 1)."""

import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons
from keras_neuronlevel.evaluation.calibration import (
    IN_MEMORY,
    calibrate,
    calibration_subset,
    compiled_prefix,
    slices,
)
from keras_neuronlevel.evaluation.checks import (
    chance_level,
    check_batch_size,
    check_images,
    check_labels,
)
from keras_neuronlevel.evaluation.curves import QuantizationCurve
from keras_neuronlevel.evaluation.injection import sides
from keras_neuronlevel.evaluation.truncation import truncate
from keras_neuronlevel.statistics.percentiles import check_ranks


def quantization_curve(
    model,
    layer,
    x,
    y,
    *,
    ranks=range(0, 101, 10),
    calibration=None,
    calibration_size=10_000,
    batch_size=256,
    in_memory=IN_MEMORY,
    seed=0,
):
    """Accuracy on test images x (N, ...), y (N,) with the layer quantized at each percentile rank.

    For every neuron and rank, the threshold is the percentile of its pre-activations over the
    calibration images (samples and positions pooled), and the two values are the means of the two sides
    there. On the test images each p becomes ``low`` where p < threshold and ``high`` elsewhere (ties are
    high). At rank 0 all values are high, at rank 100 all are low, also those outside the calibration
    images' range: one constant per neuron, the same at both ends.

    ``calibration``: images to calibrate on, of which a random subset of ``calibration_size`` (drawn with
    ``seed``) is taken; the papers use training images. Without it a subset of x itself calibrates, and
    the curve says so in ``calibrated_on``. Results do not depend on ``batch_size``, up to the last bit of
    the network's own arithmetic.

    Returns a :class:`QuantizationCurve`. Raises ``ValueError`` for unknown layers (nearest names), ranks
    outside [0, 100], images or labels that do not fit the network, an empty calibration set, and
    pre-activations that are not finite.
    """
    truncation = truncate(model, layer)
    ranks = check_ranks(ranks)
    batch_size = check_batch_size(batch_size)
    x = check_images(x, truncation)
    y = check_labels(y, x, truncation.classes)
    images = calibration_subset(x if calibration is None else calibration, calibration_size, seed)
    calibrated = calibrate(truncation, images, ranks, batch_size=batch_size, in_memory=in_memory)
    correct, loss = sweep(truncation, x, y, calibrated, batch_size)
    accuracy, loss = correct / len(x), loss / len(x)
    return QuantizationCurve(
        layer=layer,
        ranks=ranks,
        accuracy=accuracy[1:],
        loss=loss[1:],
        baseline_accuracy=float(accuracy[0]),
        baseline_loss=float(loss[0]),
        zero_rank=calibrated.zero_rank,
        thresholds=calibrated.thresholds,
        low=calibrated.low,
        high=calibrated.high,
        chance=chance_level(y, truncation.classes),
        n_test=len(x),
        n_calibration=calibrated.n_samples,
        calibrated_on="evaluated images" if calibration is None else "given images",
        exact_percentiles=calibrated.exact,
        seed=seed,
    )


def sweep(truncation, x, y, calibrated, batch_size=256):
    """Correct answers and summed loss (1 + R,), first of the untouched network, then at each rank.

    The prefix runs once per batch and the suffix once per rank, traced once for all of them. Counts are
    whole numbers and losses are summed in float64, so the order of batches does not matter.
    """
    prefix, untouched, quantized = compiled_prefix(truncation), *truncation.compiled(_make_scores)
    values = [
        tuple(tf.constant(v) for v in row)
        for row in zip(calibrated.thresholds, calibrated.low, calibrated.high, strict=True)
    ]
    correct = np.zeros(1 + len(values), np.int64)
    loss = np.zeros(1 + len(values))
    for images, labels in zip(slices(x, batch_size), slices(y, batch_size), strict=True):
        p, crossing = prefix(images)
        labels = tf.constant(labels)
        scores = [untouched(p, crossing, labels)]
        scores += [quantized(p, crossing, labels, *row) for row in values]
        correct += [int(score[0]) for score in scores]
        loss += [float(score[1]) for score in scores]
    _check_finite(loss[0])
    return correct, loss if truncation.is_logits else np.full_like(loss, np.nan)


def _check_finite(loss):
    if not np.isfinite(loss):
        raise ValueError(
            "pre-activations or outputs on the test images are NaN or infinite; check the network's "
            "weights and the scale of the images"
        )


def _make_scores(truncation):
    """Two compiled functions, (p, crossing, labels[, threshold, low, high]) -> (correct, loss)."""
    p, crossing = truncation.specs
    shared = [p, crossing, tf.TensorSpec([None], tf.int64)]
    per_neuron = [tf.TensorSpec([truncation.units], tf.float32)] * 3

    def untouched(p, crossing, labels):
        correct, loss = score(truncation.suffix(p, crossing), labels)
        finite = tf.reduce_all(tf.math.is_finite(p))  # a ReLU may hide NaN from the loss
        return correct, tf.where(finite, loss, np.float64(np.nan))

    def quantized(p, crossing, labels, *values):
        threshold, low, high = (tf.cast(value, p.dtype) for value in values)
        injected = sides(p, threshold, low, high, where=tf.where)
        return score(truncation.suffix(injected, crossing), labels)

    return (
        tf.function(untouched, input_signature=shared),
        tf.function(quantized, input_signature=shared + per_neuron),
    )


def score(logits, labels):
    """The number of correct answers, and the summed cross-entropy in float64, of logits (n, K)."""
    correct = tf.math.count_nonzero(tf.argmax(logits, axis=1) == labels)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float64))
    return correct, tf.reduce_sum(losses)


def accuracy(model, x, y, *, batch_size=256):
    """The share of images x (N, ...) whose largest output is their label y (N,)."""
    truncation = truncate(model, neurons.choose_layers(neurons.split_fused(model))[0])
    x = check_images(x, truncation)
    y = check_labels(y, x, truncation.classes)
    return untouched_accuracy(truncation, x, y, check_batch_size(batch_size))


def untouched_accuracy(truncation, x, y, batch_size=256):
    """The accuracy of the network as it is, on checked images and labels."""
    prefix, (untouched, _) = compiled_prefix(truncation), truncation.compiled(_make_scores)
    correct = loss = 0
    for images, labels in zip(slices(x, batch_size), slices(y, batch_size), strict=True):
        scores = untouched(*prefix(images), tf.constant(labels))
        correct, loss = correct + int(scores[0]), loss + float(scores[1])
    _check_finite(loss)
    return correct / len(x)
