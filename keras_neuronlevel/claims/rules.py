"""Rules: what a finding wants of a number, held against its 95 % interval (low, high).

A rule answers True where the interval lies where the finding wants it, False where it lies elsewhere, None
where it includes a limit. ``words`` say the rule, ``limits`` are what a chart draws.
"""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Rule:
    """``answer(low, high)`` is True, False or None; ``least`` is the smallest effect that counts, where the
    rule has one."""

    words: str
    limits: tuple[float, ...]
    answer: Callable[[float, float], bool | None] = dataclasses.field(repr=False)
    least: float | None = None

    def __call__(self, low: float, high: float) -> bool | None:
        return self.answer(low, high)

    def slight(self, low: float, high: float) -> bool:
        """Whether all of the interval is above 0, and too small to count."""
        return self.least is not None and low > 0 and high <= self.least


def above(limit: float) -> Rule:
    """All of the interval is above the limit."""
    return Rule(
        f"above {limit:.3g}",
        (limit,),
        lambda low, high: True if low > limit else False if high <= limit else None,
    )


def below(limit: float) -> Rule:
    """All of the interval is below the limit."""
    return Rule(
        f"below {limit:.3g}",
        (limit,),
        lambda low, high: True if high < limit else False if low >= limit else None,
    )


def effect(least: float) -> Rule:
    """An effect above 0, with equivalence bounds: no effect where all of the interval is at most ``least``,
    the smallest that counts, be it above 0 or not; else an effect where all of it is above 0.
    """
    return Rule(
        f"above 0, and none if at most {least:.3g}",
        (0.0, least),
        lambda low, high: False if high <= least else True if low > 0 else None,
        least,
    )


def inside(least: float, most: float) -> Rule:
    """All of the interval lies in [least, most]."""
    return Rule(
        f"in {least:.3g} to {most:.3g}",
        (least, most),
        lambda low, high: (
            True if least <= low and high <= most else False if high < least or low > most else None
        ),
    )


def outside(least: float, most: float) -> Rule:
    """All of the interval lies on one side of [least, most]."""
    return Rule(
        f"below {least:.3g} or above {most:.3g}",
        (least, most),
        lambda low, high: (
            True if high < least or low > most else False if least <= low and high <= most else None
        ),
    )
