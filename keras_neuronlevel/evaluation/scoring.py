"""How the answers to test images are scored: by accuracy, or by a metric of labels and outputs."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons
from keras_neuronlevel.evaluation.truncation import Truncation
from keras_neuronlevel.recording.losses import chosen_loss, named, per_sample
from keras_neuronlevel.recording.samples import check_targets
from keras_neuronlevel.samples import check_labels, count
from keras_neuronlevel.scores import Answers, Tally, chance_level, score

logger = logging.getLogger(__name__)

GivenMetric: TypeAlias = str | Callable | keras.metrics.Metric


class Accuracy:
    """The share of right answers to labels (N,) or, averaged over a sample's tokens, (N, ...); and the mean
    cross-entropy, which a retrained readout minimizes."""

    name = key = "accuracy"
    tally = Tally
    losses = None

    def check(self, cut: Truncation, x, y, what: str = "y", classes: int | None = None) -> np.ndarray:
        """The labels as int64. Raises ``ValueError`` for those that do not fit, and outputs of no classes."""
        if classes is not None:
            return check_labels(y, count(x), classes, what)
        if cut.classes is None:
            raise ValueError(
                f"the model {cut.name!r} gives one number, which is no answer that can be right or wrong "
                "(unless it passes a sigmoid); give metric=, a function of (labels, outputs) or the name of "
                "a Keras metric, such as 'mse'"
            )
        tokens = cut.output_shape[:-1]
        return check_labels(y, (count(x), *tokens) if tokens else count(x), cut.classes, what)

    def chance(self, cut: Truncation, y: np.ndarray, classes: int | None = None) -> float:
        """Of always answering the most frequent class; NaN where some of the labels are masked."""
        return np.nan if cut.masked and classes is None else chance_level(y)

    def targets(self, y):
        return y

    def value(self, tally: Any, y) -> float:
        return tally.accuracy

    judge = staticmethod(score)

    @staticmethod
    def given(labels) -> list[tf.Tensor]:
        """What compiled functions need to know of the labels."""
        return [tf.constant(labels)]

    @staticmethod
    def make(cut: Truncation) -> tuple[Callable, list]:
        """A function (p, crossing, labels) -> (correct, loss), and the specs of the labels."""
        spec = tf.TensorSpec([None] * max(1, len(cut.output_shape)), tf.int64)
        return lambda p, crossing, labels: score(cut.suffix(p, crossing), labels), [spec]


class Metric:
    """A number that a function gives for all labels and the model's own outputs (N, ...) together.

    What a retrained readout minimizes is the model's loss, as it was compiled.
    """

    key = "score"
    tally = Answers

    def __init__(self, metric: GivenMetric, model: keras.Model, output=None):
        self._function = named("metric", keras.metrics.get, metric) if isinstance(metric, str) else metric
        if not callable(self._function):
            raise ValueError(f"metric is {metric!r}; give a function of (labels, outputs), or a Keras metric")
        self.name = metric if isinstance(metric, str) else _name(self._function)
        self._model, self._output = model, output

    def check(self, cut: Truncation, x, y, what: str = "y", classes=None) -> np.ndarray:
        """The labels, (N, 1) where they are (N,) and the outputs (N, 1), so that nothing is broadcast."""
        if cut.masked:
            raise ValueError(
                f"some outputs of {cut.name!r} are masked, of which a metric of (labels, outputs) knows "
                "nothing; leave metric= out (accuracy leaves them out), or make the model without mask_zero"
            )
        if "binary_accuracy" in self.name or "crossentropy" in self.name:
            self._warn_of_logits()
        y = np.asarray(y)
        shape = (count(x), *cut.output_shape)
        if y.shape == shape[:-1] and shape[-1] == 1:
            y = y[..., None]
        if not any(_fits(y.shape, wanted) for wanted in (shape, shape[:-1])):
            raise ValueError(
                f"{what} has shape {y.shape}, but the outputs have {shape}; give labels of that shape, or "
                "one class for each row of outputs"
            )
        return y

    def _warn_of_logits(self):
        if neurons.find(self._model, output=self._output).head == "plain":
            logger.warning(
                "the metric %s takes probabilities, and no softmax or sigmoid was found at the model's end; "
                "if it ends in logits, give a function that takes those",
                self.name,
            )

    def chance(self, cut, y, classes=None) -> float:
        return np.nan

    def targets(self, y):
        """Labels as :meth:`losses` takes them. Raises ``ValueError`` where the model's loss is not known."""
        loss = chosen_loss(self._model, None, self._output)
        return check_targets(self._model, len(y), y, loss, self._output)

    @property
    def losses(self) -> Callable:
        return per_sample(chosen_loss(self._model, None, self._output))

    def value(self, tally: Any, y) -> float:
        if isinstance(self._function, keras.metrics.Metric):
            self._function.reset_state()
        outputs = np.concatenate(tally.outputs)
        outputs = outputs.astype(np.result_type(outputs.dtype, np.float32))  # NumPy knows no bfloat16
        found = np.asarray(self._function(y, outputs))
        if getattr(self._function, "__module__", "").startswith("keras.src.losses"):
            found = found.mean()  # of one value for each sample
        if found.shape:
            raise ValueError(f"the metric {self.name} gave shape {found.shape}; it must give one number")
        return float(found)

    def judge(self, output, labels):
        return output, tf.reduce_sum(tf.cast(self.losses(labels, output), tf.float64))

    @staticmethod
    def given(labels) -> list[tf.Tensor]:
        return []

    @staticmethod
    def make(cut: Truncation) -> tuple[Callable, list]:
        """A function (p, crossing) -> (outputs, zero, or NaN where one is not finite), and no specs."""

        def answer(p, crossing):
            output = cut.answer(p, crossing)
            finite = tf.reduce_all(tf.math.is_finite(tf.cast(output, tf.float64)))
            return output, tf.where(finite, np.float64(0), np.float64(np.nan))

        return answer, []


ACCURACY = Accuracy()


def scoring(metric: GivenMetric | None, model: keras.Model, output=None) -> Accuracy | Metric:
    """The :class:`Metric` that is given, or :class:`Accuracy` for None and "accuracy"."""
    return ACCURACY if metric is None or metric == "accuracy" else Metric(metric, model, output)


def _name(function):
    return getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(w in (None, n) for n, w in zip(shape, wanted, strict=True))
