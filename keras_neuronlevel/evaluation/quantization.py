"""Two-value quantization of a layer's pre-activations, without retraining (I §5.1, Fig. 3, Table 1)."""

import logging
import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons
from keras_neuronlevel.evaluation.calibration import (
    IN_MEMORY,
    calibrate,
    calibration_subset,
    compiled_prefix,
    compiled_prefixes,
    slices,
)
from keras_neuronlevel.evaluation.checks import (
    chance_level,
    check_batch_size,
    check_images,
)
from keras_neuronlevel.evaluation.curves import QuantizationCurve
from keras_neuronlevel.evaluation.injection import sides
from keras_neuronlevel.evaluation.truncation import truncate
from keras_neuronlevel.samples import check_labels
from keras_neuronlevel.statistics.percentiles import check_ranks

logger = logging.getLogger(__name__)


def quantization_curve(model, layer, x, y, **options):
    """Accuracy on test images x (N, ...), y (N,) with the layer quantized at each percentile rank.

    One layer of :func:`quantization_curves`, which says what the ``options`` are.
    """
    return quantization_curves(model, [layer], x, y, **options)[0]


def quantization_curves(
    model,
    layers,
    x,
    y,
    *,
    ranks=range(0, 101, 10),
    calibration=None,
    calibration_size=10_000,
    batch_size=256,
    in_memory=IN_MEMORY,
    seed=0,
    done=None,
    on_result=None,
):
    """The :class:`QuantizationCurve` of each layer, one at a time quantized, in one pass over the images.

    For every neuron and rank, the threshold is the percentile of its pre-activations over the
    calibration images (samples and positions pooled), and the two values are the means of the two sides
    there. On the test images each p becomes ``low`` where p < threshold and ``high`` elsewhere (ties are
    high). At rank 0 all values are high, at rank 100 all are low, also those outside the calibration
    images' range: one constant per neuron, the same at both ends.

    ``x`` (N, ...) and ``calibration`` are arrays, or sequences that make their images when asked for
    (:class:`~keras_neuronlevel.data.images.Images`); then memory does not grow with their number.
    ``calibration``: images to calibrate on, of which a random subset of ``calibration_size`` (drawn with
    ``seed``) is taken; the papers use training images. Without it a subset of x itself calibrates, and
    the curve says so in ``calibrated_on``. Pre-activations of up to ``in_memory`` bytes are kept for exact
    percentiles, those of larger layers are streamed. Results do not depend on ``batch_size``, up to the
    last bit of the network's own arithmetic.

    What was counted is told now and then, ``on_result("tallies", counts)``, and taken up again from
    ``done["tallies"]``: ``counts`` has for each "layer/rank" the images seen so far.

    Raises ``ValueError`` for unknown layers (nearest names), ranks outside [0, 100], images or labels that
    do not fit the network, an empty calibration set, and pre-activations that are not finite.
    """
    cuts = {layer: truncate(model, layer) for layer in layers}
    if not cuts:
        raise ValueError("layers is empty; name at least one neuron layer")
    first, unique = next(iter(cuts.values())), list(cuts.values())
    ranks = check_ranks(ranks)
    batch_size = check_batch_size(batch_size)
    x = check_images(x, first)
    y = check_labels(y, len(x), first.classes)
    images = calibration_subset(x if calibration is None else calibration, calibration_size, seed)
    calibrated = [calibrate(cut, images, ranks, batch_size=batch_size, in_memory=in_memory) for cut in unique]
    known = (done or {}).get("tallies")
    tallies = sweep(unique, x, y, calibrated, batch_size, done=known, on_result=on_result)
    on = "evaluated images" if calibration is None else "given images"
    curves = {
        cut.layer: _curve(cut, found, tallies, y, seed, on)
        for cut, found in zip(unique, calibrated, strict=True)
    }
    return [curves[layer] for layer in layers]


def _curve(cut, calibrated, tallies, y, seed, calibrated_on):
    keys = [_key(cut.layer, name) for name in ("untouched", *calibrated.ranks)]
    accuracy = np.array([tallies[key].correct for key in keys]) / len(y)
    loss = np.array([tallies[key].loss for key in keys]) / len(y)
    if not cut.is_logits:
        loss = np.full_like(loss, np.nan)
    return QuantizationCurve(
        layer=cut.layer,
        ranks=calibrated.ranks,
        accuracy=accuracy[1:],
        loss=loss[1:],
        baseline_accuracy=float(accuracy[0]),
        baseline_loss=float(loss[0]),
        zero_rank=calibrated.zero_rank,
        thresholds=calibrated.thresholds,
        low=calibrated.low,
        high=calibrated.high,
        chance=chance_level(y, cut.classes),
        n_test=len(y),
        n_calibration=calibrated.n_samples,
        calibrated_on=calibrated_on,
        exact_percentiles=calibrated.exact,
        seed=seed,
    )


def _key(layer, rank):
    return f"{layer}/{rank}" if isinstance(rank, str) else f"{layer}/{rank:g}"


@dataclass
class Tally:
    """Correct answers and summed loss over the first ``images`` test images, at one layer and rank."""

    images: int = 0
    correct: int = 0
    loss: float = 0.0

    def add(self, images, score):
        self.images += images
        self.correct += int(score[0])
        self.loss += float(score[1])

    def to_dict(self):
        return {"images": self.images, "correct": self.correct, "loss": self.loss.hex()}


def sweep(cuts, x, y, calibrated, batch_size=256, *, done=None, on_result=None):
    """{"layer/rank": :class:`Tally`} over all test images, and "layer/untouched" without quantization.

    For each batch the network runs once up to all the cuts, then once per layer and rank from there on,
    traced once for all ranks. Counts are whole numbers and losses are summed in float64, so the order of
    batches does not matter. Tallies in ``done`` that are complete are not counted again; others go on
    where they were, or anew where they stopped at different images.
    """
    tallies = {_key(cut.layer, name): Tally() for cut in cuts for name in ("untouched", *calibrated[0].ranks)}
    _resume(tallies, done or {}, len(y))
    missing = {key for key, tally in tallies.items() if tally.images < len(y)}
    active = [
        (cut, cut.compiled(_make_scores), _values(found, cut.layer, missing))
        for cut, found in zip(cuts, calibrated, strict=True)
        if any(_key(cut.layer, name) in missing for name in ("untouched", *found.ranks))
    ]
    if not active:
        return tallies
    start = min(tallies[key].images for key in missing)
    prefix = compiled_prefixes([cut for cut, _, _ in active])
    progress = _Progress("quantization", start, len(y), tallies, on_result)
    batches = zip(slices(x[start:], batch_size), slices(y[start:], batch_size), strict=True)
    for images, labels in batches:
        count, labels = len(labels), tf.constant(labels)
        for (cut, (untouched, quantized), values), (p, crossing) in zip(active, prefix(images), strict=True):
            score = untouched(p, crossing, labels)
            _check_finite(float(score[1]))
            if _key(cut.layer, "untouched") in missing:
                tallies[_key(cut.layer, "untouched")].add(count, score)
            for key, row in values.items():
                tallies[key].add(count, quantized(p, crossing, labels, *row))
        progress(count)
    return tallies


def _resume(tallies, done, total):
    for key in tallies.keys() & done.keys():
        kept = done[key]
        if kept["images"] > total:
            continue  # of more images than these
        tallies[key] = Tally(kept["images"], kept["correct"], float.fromhex(kept["loss"]))
    begun = {tally.images for tally in tallies.values() if tally.images < total}
    if len(begun) > 1:
        tallies.update({key: Tally() for key, tally in tallies.items() if tally.images < total})


def _values(calibrated, layer, missing):
    """{"layer/rank": (threshold, low, high)} of the ranks that are missing, as tensors."""
    rows = zip(calibrated.ranks, calibrated.thresholds, calibrated.low, calibrated.high, strict=True)
    return {
        _key(layer, rank): tuple(tf.constant(value) for value in row)
        for rank, *row in rows
        if _key(layer, rank) in missing
    }


class _Progress:
    """Tells what was counted, and logs it with an estimate of the time left, every half minute."""

    EVERY = 30  # seconds

    def __init__(self, what, start, total, tallies, on_result):
        self._what, self._first, self._seen, self._total = what, start, start, total
        self._tallies, self._on_result = tallies, on_result
        self._start = self._last = time.perf_counter()

    def __call__(self, count):
        self._seen += count
        now = time.perf_counter()
        if self._seen < self._total and now - self._last < self.EVERY:
            return
        self._last = now
        if self._on_result is not None:
            counts = {key: tally.to_dict() for key, tally in self._tallies.items()}
            self._on_result("tallies", counts)
        spent = now - self._start
        left = spent / (self._seen - self._first) * (self._total - self._seen)
        if spent >= self.EVERY:
            logger.info(
                "%s: %d of %d images, %.0f s spent, about %.0f s left",
                self._what, self._seen, self._total, spent, left,
            )  # fmt: skip


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
    y = check_labels(y, len(x), truncation.classes)
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
