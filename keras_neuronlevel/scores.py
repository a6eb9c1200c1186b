"""How many answers are right, and how large the loss is: counted batch by batch, one way for all readers."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import tensorflow as tf


@dataclass
class Tally:
    """Correct answers and summed cross-entropy over the samples seen so far.

    Counts are whole numbers (of samples with several labels, sums of shares) and losses are summed in
    float64, so neither the size nor the order of batches matters but for the last bits.
    """

    images: int = 0
    correct: float = 0
    loss: float = 0.0

    def add(self, images: int, score) -> None:
        """Count a batch of so many samples: (number correct, summed loss)."""
        self.images += images
        self.correct += np.asarray(score[0]).item()
        self.loss += float(score[1])

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    @property
    def mean_loss(self) -> float:
        return self.loss / self.images

    def to_dict(self) -> dict:
        """For JSON; the loss in hexadecimal digits, exactly."""
        return {"images": self.images, "correct": self.correct, "loss": self.loss.hex()}

    @classmethod
    def from_dict(cls, kept: dict) -> "Tally":
        return cls(kept["images"], kept["correct"], float.fromhex(kept["loss"]))


@dataclass
class Answers:
    """The outputs for the samples seen so far, for metrics of all of them together, and the summed loss."""

    images: int = 0
    loss: float = 0.0
    outputs: list = field(default_factory=list)

    def add(self, images: int, score) -> None:
        """Keep a batch of so many samples: (outputs, summed loss)."""
        self.images += images
        self.outputs.append(np.asarray(score[0]))
        self.loss += float(score[1])

    @property
    def mean_loss(self) -> float:
        return self.loss / self.images


Kind = TypeVar("Kind", Tally, Answers)


def total(kind: type[Kind], scored: Iterable) -> Kind:
    """The :class:`Tally` or :class:`Answers` of (number of samples, what it adds), batch after batch."""
    found = kind()
    for images, score in scored:
        found.add(images, score)
    return found


def merged(parts: Iterable[dict]) -> Tally:
    """The :class:`Tally` of all samples, from those of parts of them as ``to_dict`` gives them."""
    found = Tally()
    for part in map(Tally.from_dict, parts):
        found.add(part.images, (part.correct, part.loss))
    return found


def cross_entropy(labels, logits):
    """Each sample's own cross-entropy, (N,), from integer labels (N,) and logits (N, K)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, at_least_float32(logits))


def at_least_float32(values: tf.Tensor) -> tf.Tensor:
    """The values in float32, or as they are where that is float64."""
    return values if values.dtype == tf.float64 else tf.cast(values, tf.float32)


def count_correct(labels, logits):
    """How many of the labels (N,) are the largest of their logits (N, K); an int32 scalar."""
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.cast(labels, tf.int32))
    return tf.reduce_sum(tf.cast(hits, tf.int32))


def score(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The number of correct answers and the summed cross-entropy, in float64, of logits (n, K).

    Of several labels a sample, logits (n, ..., K), both are means over those that are not masked.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float64))
    if losses.shape.rank == 1:
        return count_correct(labels, logits), tf.reduce_sum(losses)
    mask = getattr(logits, "_keras_mask", None)
    hits = tf.cast(tf.equal(tf.argmax(logits, axis=-1), tf.cast(labels, tf.int64)), tf.float64)
    return tf.reduce_sum(sample_mean(hits, mask)), tf.reduce_sum(sample_mean(losses, mask))


def sample_mean(values: tf.Tensor, *masks: tf.Tensor | None) -> tf.Tensor:
    """(N, ...) -> (N,): the mean over a sample's values (tokens, outputs), masked ones left out."""
    fitting = [m for m in masks if m is not None and m.shape.rank == values.shape.rank]
    axes = list(range(1, values.shape.rank))
    if not axes or not fitting:
        return tf.reduce_mean(values, axis=axes) if axes else values
    kept = tf.ones_like(values)
    for mask in fitting:
        kept *= tf.cast(mask, values.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(values * kept, axes), tf.reduce_sum(kept, axes))


def chance_level(y: np.ndarray) -> float:
    """The accuracy of always answering the most frequent class of the labels y (N, ...)."""
    return float(np.bincount(y.ravel()).max() / y.size)
