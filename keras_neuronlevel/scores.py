"""How many answers are right, and how large the loss is: counted batch by batch, one way for all readers."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_neuronlevel.training import count_correct


@dataclass
class Tally:
    """Correct answers and summed cross-entropy over the samples seen so far.

    Counts are whole numbers and losses are summed in float64, so neither the size nor the order of batches
    matters but for the last bits of the loss.
    """

    images: int = 0
    correct: int = 0
    loss: float = 0.0

    @classmethod
    def of(cls, scored: Iterable) -> "Tally":
        """The tally of (number of samples, (number correct, summed loss)), batch after batch."""
        tally = cls()
        for images, score in scored:
            tally.add(images, score)
        return tally

    def add(self, images: int, score) -> None:
        self.images += images
        self.correct += int(score[0])
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


def score(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The number of correct answers and the summed cross-entropy, in float64, of logits (n, K)."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float64))
    return count_correct(labels, logits), tf.reduce_sum(losses)


def chance_level(y: np.ndarray, classes: int) -> float:
    """The accuracy of always answering the most frequent class of the labels y (N,)."""
    return float(np.bincount(y, minlength=classes).max() / len(y))
