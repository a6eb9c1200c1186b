"""Which neurons and positions of a layer are recorded: chosen once, from a seed, within a budget."""

import dataclasses
import math

import numpy as np

BYTES_A_PAIR = 4  # two int16 accumulators


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
    def pairs(self):
        """Recorded values of a sample: neurons times positions."""
        return len(self.neurons) * (1 if self.positions is None else len(self.positions))

    @property
    def snapshot_values(self):
        """Values of a sample that one snapshot keeps."""
        positions = 1 if self.snapshot_positions is None else len(self.snapshot_positions)
        return len(self.snapshot_neurons) * positions

    def __str__(self):
        text = f"{len(self.neurons)} of {self.units} neurons"
        if self.positions is not None:
            text += f" x {len(self.positions)} of {math.prod(self.map_shape)} positions"
        return text


def select(
    shapes,
    samples,
    *,
    neurons=None,
    positions=None,
    snapshot_neurons=32,
    snapshot_positions=4,
    memory_budget=2**31,
    seed=0,
):
    """Choose what to record: {layer: Selection} for ``shapes`` {layer: activation shape of a sample}.

    ``neurons`` and ``positions`` are None, a number to draw at random, a sequence of indices, or a
    dictionary {layer: one of these}. ``neurons=None`` takes all. ``positions=None`` takes as many random
    positions of each feature map, the same number for every layer that has them, as ``memory_budget``
    bytes hold for ``samples`` samples (all, where they fit). Raises ``ValueError`` for indices outside the
    layer, for a layer that is not being recorded, and where the budget holds not even one position.
    """
    for option, value in (("neurons", neurons), ("positions", positions)):
        if isinstance(value, dict) and set(value) - set(shapes):
            unknown = ", ".join(map(str, set(value) - set(shapes)))
            raise ValueError(f"{option} names {unknown}, which is not among {', '.join(shapes)}")
    chosen = {
        layer: _choose(_of(neurons, layer), shape[-1], _rng(seed, layer, 0), f"neurons of {layer}")
        for layer, shape in shapes.items()
    }
    most = _positions_that_fit(shapes, chosen, positions, samples, memory_budget)
    return {
        layer: _selection(
            layer, shape, chosen[layer], positions, most, snapshot_neurons, snapshot_positions, seed
        )
        for layer, shape in shapes.items()
    }


def _of(option, layer):
    return option.get(layer) if isinstance(option, dict) else option


def _rng(seed, layer, purpose):
    """One stream per layer and purpose, whatever other layers are recorded."""
    return np.random.default_rng([seed, purpose, *layer.encode()])


def _selection(layer, shape, neurons, positions, most, snapshot_neurons, snapshot_positions, seed):
    some = _subset(neurons, snapshot_neurons, _rng(seed, layer, 2), "snapshot_neurons")
    if len(shape) == 1:
        return Selection(shape[-1], (), neurons, None, some, None)
    total = math.prod(shape[:-1])
    wanted = _of(positions, layer)
    if wanted is None:
        wanted = min(total, most)
    kept = _choose(wanted, total, _rng(seed, layer, 1), f"positions of {layer}")
    few = _subset(kept, snapshot_positions, _rng(seed, layer, 3), "snapshot_positions")
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


def _choose(wanted, total, rng, what):
    """Sorted indices below ``total``: all of them, a random number of them, or the given ones."""
    if wanted is None:
        return np.arange(total)
    if isinstance(wanted, (int, np.integer)):
        if not 1 <= wanted <= total:
            raise ValueError(f"{wanted} {what} were asked for; there are {total}")
        return np.sort(rng.choice(total, wanted, replace=False))
    indices = np.unique(np.asarray(wanted))
    if not (indices.size and indices.dtype.kind in "iu"):
        raise ValueError(f"the {what} are {wanted!r}; give a number or a sequence of indices")
    if indices[0] < 0 or indices[-1] >= total:
        raise ValueError(
            f"the {what} reach from {indices[0]} to {indices[-1]}; they must lie in [0, {total - 1}]"
        )
    return indices


def _subset(indices, wanted, rng, what):
    """At most ``wanted`` of the indices, or the given ones, which must be among them."""
    if isinstance(wanted, (int, np.integer)):
        if wanted < 1:
            raise ValueError(f"{what} is {wanted}; give 1 or more, or a sequence of indices")
        return np.sort(rng.choice(indices, min(int(wanted), len(indices)), replace=False))
    given = np.unique(np.asarray(wanted))
    missing = np.setdiff1d(given, indices)
    if missing.size or not given.size:
        which = f"{missing.tolist()} are not recorded" if missing.size else "none is named"
        raise ValueError(f"{what}={wanted!r} was asked for, but {which}; choose among those recorded")
    return given
