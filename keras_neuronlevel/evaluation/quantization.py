"""Two-value quantization of a layer's pre-activations, without retraining (I §5.1, Fig. 3, Table 1)."""

import functools
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_neuronlevel import checks, neurons
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.evaluation.calibration import (
    CALIBRATION,
    IN_MEMORY,
    Calibration,
    calibration_subset,
    calibrations,
    compiled_prefixes,
    traced,
)
from keras_neuronlevel.evaluation.curves import QuantizationCurve
from keras_neuronlevel.evaluation.injection import sides
from keras_neuronlevel.evaluation.scoring import ACCURACY, Accuracy, GivenMetric, Metric, scoring
from keras_neuronlevel.evaluation.truncation import Truncation, truncate
from keras_neuronlevel.evaluation.verification import verify
from keras_neuronlevel.samples import slices, some_of
from keras_neuronlevel.scores import Answers, Tally, merged
from keras_neuronlevel.statistics.percentiles import check_ranks

logger = logging.getLogger(__name__)

TELL_EVERY = 30  # seconds


def quantization_curve(model: keras.Model, layer: str, x: Any, y: Any, **options: Any) -> QuantizationCurve:
    """Score on test images x (N, ...), y (N, ...) with the layer quantized at each percentile rank.

    One layer of :func:`quantization_curves`, which says what the ``options`` are.
    """
    return quantization_curves(model, [layer], x, y, **options)[0]


def quantization_curves(
    model: keras.Model,
    layers: Sequence[str],
    x: Any,
    y: Any,
    *,
    metric: GivenMetric | None = None,
    output: str | int | None = None,
    ranks: ArrayLike = range(0, 101, 10),
    calibration: Any = None,
    calibration_size: int = CALIBRATION,
    batch_size: int = 256,
    in_memory: float = IN_MEMORY,
    seed: int = 0,
    done: Mapping[str, dict] | None = None,
    on_result: Callable[[str, dict], object] | None = None,
    workers: Workers | None = None,
) -> list[QuantizationCurve]:
    """The :class:`QuantizationCurve` of each layer, one at a time quantized, in one pass over the images.

    For every neuron and rank, the threshold is the percentile of its pre-activations over the
    calibration images (samples and positions pooled), and the two values are the means of the two sides
    there. On the test images each p becomes ``low`` where p < threshold and ``high`` elsewhere (ties are
    high). At rank 0 all values are high, at rank 100 all are low, also those outside the calibration
    images' range: one constant per neuron, the same at both ends. Positions that a mask hides count as
    others do. Results do not depend on ``batch_size``,
    up to the last bit of the network's own arithmetic.

    Args:
        model: functional or Sequential.
        layers: neuron layers of it.
        x: test images (N, ...): an array, or a sequence that makes its images when asked for
            (:class:`~keras_neuronlevel.data.images.Images`); then memory does not grow with their number.
            For a model with several inputs a list or dictionary of arrays.
        y: their labels: classes (N,), or (N, L) where the model answers for each of L tokens (accuracy is
            then the mean over a sample's tokens that are not masked); or what ``metric`` takes.
        metric: what is measured where accuracy is not meant (several yes-or-no labels, regression): a
            function of all labels and the model's outputs (N, ...) that gives one number, a Keras metric, or
            its name, such as "mse" or "binary_accuracy". All outputs are kept in memory then, for each layer
            and rank, and an interrupted call begins anew.
        output: of several outputs, the name or number of the one that is scored.
        ranks: (R,) percentile ranks, each once.
        calibration: images to calibrate on, as ``x``; the papers use training images. Without it a subset of
            x itself calibrates, and the curve says so in ``calibrated_on``.
        calibration_size: how many of them are taken, a random subset drawn with ``seed``.
        batch_size: images that go through the network together.
        in_memory: bytes of a layer's pre-activations up to which percentiles are exact; those of larger
            layers are streamed.
        seed: of the calibration subset.
        done: what an interrupted call without ``metric`` told ``on_result``: counts go on there.
        on_result: called now and then with "tallies" and, for each "layer/rank", what was counted so far.
        workers: those that all call this alike, in place of one; each calibrates some of the layers and
            counts its part of the images, all get the same curves, and an interrupted call of several begins
            anew. Thresholds and the two values are those of one process, bit for bit. The devices of each
            take turns at its batches of images.

    Raises:
        ValueError: unknown layers (nearest names), ranks outside [0, 100] or two that print alike, images or
            labels that do not fit the network, an empty calibration set, numbers below 1,
            pre-activations that are not finite, outputs that are NaN at a rank, a model that is no classifier
            where no ``metric`` is given, a ``metric`` with several workers, and a network that is not what
            its halves at a cut give, in which samples meet, or that changes when it is called.
    """
    cuts = {layer: truncate(model, layer, output) for layer in checks.sequence("layers", layers)}
    if not cuts:
        raise ValueError("layers is empty; name at least one neuron layer")
    first, unique = next(iter(cuts.values())), list(cuts.values())
    ranks = check_ranks(ranks)
    checks.different("ranks", ranks)
    batch_size = checks.whole("batch_size", batch_size, least=1)
    score = scoring(metric, model, output)
    x = first.checked(x)
    y = score.check(first, x, y)
    verify(model, unique, x, output, score)
    given = x if calibration is None else first.checked(calibration, "the calibration set")
    images = calibration_subset(given, calibration_size, seed)
    workers = workers or Workers()
    calibrated = calibrations(workers, unique, images, ranks, batch_size=batch_size, in_memory=in_memory)
    resumable: dict[str, Any] = {"done": (done or {}).get("tallies"), "on_result": on_result}
    if workers.count > 1:
        tallies = _shared(workers, unique, x, y, calibrated, batch_size, score)
    else:
        told = {} if score.tally is Answers else resumable
        tallies = sweep(unique, x, y, calibrated, batch_size, score, workers=workers, **told)
    on = "evaluated images" if calibration is None else "given images"
    curves = {
        cut.layer: _curve(cut, found, tallies, y, seed, on, score)
        for cut, found in zip(unique, calibrated, strict=True)
    }
    return [curves[layer] for layer in layers]


def _shared(workers, cuts, x, y, calibrated, batch_size, score):
    """The tallies of :func:`sweep`, of which every worker counts its part of the images."""
    if score.tally is Answers:
        raise ValueError(
            f"the metric {score.name} is of all answers together, which several workers do not exchange; "
            "measure it in one process, or leave metric= out"
        )
    part = workers.part(len(y))
    mine = sweep(cuts, some_of(x, part), y[part], calibrated, batch_size, score, workers=workers)
    found = workers.json({key: tally.to_dict() for key, tally in mine.items()})
    return {key: merged(tallies[key] for tallies in found) for key in mine}


def _curve(cut, calibrated, tallies, y, seed, calibrated_on, scored):
    found = [tallies[_key(cut.layer, name)] for name in ("untouched", *calibrated.ranks)]
    score = np.array([scored.value(tally, y) for tally in found])
    loss = np.array([tally.mean_loss for tally in found])
    if scored.tally is Answers or not cut.is_logits:
        loss = np.full_like(loss, np.nan)
    return QuantizationCurve(
        layer=cut.layer,
        ranks=calibrated.ranks,
        score=score[1:],
        loss=loss[1:],
        baseline_score=float(score[0]),
        baseline_loss=float(loss[0]),
        zero_rank=calibrated.zero_rank,
        thresholds=calibrated.thresholds,
        low=calibrated.low,
        high=calibrated.high,
        chance=scored.chance(cut, y),
        n_test=len(y),
        n_calibration=calibrated.n_samples,
        calibrated_on=calibrated_on,
        exact_percentiles=calibrated.exact,
        seed=seed,
        metric=scored.name,
    )


def _key(layer, rank):
    return f"{layer}/{rank}" if isinstance(rank, str) else f"{layer}/{rank:g}"


def sweep(
    cuts: Sequence[Truncation],
    x,
    y: np.ndarray,
    calibrated: Sequence[Calibration] = (),
    batch_size: int = 256,
    scored: Accuracy | Metric = ACCURACY,
    *,
    done: Mapping[str, dict] | None = None,
    on_result: Callable[[str, dict], object] | None = None,
    workers: Workers | None = None,
) -> dict[str, Tally | Answers]:
    """{"layer/rank": :class:`Tally`} over all test images, and "layer/untouched" without quantization; for a
    metric they are :class:`Answers`.

    For each batch the network runs once up to all the cuts, then once per layer and rank from there on,
    traced once for all ranks. Counts are whole numbers and losses are summed in float64, so the order of
    batches does not matter. Tallies in ``done`` that are complete are not counted again; others go on
    where they were, or anew where they stopped at different images. The devices of this one of the
    ``workers`` take turns at the batches.
    """
    found = [calibrated[place] if calibrated else None for place in range(len(cuts))]
    ranks = calibrated[0].ranks if calibrated else ()
    tallies = {_key(cut.layer, name): scored.tally() for cut in cuts for name in ("untouched", *ranks)}
    _resume(tallies, done or {}, len(y))
    missing = {key for key, tally in tallies.items() if tally.images < len(y)}
    active = [
        (cut, cut.compiled(_MAKERS[scored.tally]), _values(values, cut.layer, missing))
        for cut, values in zip(cuts, found, strict=True)
        if any(_key(cut.layer, name) in missing for name in ("untouched", *ranks))
    ]
    if not active:
        return tallies
    start = min(tallies[key].images for key in missing)
    prefix = compiled_prefixes([cut for cut, _, _ in active])

    def judged(batch):
        images, labels = batch
        given, found = scored.given(labels), {}
        for (cut, (untouched, quantized), values), (p, crossing) in zip(active, prefix(images), strict=True):
            found[_key(cut.layer, "untouched")] = score = untouched(p, crossing, *given)
            _check_finite(float(score[1]))
            found |= {key: quantized(p, crossing, *given, *row) for key, row in values.items()}
        _check_numbers(found)
        return found

    what = "quantization" if calibrated else scored.name
    progress = _Progress(what, start, len(y), tallies, on_result)
    batches = zip(
        slices(some_of(x, slice(start, None)), batch_size), slices(y[start:], batch_size), strict=True
    )
    workers = workers or Workers()
    while few := list(itertools.islice(batches, workers.devices)):
        for (_, labels), scores in zip(few, workers.on_devices(few, judged), strict=True):
            for key in missing & scores.keys():
                tallies[key].add(len(labels), scores[key])
            progress(len(labels))
    return tallies


def _resume(tallies, done, total):
    for key in tallies.keys() & done.keys():
        kept = done[key]
        if kept["images"] > total:
            continue  # of more images than these
        tallies[key] = Tally.from_dict(kept)
    begun = {tally.images for tally in tallies.values() if tally.images < total}
    if len(begun) > 1:
        tallies.update({key: Tally() for key, tally in tallies.items() if tally.images < total})


def _values(calibrated, layer, missing):
    """{"layer/rank": (threshold, low, high)} of the ranks that are missing, as tensors."""
    if calibrated is None:
        return {}
    rows = zip(calibrated.ranks, calibrated.thresholds, calibrated.low, calibrated.high, strict=True)
    return {
        _key(layer, rank): tuple(tf.constant(value) for value in row)
        for rank, *row in rows
        if _key(layer, rank) in missing
    }


class _Progress:
    """Tells what was counted, and logs it with an estimate of the time left, now and then."""

    def __init__(self, what, start, total, tallies, on_result):
        self._what, self._first, self._seen, self._total = what, start, start, total
        self._tallies, self._on_result = tallies, on_result
        self._start = self._last = time.perf_counter()

    def __call__(self, count):
        self._seen += count
        now = time.perf_counter()
        if self._seen < self._total and now - self._last < TELL_EVERY:
            return
        self._last = now
        if self._on_result is not None:
            counts = {key: tally.to_dict() for key, tally in self._tallies.items()}
            self._on_result("tallies", counts)
        spent = now - self._start
        left = spent / (self._seen - self._first) * (self._total - self._seen)
        if spent >= TELL_EVERY:
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


def _check_numbers(found):
    """An answer of NaN would count as the first class."""
    for key, score in found.items():
        if np.isnan(float(score[1])):
            layer, _, rank = key.rpartition("/")
            raise ValueError(
                f"with {layer} quantized at rank {rank} the network's outputs are NaN on test images (as "
                "where all neurons are 0 and it divides by their sum); leave that rank out of ranks"
            )


def _make_scores(truncation, how: type[Accuracy] | type[Metric]):
    """Two compiled functions, (p, crossing[, labels][, threshold, low, high]) -> what a tally adds."""
    score, labels = how.make(truncation)
    p, crossing = truncation.specs
    shared = [p, crossing, *labels]
    per_neuron = [tf.TensorSpec([truncation.units], truncation.threshold_dtype)] * 3

    def untouched(p, crossing, *labels):
        answer, loss = score(p, crossing, *labels)
        finite = tf.reduce_all(tf.math.is_finite(p))  # a ReLU may hide NaN from the loss
        return answer, tf.where(finite, loss, np.float64(np.nan))

    def quantized(p, crossing, *given):
        threshold, low, high = given[-3:]
        injected = sides(tf.cast(p, threshold.dtype), threshold, low, high, where=tf.where)
        return score(tf.cast(injected, p.dtype), crossing, *given[:-3])

    return traced(untouched, shared), traced(quantized, shared + per_neuron)


_MAKERS = {how.tally: functools.partial(_make_scores, how=how) for how in (Accuracy, Metric)}


def accuracy(model: keras.Model, x: Any, y: Any, *, batch_size: int = 256) -> float:
    """The share of images x (N, ...) whose largest output is their label y (N,).

    Raises:
        ValueError: images or labels that do not fit, outputs that are not finite, and a network that is not
            what its halves give (see ``verification``).
    """
    truncation = truncate(model, neurons.choose_layers(neurons.split_fused(model))[0])
    x = truncation.checked(x)
    y = ACCURACY.check(truncation, x, y)
    verify(model, [truncation], x)
    return untouched_score(truncation, x, y, checks.whole("batch_size", batch_size, least=1))


def untouched_score(
    truncation: Truncation, x, y: np.ndarray, batch_size: int = 256, scored: Accuracy | Metric = ACCURACY
) -> float:
    """The score of the network as it is, on checked images and labels."""
    (tally,) = sweep([truncation], x, y, (), batch_size, scored).values()
    return scored.value(tally, y)
