"""What several workers record of their parts of the samples, put together where it is kept."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from keras_neuronlevel.distribution import Workers


def part_of(workers: Workers, samples: int, batch_size: int) -> tuple[slice, int]:
    """This worker's samples, and the batch size with which they are evaluated.

    Workers take whole batches, so that these are composed as in one process alone; where there are fewer
    batches than workers, smaller ones. Raises ``ValueError`` for fewer samples than workers.
    """
    if samples < workers.count:
        raise ValueError(
            f"{samples} samples cannot be shared by {workers.count} workers; record at least one for each"
        )
    size = min(batch_size, samples // workers.count) if workers.count > 1 else batch_size
    size = batch_size if -(-samples // batch_size) >= workers.count else size
    mine = workers.part(-(-samples // size))
    return slice(mine.start * size, min(mine.stop * size, samples)), size


def whole_table(workers: Workers, table: Sequence[tuple], settled: int, samples: int) -> list[tuple]:
    """The rows (step, epoch, batch, mean loss, accuracy) of all workers' samples.

    Args:
        table: this worker's rows; the first ``settled`` are those of all already.
        samples: that this worker has.
    """
    if workers.count == 1:
        return list(table)
    counts = workers.json(samples)
    rows = workers.arrays(np.array([row[3:] for row in table[settled:]], np.float64).reshape(-1, 2))
    means = sum(count * part for count, part in zip(counts, rows, strict=True)) / sum(counts)
    new = [(*row[:3], *mean) for row, mean in zip(table[settled:], means.tolist(), strict=True)]
    return [*table[:settled], *new]


class WholeSums(Mapping):
    """{layer: (sign_sum, nonzero)} of all workers' samples, gathered when it is asked for, by all alike."""

    def __init__(self, workers: Workers, sums: Mapping[str, tuple]):
        self._workers, self._sums = workers, sums

    def __getitem__(self, layer: str) -> tuple[np.ndarray, ...]:
        return tuple(np.concatenate(self._workers.arrays(values)) for values in self._sums[layer])

    def __iter__(self) -> Iterator[str]:
        return iter(self._sums)

    def __len__(self) -> int:
        return len(self._sums)


class NoWriter:
    """In place of a ``RecordsWriter``, of a worker that is not the chief and in trials: writes nothing."""

    def __init__(self, path: Path = Path()):
        self.path = path

    def create(self, *arguments, **options) -> None:
        pass

    def check(self) -> None:
        pass

    def append_snapshot(self, recording: int, values: Mapping) -> None:
        pass

    def snapshots(self) -> tuple[np.ndarray, dict]:
        return np.zeros(0, np.int64), {}

    def finish(self, recordings, signs: Mapping[str, tuple], provenance=None, attributes=None) -> None:
        for layer in signs:
            signs[layer]  # the chief asks for it, and gathers from all
