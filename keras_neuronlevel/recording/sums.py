"""The integer accumulators of all recorded samples, two bytes for each sum while that is enough."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_neuronlevel.recording.accumulators import zero_sums
from keras_neuronlevel.selection import Selection

FULL_AFTER = np.iinfo(np.int16).max  # recordings that an int16 accumulator surely holds


class Sums(Mapping):
    """Σ sign(∂L/∂a) and the number of nonzero derivatives of every recorded pair.

    As a mapping it is {layer: (sign_sum, nonzero)}, integers (N, U) or (N, U, P), each put together when it
    is asked for.
    ``batches`` has, for every batch of samples, {layer: (sign_sum, nonzero)}, tensors (N, U) or (N, P, U),
    int16 and from ``FULL_AFTER`` recordings on int32; a recording puts new ones in their place.
    """

    def __init__(self, selections: Mapping[str, Selection], counts: Sequence[int]):
        """Zeros for ``counts`` samples in each batch."""
        self._selections = selections
        self.batches = [zero_sums(selections, count) for count in counts]

    def widen(self, recordings: int) -> None:
        """After so many ``recordings``: have wider accumulators, before one could overflow."""
        if recordings < FULL_AFTER or self._dtype() == tf.int32:
            return
        for number, sums in enumerate(self.batches):
            self.batches[number] = {
                name: tuple(tf.cast(values, tf.int32) for values in pair) for name, pair in sums.items()
            }

    def _dtype(self):
        return next(iter(self.batches[0].values()))[0].dtype

    def __getitem__(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        sign_sum, nonzero = (
            channels_first(np.concatenate([sums[layer][which].numpy() for sums in self.batches]))
            for which in (0, 1)
        )
        return sign_sum, nonzero

    def __iter__(self) -> Iterator[str]:
        return iter(self._selections)

    def __len__(self) -> int:
        return len(self._selections)

    def arrays(self) -> dict[str, np.ndarray]:
        """As a checkpoint holds them."""
        return {
            f"sums/{number}/{which}/{name}": pair[which].numpy()
            for number, sums in enumerate(self.batches)
            for name, pair in sums.items()
            for which in (0, 1)
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what :meth:`arrays` gave."""
        for number, sums in enumerate(self.batches):
            for name in sums:
                sums[name] = tuple(tf.constant(arrays[f"sums/{number}/{which}/{name}"]) for which in (0, 1))


def channels_first(values: np.ndarray) -> np.ndarray:
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))
