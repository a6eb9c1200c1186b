"""The integer accumulators of all recorded samples, two bytes for each sum while that is enough."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.recording.accumulators import packed, shapes, unpacked, zero_counts
from keras_neuronlevel.recording.mapped import mapped_zeros
from keras_neuronlevel.records.layout import sums_dtype
from keras_neuronlevel.selection import Selection

FULL_AFTER = np.iinfo(np.int16).max  # recordings that two counts in a uint32 surely hold


class Sums(Mapping):
    """Σ sign(∂L/∂a) and the number of nonzero derivatives of every recorded pair.

    As a mapping it is {layer: (sign_sum, nonzero)}, integers (N, U) or (N, U, P), each put together when it
    is asked for: int16, and from ``FULL_AFTER`` recordings on int32.
    """

    def __init__(
        self, selections: Mapping[str, Selection], counts: Sequence[int], workers: Workers | None = None
    ):
        """Zeros for ``counts`` samples in each batch, on the devices that take turns at the batches."""
        self._selections, self._batches = selections, []
        for number, count in enumerate(counts):
            with (workers or Workers()).device(number):
                self._batches.append(zero_counts(selections, count))
        self._former: list[dict] | None = None

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
        for number, former in enumerate(self._former or ()):
            for name, values in former.items():
                self._put(number, name, values)
        self.release()

    def release(self) -> None:
        """Let go of what :meth:`hold` kept."""
        self._former = None

    def widen(self, recordings: int) -> bool:
        """After so many ``recordings``: have wider accumulators, before one could overflow; whether it had
        to."""
        due = recordings >= FULL_AFTER and self._dtype == np.uint32
        if due:
            self._widen()
        return due

    def _widen(self):
        for batch in self._batches:
            for name, values in batch.items():
                with tf.device(values.device):
                    batch[name] = tf.Variable(packed(*unpacked(values.numpy()), dtype=np.uint64))

    @property
    def _dtype(self):
        return np.dtype(f"uint{8 * next(iter(self._batches[0].values())).dtype.size}")

    def _get(self, number, name):
        """The counts of one batch and layer, an array."""
        return self._batches[number][name].numpy()

    def _put(self, number, name, values):
        self._batches[number][name].assign(values)

    def __getitem__(self, layer: str) -> tuple[np.ndarray, np.ndarray]:
        parts = [unpacked(self._get(number, layer)) for number in range(len(self._batches))]
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
            for name in batch
            for which, sums in enumerate(unpacked(self._get(number, name)))
        }

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up what :meth:`arrays` gave."""
        for number, batch in enumerate(self._batches):
            for name in batch:
                sign_sum, nonzero = (arrays[f"sums/{number}/{which}/{name}"] for which in (0, 1))
                if sign_sum.dtype == np.int32 and self._dtype == np.uint32:
                    self._widen()
                self._put(number, name, packed(sign_sum, nonzero, self._dtype))


class MappedSums(Sums):
    """:class:`Sums` in a memory-mapped file beside ``path``: in memory are the batches of samples that are
    being recorded."""

    def __init__(
        self, selections: Mapping[str, Selection], counts: Sequence[int], path: Path, recordings: int = 1
    ):
        """Zeros, wide enough for so many ``recordings``. Raises ``files.NoRoomError``."""
        self._selections, self._path, self._spent = selections, path, [0.0] * len(counts)
        self._shapes = [dict(shapes(selections, count)) for count in counts]
        self._batches = self._zeros(np.uint32 if sums_dtype(recordings) == np.int16 else np.uint64)
        self._former = None

    def _zeros(self, dtype):
        return mapped_zeros(self._path, self._shapes, dtype)

    @contextlib.contextmanager
    def counting(self, number: int) -> Iterator[Mapping[str, tf.Variable]]:
        batch = self._batches[number]
        start = time.perf_counter()
        counts = {name: tf.Variable(values) for name, values in batch.items()}
        self._spent[number] += time.perf_counter() - start
        yield counts
        start = time.perf_counter()
        for name, values in counts.items():
            self._put(number, name, values.numpy())
        self._spent[number] += time.perf_counter() - start

    @property
    def seconds(self) -> float:
        """What moving counts between file and memory took so far, of batches beside each other added up."""
        return sum(self._spent)

    def hold(self) -> None:
        self._former = self._zeros(self._dtype)
        self._fill(self._former, lambda values: values)

    def _fill(self, others: list[dict], made: Callable[[np.ndarray], np.ndarray]) -> None:
        for batch, other in zip(self._batches, others, strict=True):
            for name, values in batch.items():
                other[name][...] = made(values)

    def _widen(self):
        wider = self._zeros(np.uint64)
        self._fill(wider, lambda values: packed(*unpacked(values), dtype=np.uint64))
        self._batches = wider

    @property
    def _dtype(self):
        return next(iter(self._batches[0].values())).dtype

    def _get(self, number, name):
        return self._batches[number][name]

    def _put(self, number, name, values):
        self._batches[number][name][...] = values

    def arrays(self) -> dict:
        """As a checkpoint holds them, each read from the file when it is written."""
        return {
            f"sums/{number}/{which}/{name}": _Half(values, which)
            for number, batch in enumerate(self._batches)
            for name, values in batch.items()
            for which in (0, 1)
        }


class _Half:
    """One of the two sums of mapped counts, made when NumPy asks for it."""

    def __init__(self, counts, which):
        self._counts, self._which = counts, which

    def __array__(self, dtype=None, copy=None):
        return np.asarray(unpacked(self._counts)[self._which], dtype)


def channels_first(values: np.ndarray) -> np.ndarray:
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))
