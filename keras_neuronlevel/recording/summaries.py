"""Scalars and histograms of a recording while it goes on: into Keras' ``logs``, and to TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from keras_neuronlevel import checks
from keras_neuronlevel.recording.recorder import ActivationGradientRecorder
from keras_neuronlevel.statistics import auc, average_sign, categories, category_balance, sign_constancy


def _mean(values):
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def sign_scalars(s: np.ndarray, former: np.ndarray | None = None) -> dict[str, float]:
    """What a layer's average signs say in three numbers, each NaN where nothing defines it.

    Args:
        s: average signs, (N, U) or (N, U, P), NaN for a pair that never had a nonzero derivative.
        former: :func:`~keras_neuronlevel.statistics.categories` of an earlier s of the same shape.

    Returns:
        ``above_0.9``, the share of a neuron's defined pairs with abs(s) > 0.9, and ``low_share``, that of its
        low pairs among low and high ones, both means over the neurons that have such pairs; ``changed``, the
        share of all N · U · P pairs whose category (low, high, undefined) is another than in ``former``.
    """
    return {
        "above_0.9": _mean(sign_constancy(s, 0.9)["above"]),
        "low_share": _mean(category_balance(s)),
        "changed": float("nan") if former is None else _mean(categories(s) != former),
    }


def separation_scalar(p: np.ndarray, c: np.ndarray) -> float:
    """How far apart the categories are: :func:`~keras_neuronlevel.statistics.auc`, mean over neurons.

    Args:
        p: pre-activations, (N, U) or (N, U, P); a neuron that has NaN is left out.
        c: categories of the same pairs.

    Returns:
        NaN where no neuron has both categories.
    """
    known = ~np.isnan(p).any(axis=(0, *range(2, p.ndim)))
    return _mean(auc(p[:, known], c[:, known])) if known.any() else float("nan")


class TensorBoardSummaries(keras.callbacks.Callback):
    """Show what a recorder has so far: in ``logs`` for other callbacks, and in TensorBoard.

    For every recorded layer the scalars of :func:`sign_scalars` (``changed`` since the last summary), named
    as ``neuronlevel/dense1-relu/above_0.9``, and ``auc``, :func:`separation_scalar` of the pre-activations of
    the neurons and positions that the recorder's snapshots keep. All of them are in the ``logs`` of every
    batch and epoch after the first summary, NaN where undefined, so that the columns of a ``CSVLogger`` stay
    the same. TensorBoard gets those that are defined, and histograms of the defined s,
    ``neuronlevel/dense1-relu/s``, and of these pre-activations, ``neuronlevel/dense1-relu/preactivations``,
    where finite, at the step of the recording.

    In ``callbacks`` it stands after its recorder and before those that read ``logs``::

        callbacks=[recorder, summaries, keras.callbacks.CSVLogger("log.csv")]

    Of a model that several processes train, each summarizes its own part of the samples.

    Args:
        recorder: the recorder of the same training.
        log_dir: a folder for TensorBoard's files; None for ``logs`` alone.
        every: a summary at the first recording, and at every ``every``-th after it.

    Raises ``ValueError`` for a recorder that is none, and for ``every`` below 1.
    """

    def __init__(
        self, recorder: ActivationGradientRecorder, log_dir: Path | str | None = None, *, every: int = 1
    ):
        super().__init__()
        if not isinstance(recorder, ActivationGradientRecorder):
            raise ValueError(f"recorder is {recorder!r}; give the training's ActivationGradientRecorder")
        self._recorder, self._log_dir = recorder, log_dir
        self._every = checks.whole("every", every, least=1)
        self._writer = None
        self._start()

    def _start(self):
        self._seen = 0
        self._former, self._scalars = {}, {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start()
        if self._log_dir is not None:
            self._writer = tf.summary.create_file_writer(str(self._log_dir))

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        recordings = len(self._recorder.table)
        if recordings != self._seen and (recordings - 1) % self._every == 0:
            self._summarize()
        self._seen = recordings
        self._tell(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self._tell(logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _tell(self, logs):
        if logs is not None:
            logs.update(self._scalars)

    def _summarize(self):
        preactivations = self._recorder.preactivations()
        for layer, sums in self._recorder.signs().items():
            s, p, name = average_sign(*sums), preactivations.get(layer), f"neuronlevel/{layer}"
            found = sign_scalars(s, self._former.get(layer))
            self._former[layer] = categories(s)
            shown = self._recorder.selections[layer].of_snapshot(self._former[layer])
            found["auc"] = float("nan") if p is None else separation_scalar(p, shown)
            scalars = {f"{name}/{key}": value for key, value in found.items()}
            self._scalars |= scalars
            if self._writer is not None:
                with self._writer.as_default(step=self._recorder.table[-1][0]):
                    _write(scalars, {f"{name}/s": s, f"{name}/preactivations": [] if p is None else p})


def _write(scalars: Mapping[str, float], histograms: Mapping[str, ArrayLike]) -> None:
    """What is defined, to the present writer."""
    for key, value in scalars.items():
        if np.isfinite(value):
            tf.summary.scalar(key, value)
    for key, values in histograms.items():
        finite = np.asarray(values)[np.isfinite(values)]
        if finite.size:
            tf.summary.histogram(key, finite)
