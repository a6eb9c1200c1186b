"""The integer accumulators of all recorded samples, two bytes for each sum while that is enough."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_neuronlevel.recording.accumulators import packed, unpacked, zero_counts
from keras_neuronlevel.selection import Selection

FULL_AFTER = np.iinfo(np.int16).max  # recordings that two counts in a uint32 surely hold


class Sums(Mapping):
    """Σ sign(∂L/∂a) and the number of nonzero derivatives of every recorded pair.

    As a mapping it is {layer: (sign_sum, nonzero)}, integers (N, U) or (N, U, P), each put together when it
    is asked for: int16, and from ``FULL_AFTER`` recordings on int32.
    """

    def __init__(self, selections: Mapping[str, Selection], counts: Sequence[int]):
        """Zeros for ``counts`` samples in each batch."""
        self._selections = selections
        self._batches = [zero_counts(selections, count) for count in counts]
        self._former: list | None = None

    @contextlib.contextmanager
    def counting(self, number: int) -> Iterator[Mapping[str, tf.Variable]]:
        """The accumulators {layer: variable} of one batch of samples, to be changed in place."""
        yield self._batches[number]

    def hold(self) -> None:
        """Keep a copy of what is there, for :meth:`withdraw`."""
        self._former = [
            {name: tf.identity(values) for name, values in batch.items()} for batch in self._batches
        ]

    def withdraw(self) -> None:
        """Go back to what :meth:`hold` kept."""
        for batch, former in zip(self._batches, self._former, strict=True):
            for name, values in former.items():
                batch[name].assign(values)
        self.release()

    def release(self) -> None:
        """Let go of what :meth:`hold` kept."""
        self._former = None

    def widen(self, recordings: int) -> None:
        """After so many ``recordings``: have wider accumulators, before one could overflow."""
        if recordings < FULL_AFTER or self._dtype == np.uint64:
            return
        for batch in self._batches:
            for name, values in batch.items():
                batch[name] = tf.Variable(packed(*unpacked(values.numpy()), np.uint64))

    @property
    def _dtype(self):
        return next(iter(self._batches[0].values())).dtype

    def __getitem__(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        parts = [unpacked(batch[layer].numpy()) for batch in self._batches]
        sign_sum, nonzero = (channels_first(np.concatenate(values)) for values in zip(*parts, strict=True))
        return sign_sum, nonzero

    def __iter__(self) -> Iterator[str]:
        return iter(self._selections)

    def __len__(self) -> int:
        return len(self._selections)

    def arrays(self) -> dict[str, np.ndarray]:
        """As a checkpoint holds them."""
        return {
            f"sums/{number}/{which}/{name}": sums
            for number, batch in enumerate(self._batches)
            for name, values in batch.items()
            for which, sums in enumerate(unpacked(values.numpy()))
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what :meth:`arrays` gave."""
        for number, batch in enumerate(self._batches):
            for name in batch:
                pair = (arrays[f"sums/{number}/{which}/{name}"] for which in (0, 1))
                batch[name] = tf.Variable(packed(*pair))


def channels_first(values: np.ndarray) -> np.ndarray:
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))
