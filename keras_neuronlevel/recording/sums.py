"""The integer accumulators of all recorded samples, and what was moved out of them before they were full."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from keras_neuronlevel.recording.accumulators import zero_sums
from keras_neuronlevel.selection import Selection

SPILL_EVERY = np.iinfo(np.int16).max  # recordings that an int16 accumulator surely holds


class Sums:
    """Σ sign(∂L/∂a) and the number of nonzero derivatives of every recorded pair.

    ``batches`` has, for every batch of samples, {layer: (sign_sum, nonzero)}, int16 tensors (N, U) or
    (N, P, U); a recording puts new ones in their place. ``spilled`` is the same for all samples together,
    int32 in host memory, or None while the int16 ones hold all.
    """

    def __init__(self, selections: Mapping[str, Selection], counts: Sequence[int]):
        """Zeros for ``counts`` samples in each batch."""
        self._selections, self._counts = selections, counts
        self.spilled: dict | None = None
        self.batches = self._zeros()

    def _zeros(self):
        return [zero_sums(self._selections, count) for count in self._counts]

    def spill(self, recordings: int) -> None:
        """After so many ``recordings``: empty the accumulators, before one could overflow."""
        if recordings % SPILL_EVERY == 0:
            self.spilled = self.signs()
            self.batches = self._zeros()

    def signs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """All that was added, {layer: (sign_sum, nonzero)}: integers (N, U) or (N, U, P)."""
        return {name: self._signs_of(name) for name in self._selections}

    def _signs_of(self, name):
        arrays = [
            channels_first(np.concatenate([sums[name][which].numpy() for sums in self.batches]))
            for which in (0, 1)
        ]
        if self.spilled is None:
            return tuple(arrays)
        return tuple(old.astype(np.int32) + new for old, new in zip(self.spilled[name], arrays, strict=True))

    def arrays(self) -> dict[str, np.ndarray]:
        """As a checkpoint holds them."""
        found = {
            f"sums/{number}/{which}/{name}": pair[which].numpy()
            for number, sums in enumerate(self.batches)
            for name, pair in sums.items()
            for which in (0, 1)
        }
        for name, pair in (self.spilled or {}).items():
            found |= {f"spilled/{which}/{name}": pair[which] for which in (0, 1)}
        return found

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what :meth:`arrays` gave."""
        for number, sums in enumerate(self.batches):
            for name in sums:
                sums[name] = tuple(tf.constant(arrays[f"sums/{number}/{which}/{name}"]) for which in (0, 1))
        if any(name.startswith("spilled/") for name in arrays):
            self.spilled = {
                name: tuple(arrays[f"spilled/{which}/{name}"] for which in (0, 1))
                for name in self._selections
            }


def channels_first(values: np.ndarray) -> np.ndarray:
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))
