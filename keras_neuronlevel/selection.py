"""Which neurons and positions of a layer are recorded: chosen once, from a seed, within a budget."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from keras_neuronlevel import checks, streams

__all__ = ["Keep", "Selection", "Snapshots", "of_snapshot", "select"]

BYTES_A_PAIR = 4  # two int16 accumulators

Wanted = None | int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class Keep:
    """Which neurons and positions of the recorded layers are kept.

    ``neurons`` and ``positions`` are None, a number to draw at random, a sequence of indices, or a
    dictionary {layer: one of these}. ``neurons=None`` takes all. ``positions=None`` takes as many random
    positions of each feature map, the same number for every layer that has them, as ``memory_budget``
    bytes of accumulators hold (all, where they fit); accumulators of what is asked for beyond that live in a
    memory-mapped file. What is random is drawn from ``seed``.

    Raises:
        ValueError: a seed below 0, a budget that is not positive.
    """

    neurons: Wanted | Mapping[str, Wanted] = None
    positions: Wanted | Mapping[str, Wanted] = None
    memory_budget: float = 2**31
    seed: int = 0

    def __post_init__(self):
        checks.seed(self.seed)
        checks.number("memory_budget", self.memory_budget, above=0)


@dataclasses.dataclass(frozen=True)
class Snapshots:
    """Which pre-activations are kept during training, at some of the recordings.

    ``recordings`` is how many snapshots, spaced evenly in the logarithm of the recording's number, or which
    recordings, counted from 0; the first and the last are always kept. ``neurons`` and ``positions`` are
    how many of those recorded (as many as there are, where there are fewer), or which. ``dtype`` is
    "float16" or "float32".

    Raises:
        ValueError: a number below 1, another dtype.
    """

    recordings: int | Iterable[int] = 12
    neurons: int | Sequence[int] = 32
    positions: int | Sequence[int] = 4
    dtype: str = "float16"

    def __post_init__(self):
        if isinstance(self.recordings, str) or not isinstance(self.recordings, Iterable):
            checks.whole("recordings of snapshots", self.recordings, least=1)
        else:
            object.__setattr__(self, "recordings", tuple(self.recordings))  # it is read more than once
        if self.dtype not in ("float16", "float32"):
            raise ValueError(f"the dtype of snapshots is {self.dtype!r}; give 'float16' or 'float32'")


@dataclasses.dataclass(frozen=True)
class Selection:
    """What is kept of one layer with U units and, for a feature map, P positions.

    ``neurons`` and ``snapshot_neurons`` are sorted unit indices. ``positions`` and ``snapshot_positions``
    are sorted row-major places in a map of shape ``map_shape``; None for a dense layer.
    """

    units: int
    map_shape: tuple
    neurons: np.ndarray
    positions: np.ndarray | None
    snapshot_neurons: np.ndarray
    snapshot_positions: np.ndarray | None

    @property
    def pairs(self) -> int:
        """Recorded values of a sample: neurons times positions."""
        return len(self.neurons) * (1 if self.positions is None else len(self.positions))

    @property
    def snapshot_values(self) -> int:
        """Values of a sample that one snapshot keeps."""
        positions = 1 if self.snapshot_positions is None else len(self.snapshot_positions)
        return len(self.snapshot_neurons) * positions

    def of_snapshot(self, values: np.ndarray) -> np.ndarray:
        """What a snapshot keeps of values (N, U[, P]) of what is recorded: (N, U'[, P'])."""
        return of_snapshot(
            values, self.neurons, self.snapshot_neurons, self.positions, self.snapshot_positions
        )

    def __str__(self):
        text = f"{len(self.neurons)} of {self.units} neurons"
        if self.positions is not None:
            text += f" x {len(self.positions)} of {math.prod(self.map_shape)} positions"
        return text


def of_snapshot(
    values: np.ndarray,
    neurons: np.ndarray,
    some_neurons: np.ndarray,
    positions: np.ndarray | None = None,
    some_positions: np.ndarray | None = None,
) -> np.ndarray:
    """Values (N, U[, P]) of ``neurons`` and ``positions``, both sorted, at some of both: (N, U'[, P'])."""
    values = values[:, np.searchsorted(neurons, some_neurons)]
    if positions is None or some_positions is None:
        return values
    return values[..., np.searchsorted(positions, some_positions)]


def select(
    shapes: Mapping[str, tuple[int, ...]],
    samples: int,
    keep: Keep = Keep(),
    snapshots: Snapshots = Snapshots(),
) -> dict[str, Selection]:
    """Choose what to record: {layer: Selection} for ``shapes`` {layer: activation shape of a sample}.

    Raises:
        ValueError: indices outside a layer, a layer that is not being recorded, positions where there are
            none, a budget that holds not even one position of each map for so many ``samples``.
    """
    checks.whole("samples", samples, least=1)
    for option in ("neurons", "positions"):
        value = getattr(keep, option)
        if isinstance(value, Mapping) and set(value) - set(shapes):
            unknown = ", ".join(map(str, set(value) - set(shapes)))
            raise ValueError(f"{option} names {unknown}, which is not among {', '.join(shapes)}")
    _check_positions(shapes, keep.positions, snapshots.positions)
    drawn = {layer: _Draws(keep.seed, layer) for layer in shapes}
    chosen = {
        layer: _choose(_of(keep.neurons, layer), shape[-1], drawn[layer], "neurons")
        for layer, shape in shapes.items()
    }
    most = _positions_that_fit(shapes, chosen, keep.positions, samples, keep.memory_budget)
    return {
        layer: _selection(shape, chosen[layer], keep.positions, most, snapshots, drawn[layer])
        for layer, shape in shapes.items()
    }


def _check_positions(shapes, positions, of_snapshots):
    """Raises ``ValueError`` for positions asked of dense layers, which have none."""
    dense = [layer for layer, shape in shapes.items() if len(shape) == 1]
    named = [layer for layer in dense if isinstance(positions, Mapping) and positions.get(layer) is not None]
    if named:
        raise ValueError(f"positions names {', '.join(named)}, which has none; name feature maps alone")
    if len(dense) < len(shapes):
        return
    if not (positions is None or isinstance(positions, Mapping)):
        raise ValueError(f"positions is {positions!r}, but none of the layers has positions; leave it out")
    if np.ndim(of_snapshots):
        raise ValueError(
            f"snapshots' positions is {of_snapshots!r}, but none of the layers has positions; leave it out"
        )


def _of(option, layer):
    return option.get(layer) if isinstance(option, Mapping) else option


@dataclasses.dataclass(frozen=True)
class _Draws:
    """One stream per layer and purpose, whatever other layers are recorded."""

    seed: int
    layer: str

    def of(self, purpose):
        return streams.generator(self.seed, purpose, self.layer)


def _selection(shape, neurons, positions, most, snapshots, draws):
    some = _subset(neurons, snapshots.neurons, draws, "neurons")
    if len(shape) == 1:
        return Selection(shape[-1], (), neurons, None, some, None)
    total = math.prod(shape[:-1])
    wanted = _of(positions, draws.layer)
    if wanted is None:
        wanted = min(total, most)
    kept = _choose(wanted, total, draws, "positions")
    few = _subset(kept, snapshots.positions, draws, "positions")
    return Selection(shape[-1], tuple(shape[:-1]), neurons, kept, some, few)


def _positions_that_fit(shapes, neurons, positions, samples, budget):
    """The largest number of positions a feature map, where none is asked for, that fits the budget."""
    maps = {
        layer: math.prod(shape[:-1])
        for layer, shape in shapes.items()
        if len(shape) > 1 and _of(positions, layer) is None
    }
    if not maps:
        return 0
    most = max(maps.values())
    while most:
        needed = sum(min(most, total) * len(neurons[layer]) for layer, total in maps.items())
        if needed * samples * BYTES_A_PAIR <= budget:
            return most
        most = min(most - 1, int(most * budget / (needed * samples * BYTES_A_PAIR)) + 1)
    raise ValueError(
        f"recording {samples} samples of {len(maps)} feature maps does not fit the memory budget of "
        f"{budget / 2**20:.0f} MiB even at one position a map; give fewer samples, layers or neurons, or a "
        "larger memory_budget"
    )


def _choose(wanted, total, draws, which):
    """Sorted indices below ``total``: all of them, a random number of them, or the given ones."""
    what = f"{which} of {draws.layer}"
    if wanted is None:
        return np.arange(total)
    if np.ndim(wanted) == 0:
        count = checks.whole(f"the number of {what}", wanted, least=1, most=total)
        return np.sort(draws.of(f"recorded {which}").choice(total, count, replace=False))
    indices = _indices(wanted, what)
    if indices[0] < 0 or indices[-1] >= total:
        raise ValueError(
            f"the {what} reach from {indices[0]} to {indices[-1]}; they must lie in [0, {total - 1}]"
        )
    return indices


def _subset(indices, wanted, draws, which):
    """At most ``wanted`` of the indices, or the given ones, which must be among them."""
    what = f"{which} of snapshots"
    if np.ndim(wanted) == 0:
        count = min(checks.whole(f"the number of {what}", wanted, least=1), len(indices))
        return np.sort(draws.of(f"snapshot {which}").choice(indices, count, replace=False))
    given = _indices(wanted, what)
    missing = np.setdiff1d(given, indices)
    if missing.size:
        raise ValueError(
            f"the {what} are {wanted!r}, but {missing.tolist()} are not recorded; choose among the recorded "
            f"{which} of {draws.layer}"
        )
    return given


def _indices(wanted, what):
    """Sorted indices, each once."""
    indices = np.unique(np.asarray(wanted))
    if not (indices.size and indices.dtype.kind in "iu"):
        raise ValueError(f"the {what} are {wanted!r}; give a number or a sequence of indices")
    return indices
