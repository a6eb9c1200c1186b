"""The results of both experiments, their JSON form, and their data frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from keras_neuronlevel import tabular
from keras_neuronlevel.files import plain

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False, repr=False)
class QuantizationCurve:
    """Test score with one layer's pre-activations replaced by two values per neuron (I §5.1, Fig. 3).

    Attributes:
        ranks, score, loss: (R,); ``score`` is the ``metric``, accuracy where none was given, and then also
            called ``accuracy``, here and in ``to_dict``. ``loss`` is the mean cross-entropy, NaN where the
            outputs are neither logits nor a softmax, and for a given metric.
        baseline_score, baseline_loss: of the network as it is.
        zero_rank: (U,) percentile rank of pre-activation zero, per neuron.
        thresholds, low, high: (R, U), what was injected; not part of ``to_dict``.
        chance: share of the most frequent class among the test labels; NaN for a given metric, and where
            tokens are masked.
        calibrated_on: "given images", or "evaluated images" where no calibration set was given.
        exact_percentiles: False where the layer's pre-activations had to be streamed.
    """

    layer: str
    ranks: np.ndarray
    score: np.ndarray
    loss: np.ndarray
    baseline_score: float
    baseline_loss: float
    zero_rank: np.ndarray
    thresholds: np.ndarray
    low: np.ndarray
    high: np.ndarray
    chance: float
    n_test: int
    n_calibration: int
    calibrated_on: str
    exact_percentiles: bool
    seed: int
    metric: str = "accuracy"
    kind: str = field(default="quantization", init=False)

    @property
    def accuracy(self) -> np.ndarray:
        """``score``, where it is an accuracy; ``AttributeError`` for a given metric."""
        return _accuracy(self, self.score)

    @property
    def baseline_accuracy(self) -> float:
        """``baseline_score``, where it is an accuracy; ``AttributeError`` for a given metric."""
        return _accuracy(self, self.baseline_score)

    def __repr__(self) -> str:
        places = f"{len(self.ranks)} ranks from {self.ranks.min():g} to {self.ranks.max():g}"
        return _text(self, self.baseline_score, places)

    def to_dict(self) -> dict:
        """Lists and numbers, ready for JSON; None in place of NaN."""
        left_out = ("zero_rank", "thresholds", "low", "high")
        found = {key: plain(value) for key, value in vars(self).items() if key not in left_out}
        result = {"kind": self.kind, **found}
        quartiles = np.percentile(self.zero_rank, [25, 50, 75])
        result["zero_rank"] = {
            "mean": plain(self.zero_rank.mean()),
            "std": plain(self.zero_rank.std()),
            "quartiles": plain(quartiles),
            "neurons": len(self.zero_rank),
        }
        return _named(result)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row for each rank: layer, rank, score, loss, baseline_score, baseline_loss, chance and metric.

        Scores are called accuracy, and metric is left out, where they are one. Needs pandas.

        Raises:
            ImportError: where it is not installed.
        """
        columns = {"layer": self.layer, "rank": self.ranks, "score": self.score, "loss": self.loss}
        alike = ("baseline_score", "baseline_loss", "chance", "metric")
        columns |= {name: getattr(self, name) for name in alike}
        return tabular.pandas().DataFrame(_named(columns))


@dataclass(frozen=True, eq=False, repr=False)
class WindowCurve:
    """Test score of readouts trained on window-binarized pre-activations (I §5.2, Fig. 4).

    Attributes:
        centers: (C,) window centres, of the given ``width`` in percentile ranks.
        repeats: (C, repeats) test scores, ``score`` and ``score_std`` (C,) their mean and population standard
            deviation (zero for a single repeat). A score is the ``metric``; where none was given it is
            accuracy, and also called so, here and in ``to_dict``.
        baseline: (repeats,) scores of the same readout on un-binarized pre-activations, ``baseline_score``
            their mean.
        original_score: of the network as it was trained; NaN where the labels are not the network's.
        chance: share of the most frequent class among the test labels; NaN for a given metric, and where
            tokens are masked.
        fits: {"baseline" or centre: one dict per repeat}: how each readout was fitted. For "retrain"
            epochs, converged, stopped_by and the training curve's end; for "probe" the L2 strength,
            converged, iterations and gradient norm.
        budget: the settings of the :class:`Retrain` or :class:`Probe`.
    """

    layer: str
    centers: np.ndarray
    width: float
    readout: str
    repeats: np.ndarray
    baseline: np.ndarray
    original_score: float
    chance: float
    fits: dict
    budget: dict
    n_train: int
    n_test: int
    n_calibration: int
    seed: int
    metric: str = "accuracy"
    kind: str = field(default="window", init=False)

    @property
    def score(self) -> np.ndarray:
        """Mean test score of each window over its repeats, (C,)."""
        return self.repeats.mean(axis=1)

    @property
    def score_std(self) -> np.ndarray:
        """Population standard deviation over the repeats, (C,)."""
        return self.repeats.std(axis=1)

    @property
    def baseline_score(self) -> float:
        """Mean score of the readout on un-binarized pre-activations."""
        return float(self.baseline.mean())

    @property
    def accuracy(self) -> np.ndarray:
        """``score``, where it is an accuracy; ``AttributeError`` for a given metric."""
        return _accuracy(self, self.score)

    @property
    def accuracy_std(self) -> np.ndarray:
        """``score_std``, where it is an accuracy; ``AttributeError`` for a given metric."""
        return _accuracy(self, self.score_std)

    @property
    def baseline_accuracy(self) -> float:
        """``baseline_score``, where it is an accuracy; ``AttributeError`` for a given metric."""
        return _accuracy(self, self.baseline_score)

    @property
    def original_accuracy(self) -> float:
        """``original_score``, where it is an accuracy; ``AttributeError`` for a given metric."""
        return _accuracy(self, self.original_score)

    @property
    def converged(self) -> bool:
        """Whether every readout has learned until its rule stopped it, and none was cut off."""
        return all(fit["converged"] for fits in self.fits.values() for fit in fits)

    def __repr__(self) -> str:
        places = f"{len(self.centers)} windows of width {self.width:g}"
        text = _text(self, self.baseline_score, places)
        return text if self.converged else f"{text} (not all readouts have converged)"

    def to_dict(self) -> dict:
        """Lists and numbers, ready for JSON."""
        derived = ("score", "score_std", "baseline_score", "converged")
        return _named(
            {"kind": self.kind}
            | {key: plain(value) for key, value in vars(self).items()}
            | {key: plain(getattr(self, key)) for key in derived}
        )

    def to_dataframe(self) -> pandas.DataFrame:
        """One row for each readout, those on un-binarized pre-activations first, whose center is NaN.

        The columns are layer, readout, center, width, repeat (from 0), score, converged, original_score,
        chance and metric. Scores are called accuracy, and metric is left out, where they are one. Needs
        pandas.

        Raises:
            ImportError: where it is not installed.
        """
        pandas = tabular.pandas()
        scores = np.vstack([self.baseline, self.repeats])
        place, repeat = (index.ravel() for index in np.indices(scores.shape))
        fits = [fit for fits in self.fits.values() for fit in fits]
        columns = {
            "layer": self.layer,
            "readout": self.readout,
            "center": np.append(np.nan, self.centers)[place],
            "width": self.width,
            "repeat": repeat,
            "score": scores.ravel(),
            "converged": [bool(fit["converged"]) for fit in fits],
            "original_score": self.original_score,
            "chance": self.chance,
            "metric": self.metric,
        }
        return pandas.DataFrame(_named(columns))


def _accuracy(curve, value):
    if curve.metric != "accuracy":
        raise AttributeError(f"this curve's score is {curve.metric}, no accuracy; take score in its place")
    return value


def _named(numbers):
    """Scores under the name "accuracy" where they are one, without the metric's name."""
    if numbers["metric"] != "accuracy":
        return numbers
    return {key.replace("score", "accuracy"): value for key, value in numbers.items() if key != "metric"}


def _text(curve, baseline, places):
    low, high = curve.score.min(), curve.score.max()
    return (
        f"<{type(curve).__name__} of {curve.layer}: {curve.metric} {low:.4g} to {high:.4g} at {places}, "
        f"baseline {baseline:.4g}, on {curve.n_test} samples>"
    )
