"""Sliding-window binarization: which part of a neuron's distribution carries information (I §5.2, Fig. 4).

Pre-activations in a window of percentile ranks become 1, all others 0; a readout learns the classes from
those bits. Its test accuracy is then what the bits tell.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from keras_neuronlevel import checks, streams
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.evaluation import beside
from keras_neuronlevel.evaluation.calibration import (
    CALIBRATION,
    IN_MEMORY,
    calibration_subset,
    forward_batch,
    layer_thresholds,
)
from keras_neuronlevel.evaluation.curves import WindowCurve
from keras_neuronlevel.evaluation.injection import window_ranks
from keras_neuronlevel.evaluation.probing import Probe
from keras_neuronlevel.evaluation.quantization import untouched_score
from keras_neuronlevel.evaluation.readout import Retrain
from keras_neuronlevel.evaluation.scoring import GivenMetric, scoring
from keras_neuronlevel.evaluation.truncation import truncate
from keras_neuronlevel.evaluation.verification import verify
from keras_neuronlevel.samples import check_parts, count, some_of

logger = logging.getLogger(__name__)

DEFAULT_READOUT = Retrain()


def window_curve(
    model: keras.Model,
    layer: str,
    data: Any,
    *,
    readout: Retrain | Probe = DEFAULT_READOUT,
    metric: GivenMetric | None = None,
    output: str | int | None = None,
    centers: ArrayLike = range(5, 96, 10),
    width: float = 10,
    repeats: int = 1,
    seed: int = 0,
    max_train_samples: int | None = None,
    calibration_size: int = CALIBRATION,
    in_memory: float = 2 * IN_MEMORY,
    done: Mapping[str, dict] | None = None,
    on_result: Callable[[str, dict], object] | None = None,
    workers: Workers | None = None,
) -> WindowCurve:
    """Test score of readouts of the layer's window-binarized pre-activations, per window centre.

    Windows are [centre - width/2, centre + width/2) in percentile ranks of each neuron, computed once on
    a random subset of the training images; those that end at rank 0 or 100 are open to that side, so that
    the extremes belong to them. The baseline is the same readout of un-binarized p. The model is never
    changed.

    Args:
        model: functional or Sequential.
        layer: one of its neuron layers.
        data: has x_train, y_train, x_test, y_test; images are arrays (N, ...) or, for probes, sequences
            that make them when asked for; several inputs are a list or dictionary of arrays.
        readout: how the bits are read: :class:`~keras_neuronlevel.evaluation.readout.Retrain`, the later
            layers trained anew, or :class:`~keras_neuronlevel.evaluation.probing.Probe`, a linear one.
        metric: what is measured where accuracy is not meant, as in ``quantization_curves``; a retrained
            readout then minimizes the loss with which the model was compiled.
        output: of several outputs, the name or number of the one that is read.
        centers: (C,) percentile ranks of the windows' centres.
        width: of a window, in percentile ranks.
        repeats: readouts per window. Repeat r uses seed + r for the fresh weights, the order of samples and
            the held-out part, the same for every centre.
        seed: also draws the calibration subset and the part of the training images.
        max_train_samples: take a random part of so many training images; default all.
        calibration_size: how many training images the windows are computed on.
        in_memory: bytes of pre-activations, and of window bits of a retrained readout, that may be kept. As
            much again may the trainings of several readouts take, which run beside each other where the
            machine has the cores: each as it would alone, bit for bit.
        done: {key: result} of an interrupted call, not computed again. Keys are "baseline/0", "5/0", ...
            (centre or baseline / repeat).
        on_result: called with the key and the result of every readout when it is done.
        workers: those that all call this alike, with the same ``done``, in place of one; each reads some of
            the windows, and all get the same curve.

    Returns:
        A :class:`WindowCurve`. Where a probe learns other classes than the network's,
        ``original_accuracy`` is NaN.

    Raises:
        ValueError: unknown layers (nearest names), a width outside (0, 100], windows that leave [0, 100],
            two centres that print alike, numbers below 1, images or labels that do not fit, values that
            are not finite, a readout that does not suit the model's output or would train the model itself,
            and a network that is not what its halves at the cut give.
    """
    if not isinstance(readout, Retrain | Probe):
        raise ValueError(f"readout is {readout!r}; give evaluation.Retrain(...) or evaluation.Probe(...)")
    check_parts(data)
    ranks = window_ranks(centers, width)
    names = ["baseline", *checks.different("centers", ranks.mean(axis=1))]
    repeats = checks.whole("repeats", repeats, least=1)
    truncation, scored = truncate(model, layer, output), scoring(metric, model, output)
    readout.check(truncation, scored)
    train, test = _checked(truncation, data, scored, readout.classes, max_train_samples, seed)
    verify(model, [truncation], test[0], output, scored)
    calibration = calibration_subset(train[0], calibration_size, seed)
    results = dict(done or {})
    workers = workers or Workers()
    missing = workers.turns([n for n in names if any(_key(n, r) not in results for r in range(repeats))])
    bounds = _bounds(truncation, calibration, ranks, in_memory) if missing else []
    windows = [None if name == "baseline" else bounds[names.index(name) - 1] for name in missing]
    progress = _Progress(layer, len(missing) * repeats, scored)

    def works(group, names):
        for fit, name in zip(group, names, strict=False):
            for repeat in range(repeats):
                if _key(name, repeat) not in results:
                    yield _key(name, repeat), fit(seed + repeat)

    names_left, at_once = iter(missing), readout.at_once(truncation, in_memory, scored)
    with contextlib.closing(readout.fits(truncation, train, test, windows, in_memory, scored)) as groups:
        for group in groups:
            with contextlib.closing(beside.results(works(group, names_left), at_once)) as found:
                for key, result in found:
                    results[key] = result
                    progress(key, result)
                    if on_result is not None:
                        on_result(key, result)
            del group, found  # and the bits, before those of the next group are made
    for key, result in {key: found for part in workers.json(results) for key, found in part.items()}.items():
        if key not in results:
            results[key] = result
            if on_result is not None:
                on_result(key, result)
    fits = {name: [results[_key(name, r)] for r in range(repeats)] for name in names}
    scores = {name: [result[scored.key] for result in fits[name]] for name in names}
    return WindowCurve(
        layer=layer,
        centers=ranks.mean(axis=1),
        width=float(width),
        readout=readout.kind,
        repeats=np.array([scores[name] for name in names[1:]]),
        baseline=np.array(scores["baseline"]),
        original_score=np.nan if readout.classes else _original(truncation, test, scored),
        chance=scored.chance(truncation, test[1], readout.classes),
        fits=fits,
        budget=asdict(readout),
        n_train=count(train[0]),
        n_test=count(test[0]),
        n_calibration=count(calibration),
        seed=seed,
        metric=scored.name,
    )


def _key(name, repeat):
    return f"{name}/{repeat}"


def _original(truncation, test, scored):
    return untouched_score(truncation, *test, min(256, forward_batch(truncation)), scored)


def _checked(truncation, data, scored, classes, max_train_samples, seed):
    """((x_train, y_train), (x_test, y_test)), checked, the first cut down to a random part."""
    sets = []
    for part in ("train", "test"):
        x = truncation.checked(getattr(data, f"x_{part}"), f"x_{part}")
        sets.append((x, scored.check(truncation, x, getattr(data, f"y_{part}"), f"y_{part}", classes)))
    (x, y), test = sets
    if max_train_samples is not None:
        size = checks.whole("max_train_samples", max_train_samples, least=2)
        if size < count(x):
            order = streams.generator(seed, "readout's training images").permutation(count(x))
            kept = np.sort(order[:size])
            x, y = some_of(x, kept), y[kept]
    return (x, y), test


def _bounds(truncation, images, ranks, in_memory):
    """The thresholds (low, high), (U,) each, at which every window begins and ends."""
    batch = min(256, forward_batch(truncation))
    found, _, _ = layer_thresholds(truncation, images, ranks.ravel(), batch, in_memory)
    return list(found.reshape(*ranks.shape, -1))


class _Progress:
    """Logs every result, with an estimate of the time that is left."""

    def __init__(self, layer, total, scored):
        self._scored = scored
        self._layer, self._total, self._seen, self._start = layer, total, 0, time.perf_counter()

    def __call__(self, key, result):
        self._seen += 1
        spent = time.perf_counter() - self._start
        left = spent / self._seen * (self._total - self._seen)
        logger.info(
            "%s window %s: %s %.4f (%d of %d, %.0f s spent, about %.0f s left)", self._layer, key,
            self._scored.name, result[self._scored.key], self._seen, self._total, spent, left,
        )  # fmt: skip
