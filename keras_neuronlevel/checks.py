"""Numbers that a user gives, held against what they may be: one sentence where one does not fit."""

import math
import numbers
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

LARGEST_SEED = 2**32 - 1


def whole(name: str, value: object, *, least: int | None = None, most: int | None = None) -> int:
    """A whole number (3, 3.0, NumPy's too, but no truth value) as an ``int``.

    Raises ``ValueError``, which names ``name``, for anything else and for a number below ``least`` or above
    ``most``.
    """
    if not _is_number(value) or value != value // 1:  # type: ignore[operator]
        raise ValueError(f"{name} is {value!r:.40}; give a whole number{_range(least, most)}")
    return int(_within(name, value, "a whole number", least=least, most=most))


def number(
    name: str,
    value: object,
    *,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """A finite number as a ``float``: from ``least`` to ``most``, or strictly ``above`` and ``below``.

    Raises ``ValueError``, which names ``name``, for anything else, NaN and infinities among it.
    """
    if not _is_number(value):
        raise ValueError(f"{name} is {value!r:.40}; give a number{_range(least, most, above, below)}")
    return float(_within(name, value, "a number", least, most, above, below))


def seed(value: object, name: str = "seed") -> int:
    """A seed as an ``int``: 0 to 2³² - 1, as random generators everywhere take it; else ``ValueError``."""
    return whole(name, value, least=0, most=LARGEST_SEED)


def path(name: str, value: object) -> Path:
    """The path that a text or a path object names; raises ``ValueError`` for anything else."""
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"{name} is {value!r:.40}; give a path, such as 'run.h5'")
    return Path(value)


def reals(name: str, values: ArrayLike) -> np.ndarray:
    """Real numbers of any shape, NaN and infinities too, as float64.

    Raises ``ValueError``, which names ``name``, for text, None, truth values, complex numbers, and lists of
    different lengths.
    """
    try:
        found = np.asarray(values)
    except ValueError:  # lists of different lengths
        found = np.asarray(None)
    if found.dtype.kind not in "iuf" and found.size:
        raise ValueError(f"{name} is {values!r:.60}; give real numbers")
    return found.astype(np.float64)


def sequence(name: str, values: object) -> list:
    """The values as a list; ``ValueError``, which names ``name``, for text and for what is no sequence."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ValueError(f"{name} is {values!r:.40}; give a sequence, such as [{values!r:.40}]")
    return list(values)


def different(name: str, values: Iterable[float]) -> list[str]:
    """The numbers as they are printed and filed, six digits each; ``ValueError`` where two print alike."""
    printed = [f"{value:g}" for value in values]
    twice = next((text for place, text in enumerate(printed) if text in printed[:place]), None)
    if twice is not None:
        raise ValueError(
            f"two of the {name} are {twice}, as printed with six digits; give every one once, so that each "
            "has a result of its own"
        )
    return printed


def _is_number(value: object) -> bool:
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def _within(name, value, what, least=None, most=None, above=None, below=None):
    fits = (
        (least is None or value >= least)
        and (most is None or value <= most)
        and (above is None or value > above)
        and (below is None or value < below)
    )
    if not fits:
        raise ValueError(f"{name} is {value!s:.40}; give {what}{_range(least, most, above, below)}")
    return value


def _range(least=None, most=None, above=None, below=None) -> str:
    low = f"at least {least}" if least is not None else f"above {above}" if above is not None else ""
    high = f"at most {most}" if most is not None else f"below {below}" if below is not None else ""
    return " " + " and ".join(filter(None, (low, high))) if low or high else ""
