"""Readers: functions of a result's ``networks`` that give a ``Measured``, or None where it is not there."""

import dataclasses
import math
from collections.abc import Callable, Sequence

from keras_neuronlevel.results import lookup


@dataclasses.dataclass(frozen=True)
class Measured:
    """One number of one run, its 95 % interval or None, and what the interval is taken over; ``shared``
    where runs of other seeds have that in common (they are tested on the same images); on which ``scale``
    seeds are taken together, see ``statistics.interval_over_seeds``."""

    value: float
    interval: tuple[float, float] | None
    over: str
    shared: bool = False
    scale: str = "plain"


Reader = Callable[[dict], Measured | None]


def over_neurons(network: str, layer: str, path: Sequence, scale: str = "share") -> Reader:
    """A reader of a spread over neurons; ``path`` leads to it from the layer's numbers."""

    def read(networks):
        found = lookup(networks, network, "layers", layer, *path)
        if not isinstance(found, dict) or found.get("mean") is None:
            return None
        interval = found.get("interval")
        over = f"{found['neurons']} neurons" if "neurons" in found else "neurons"
        return Measured(found["mean"], tuple(interval) if interval else None, over, scale=scale)

    return read


def of_curve(
    network: str, layer: str, kind: str, function: Callable, count=("n_test",), over: str = "test images"
) -> Reader:
    """A reader of one number of a curve, ``function(curve) -> (value, interval)``.

    ``count`` leads from the curve to how many of ``over`` the interval is taken over.
    """

    def read(networks):
        curve = lookup(networks, network, "layers", layer, kind)
        if curve is None:
            return None
        value, interval = function(curve)
        if not math.isfinite(value):
            return None
        shared = over == "test images"
        return Measured(float(value), interval, f"{lookup(curve, *count)} {over}", shared)

    return read


def difference(first: Reader, second: Reader) -> Reader:
    """A reader of the first number minus the second, of neurons that are not the same.

    The interval (m₁ - m₂) ∓ √((m₁ - l₁)² + (u₂ - m₂)²) (and likewise above) combines the two intervals as
    those of independent samples (Zou and Donner, 2008).
    """

    def read(networks):
        a, b = first(networks), second(networks)
        if a is None or b is None:
            return None
        value, interval = a.value - b.value, None
        if a.interval and b.interval:
            interval = (
                value - math.hypot(a.value - a.interval[0], b.interval[1] - b.value),
                value + math.hypot(a.interval[1] - a.value, b.value - b.interval[0]),
            )
        return Measured(value, interval, f"{a.over.removesuffix(' neurons')} and {b.over}")

    return read
