"""The results of both experiments, and their JSON form."""

from dataclasses import dataclass, field

import numpy as np

from keras_neuronlevel.files import plain


@dataclass(frozen=True, eq=False)
class QuantizationCurve:
    """Test accuracy with one layer's pre-activations replaced by two values per neuron (I §5.1, Fig. 3).

    Attributes:
        ranks, accuracy, loss: (R,); ``loss`` is the mean cross-entropy, NaN where the outputs are neither
            logits nor a softmax.
        baseline_accuracy, baseline_loss: of the network as it is.
        zero_rank: (U,) percentile rank of pre-activation zero, per neuron.
        thresholds, low, high: (R, U), what was injected; not part of ``to_dict``.
        chance: share of the most frequent class among the test labels.
        calibrated_on: "given images", or "evaluated images" where no calibration set was given.
        exact_percentiles: False where the layer's pre-activations had to be streamed.
    """

    layer: str
    ranks: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    baseline_accuracy: float
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
    kind: str = field(default="quantization", init=False)

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
        return result


@dataclass(frozen=True, eq=False)
class WindowCurve:
    """Test accuracy of readouts trained on window-binarized pre-activations (I §5.2, Fig. 4).

    Attributes:
        centers: (C,) window centres, of the given ``width`` in percentile ranks.
        repeats: (C, repeats) test accuracies, ``accuracy`` and ``accuracy_std`` (C,) their mean and
            population standard deviation (zero for a single repeat).
        baseline: (repeats,) accuracies of the same readout on un-binarized pre-activations.
        original_accuracy: of the network as it was trained; NaN where the labels are not the network's.
        chance: share of the most frequent class among the test labels.
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
    original_accuracy: float
    chance: float
    fits: dict
    budget: dict
    n_train: int
    n_test: int
    n_calibration: int
    seed: int
    kind: str = field(default="window", init=False)

    @property
    def accuracy(self) -> np.ndarray:
        return self.repeats.mean(axis=1)

    @property
    def accuracy_std(self) -> np.ndarray:
        return self.repeats.std(axis=1)

    @property
    def baseline_accuracy(self) -> float:
        return float(self.baseline.mean())

    @property
    def converged(self) -> bool:
        """Whether every readout has learned until its rule stopped it, and none was cut off."""
        return all(fit["converged"] for fits in self.fits.values() for fit in fits)

    def to_dict(self) -> dict:
        """Lists and numbers, ready for JSON."""
        derived = ("accuracy", "accuracy_std", "baseline_accuracy", "converged")
        return (
            {"kind": self.kind}
            | {key: plain(value) for key, value in vars(self).items()}
            | {key: plain(getattr(self, key)) for key in derived}
        )
