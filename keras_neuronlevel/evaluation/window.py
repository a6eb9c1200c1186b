"""Sliding-window binarization: which part of a neuron's distribution carries information (I §5.2, Fig. 4).

Pre-activations in a window of percentile ranks become 1, all others 0; they go through the layer's
activation function, and what follows is trained anew on them. Test accuracy is then what those bits tell.
"""

import contextlib
import functools
import logging
import time
from dataclasses import asdict

import numpy as np
import tensorflow as tf

from keras_neuronlevel.evaluation.calibration import (
    IN_MEMORY,
    calibration_subset,
    collected,
    forward_batch,
    pre_activations,
)
from keras_neuronlevel.evaluation.checks import chance_level, check_images
from keras_neuronlevel.evaluation.curves import WindowCurve
from keras_neuronlevel.evaluation.injection import open_ends, window_ranks
from keras_neuronlevel.evaluation.quantization import untouched_accuracy
from keras_neuronlevel.evaluation.readout import Budget, make_evaluation, train_readout
from keras_neuronlevel.evaluation.sources import WindowFeatures, sources
from keras_neuronlevel.evaluation.truncation import truncate
from keras_neuronlevel.probes import LinearProbe
from keras_neuronlevel.samples import check_labels
from keras_neuronlevel.statistics.percentiles import percentiles, streaming_percentiles

logger = logging.getLogger(__name__)

READOUTS = ("retrain", "probe")


def window_curve(
    model,
    layer,
    data,
    *,
    centers=range(5, 96, 10),
    width=10,
    readout="retrain",
    epochs=Budget.epochs,
    seed=0,
    repeats=1,
    batch_size=Budget.batch_size,
    learning_rate=Budget.learning_rate,
    patience=Budget.patience,
    held_out=Budget.held_out,
    max_train_samples=None,
    calibration_size=10_000,
    grid=1,
    classes=None,
    in_memory=2 * IN_MEMORY,
    done=None,
    on_result=None,
):
    """Test accuracy of readouts of the layer's window-binarized pre-activations, per window centre.

    Windows are [centre - width/2, centre + width/2) in percentile ranks of each neuron, computed once on
    a random subset of the training images; those that end at rank 0 or 100 are open to that side, so that
    the extremes belong to them. Readouts:

    - "retrain": the network's layers after the cut, φ first, with fresh weights: trained until they have
      converged (see :class:`~keras_neuronlevel.evaluation.readout.Budget`). Where a skip connection
      passes the layer by, its tensors reach the readout as they are, un-binarized.
    - "probe": a :class:`~keras_neuronlevel.probes.LinearProbe` on p, averaged over a ``grid`` × ``grid``
      of positions where it is a feature map (1: the mean over all positions). Window bits are packed on
      disk for the length of the call, and pooled after they were binarized: a share of bits per cell.

    ``data`` has x_train, y_train, x_test, y_test. Probes may learn labels that are not the network's, of
    ``classes`` classes (a transfer); ``original_accuracy`` is NaN then. The baseline is the same readout of
    un-binarized p. Repeat r uses seed + r for the fresh weights, the order of samples and the held-out part,
    the same for every centre. The model is never changed. ``max_train_samples`` takes a random part of the
    training images. Results that are known, ``done[key]``, are not computed again; ``on_result(key,
    result)`` is told every new one, keys being "baseline/0", "5/0", ... (centre or baseline / repeat).

    Returns a :class:`WindowCurve`. Raises ``ValueError`` for unknown layers (nearest names), width not in
    (0, 100], windows that leave [0, 100], images or labels that do not fit, and values not finite.
    """
    ranks = window_ranks(centers, width)
    if readout not in READOUTS:
        raise ValueError(f"readout is {readout!r}; it must be one of {', '.join(READOUTS)}")
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; give at least 1")
    budget = Budget(epochs, batch_size, learning_rate, patience, held_out=held_out)
    truncation = truncate(model, layer)
    _check_loss(truncation, readout)
    if classes is not None and readout != "probe":
        raise ValueError('classes is for readout="probe": layers are retrained on the network\'s own classes')
    own, classes = classes is None, classes or truncation.classes
    train, test = _checked(truncation, data, classes, max_train_samples, seed)
    calibration = calibration_subset(train[0], calibration_size, seed)
    names = ["baseline", *(f"{center:g}" for center in ranks.mean(axis=1))]
    results = dict(done or {})
    missing = [n for n in names if any(_key(n, r) not in results for r in range(repeats))]
    bounds = _bounds(truncation, calibration, ranks, in_memory) if missing else {}
    windows = [None if name == "baseline" else bounds[names.index(name) - 1] for name in missing]
    progress = _Progress(layer, len(missing) * repeats)
    if readout == "retrain":
        fitting = _retraining(truncation, train, test, windows, budget, in_memory)
    else:
        fitting = _probing(truncation, train, test, windows, classes, grid, held_out)
    with contextlib.closing(fitting):
        for name, fit in zip(missing, fitting, strict=True):
            for repeat in range(repeats):
                key = _key(name, repeat)
                if key not in results:
                    results[key] = fit(seed + repeat)
                    progress(key, results[key])
                    if on_result is not None:
                        on_result(key, results[key])
    fits = {name: [results[_key(name, r)] for r in range(repeats)] for name in names}
    accuracy = {name: [result["accuracy"] for result in fits[name]] for name in names}
    return WindowCurve(
        layer=layer,
        centers=ranks.mean(axis=1),
        width=float(width),
        readout=readout,
        repeats=np.array([accuracy[name] for name in names[1:]]),
        baseline=np.array(accuracy["baseline"]),
        original_accuracy=_original(truncation, test) if own else np.nan,
        chance=chance_level(test[1], classes),
        fits=fits,
        budget=asdict(budget) if readout == "retrain" else {"grid": grid, "held_out": held_out},
        n_train=len(train[0]),
        n_test=len(test[0]),
        n_calibration=len(calibration),
        seed=seed,
    )


def _key(name, repeat):
    return f"{name}/{repeat}"


def _check_loss(truncation, readout):
    if readout == "retrain" and not truncation.is_logits:
        raise ValueError(
            "the network's outputs pass a final activation function other than softmax, so its layers "
            'cannot be retrained with a cross-entropy; use readout="probe"'
        )


def _original(truncation, test):
    return untouched_accuracy(truncation, *test, min(256, forward_batch(truncation)))


def _checked(truncation, data, classes, max_train_samples, seed):
    """((x_train, y_train), (x_test, y_test)), checked, the first cut down to a random part."""
    sets = []
    for part in ("train", "test"):
        x = check_images(getattr(data, f"x_{part}"), truncation, f"x_{part}")
        y = check_labels(getattr(data, f"y_{part}"), len(x), classes, f"y_{part}")
        sets.append((x, y))
    (x, y), test = sets
    if max_train_samples is not None and max_train_samples < len(x):
        kept = np.random.default_rng([seed, 1]).permutation(len(x))[:max_train_samples]
        x, y = x[np.sort(kept)], y[np.sort(kept)]
    return (x, y), test


def _bounds(truncation, images, ranks, in_memory):
    """The thresholds (low, high), (U,) each, at which every window begins and ends."""
    flat = ranks.ravel()
    size = 4 * len(images) * np.prod([n or np.inf for n in truncation.shape])
    batch = min(256, forward_batch(truncation))
    if size <= in_memory:
        found = percentiles(collected(truncation, images, batch), flat)
    else:
        found = streaming_percentiles(lambda: pre_activations(truncation, images, batch), flat)
    opened = open_ends(found.astype(np.float32), flat)
    return list(opened.reshape(*ranks.shape, -1))


def _retraining(truncation, train, test, windows, budget, in_memory):
    """For each window, a function seed -> what a fresh suffix that was trained on its bits reached."""
    for pair in sources(truncation, (train[0], test[0]), windows, in_memory):
        yield functools.partial(_retrain, truncation, pair, train[1], test[1], budget)


def _retrain(truncation, pair, y_train, y_test, budget, seed):
    """A fresh suffix trained on the first source and tested on the second: {accuracy, epochs, ...}."""
    suffix = truncation.fresh_suffix(seed)
    report = train_readout(suffix, pair[0], y_train, budget, seed)
    evaluate = make_evaluation(suffix, pair[1], tf.constant(y_test, tf.int64))
    accuracy, loss = evaluate(np.arange(len(y_test)))
    return {"accuracy": accuracy, "loss": loss, **report}


def _probing(truncation, train, test, windows, classes, grid, held_out):
    """For each window, a function seed -> what a probe that was fitted to its bits reached."""
    if not windows:
        return
    binarized = [window for window in windows if window is not None]
    with contextlib.ExitStack() as stack:
        features = []
        for part in (train, test):
            features.append(WindowFeatures(truncation, *part, binarized, grid))
            stack.callback(features[-1].close)
        numbers = iter(range(len(binarized)))
        for window in windows:
            number = None if window is None else next(numbers)
            pair = [part.batches(number) for part in features]
            yield functools.partial(_probe, classes, pair, held_out)


def _probe(classes, pair, held_out, seed):
    """A probe fitted to the first batches and tested on the second: {accuracy, loss, strength, ...}."""
    start = time.perf_counter()
    probe = LinearProbe(classes, held_out=held_out, seed=seed).fit_batches(pair[0])
    accuracy, loss = probe.evaluate_batches(pair[1])
    seconds = time.perf_counter() - start
    return {"accuracy": accuracy, "loss": loss, **probe.report(), "seconds": seconds}


class _Progress:
    """Logs every result, with an estimate of the time that is left."""

    def __init__(self, layer, total):
        self._layer, self._total, self._seen, self._start = layer, total, 0, time.perf_counter()

    def __call__(self, key, result):
        self._seen += 1
        spent = time.perf_counter() - self._start
        left = spent / self._seen * (self._total - self._seen)
        logger.info(
            "%s window %s: accuracy %.4f (%d of %d, %.0f s spent, about %.0f s left)",
            self._layer, key, result["accuracy"], self._seen, self._total, spent, left,
        )  # fmt: skip
