"""Rules: functions of a 95 % interval (low, high) that say whether a finding is so.

True where all of the interval lies where the finding wants it, False where all of it lies elsewhere, None
where it includes the limit.
"""

from collections.abc import Callable

Rule = Callable[[float, float], bool | None]


def above(limit: float) -> Rule:
    """All of the interval is above the limit."""
    return lambda low, high: True if low > limit else False if high <= limit else None


def below(limit: float) -> Rule:
    """All of the interval is below the limit."""
    return lambda low, high: True if high < limit else False if low >= limit else None


def inside(least: float, most: float) -> Rule:
    """All of the interval lies in [least, most]."""
    return lambda low, high: (
        True if least <= low and high <= most else False if high < least or low > most else None
    )


def outside(least: float, most: float) -> Rule:
    """All of the interval lies on one side of [least, most]."""
    return lambda low, high: (
        True if high < least or low > most else False if least <= low and high <= most else None
    )
