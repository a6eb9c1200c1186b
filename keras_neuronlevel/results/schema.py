"""What ``metrics.json`` holds of a layer: every number by its name, form, words, and where it is shown.

A number of one kind of measurement stands at ``networks / NETWORK / layers / LAYER / KIND / PATH``. Whoever
measures a kind gives all of its numbers, and no others: :func:`check` refuses what is missing or misspelt
where it is written. Whoever reads names a path that :func:`path` knows; what an older file lacks is None.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from keras_neuronlevel.results.forms import (
    ACCURACY,
    ANY,
    COUNT,
    FLAG,
    MORE,
    NUMBER,
    PAIR,
    RANK,
    REAL,
    SHARE,
    TEXT,
    nearest,
    problems,
)

# Over neurons: mean with its 95 % bootstrap interval, population standard deviation, quartiles, how many.
SPREAD = {"mean": NUMBER, "std": NUMBER, "quartiles": ANY, "interval": PAIR, "neurons": COUNT}
SHARES = {**SPREAD, "mean": SHARE}  # of shares and of areas under ROC curves
# What two of the numbers count. A low share between 0.4 and 0.6 is "more or less half"; with at most this
# share of p > 0 "all pre-activations are negative" (E §5), but for a few. Both are judgements, ours.
NEAR_HALF = 0.1
ALL_NEGATIVE = 0.01

# Numbers ----------------------------------------------------------------------------------------------


def whole(value: Any) -> Any:
    """The value as it is."""
    return value


def first(values: list) -> Any:
    """Of a list over snapshots or windows the first."""
    return values[0] if values else None


def last(values: list) -> Any:
    """Of a list over snapshots or windows the last."""
    return values[-1] if values else None


def highest(values: list) -> float | None:
    """The highest of those that are known."""
    return max((value for value in values if value is not None), default=None)


@dataclasses.dataclass(frozen=True)
class View:
    """One way to show a number: under which words, which of its values, and of a spread whether its mean
    goes with its standard ``deviation`` in place of its interval."""

    words: str
    take: Callable = whole
    deviation: bool = False


@dataclasses.dataclass(frozen=True)
class Number:
    """One number of a layer.

    Attributes:
        name: where it stands among its kind's numbers, keys joined by "/".
        form: ``SPREAD``, ``NUMBER``, ``COUNT``, ..., or [form] for a list of them.
        columns: how the tables of its kind show it; a spread as its mean with the interval.
        seeds: under which words it is compared over seeds; a spread by its mean.
        brief: the words of that in the report's table over seeds; "" where it is not there.
    """

    name: str
    form: object
    columns: tuple[View, ...] = ()
    seeds: tuple[View, ...] = ()
    brief: str = ""


def _number(name, form=SPREAD, column="", **more):
    return Number(name, form, (View(column),) if column else (), **more)


NUMBERS = {
    # What the signs of ∂L/∂a say (E §3; I §4.1): shares of (sample, neuron) pairs, spreads over neurons.
    "derivatives": (
        _number("neurons", COUNT, "neurons"),
        _number("pairs", COUNT),
        _number("constant_share", SHARES, "|s| = 1"),
        _number(
            "above_0.9_share",
            SHARES,
            "|s| > 0.9",
            seeds=(View("share of |s| > 0.9"),),
            brief="|s| > 0.9",
        ),
        _number("mean_abs", SHARES, "mean |s|", seeds=(View("mean |s|"),), brief="mean |s|"),
        Number(
            "low_share",
            SHARES,
            (View("low share ± std. dev.", deviation=True),),
            (View("low share"),),
            "low share",
        ),
        _number("undefined_share", SHARE, "undefined"),
        _number("up_to_0.5_share", SHARES),
        _number("nonzero_share", SHARE),
        _number("often_nonzero/share", SHARE),
        _number("often_nonzero/mean_abs", SHARES),
        _number("often_nonzero/above_0.9_share", SHARES),
        _number("bimodality"),
        _number("low_share_near_half", SHARES),
        _number("histogram", [COUNT]),
        _number("class_consistency/pairs", COUNT),
        _number("class_consistency/undefined", COUNT),
        _number("class_consistency/histogram", [COUNT]),
        _number("class_consistency/below_10_percent", SHARE, "below 10 %"),
        _number("class_consistency/above_90_percent", SHARE, "above 90 %"),
        _number("class_consistency/one_sided", SHARES, "one-sided", seeds=(View("classes one-sided"),)),
        _number("class_consistency/peaks/low", SHARES),
        _number("class_consistency/peaks/high", SHARES),
    ),
    # The same of the cross-entropy of clipped probabilities, as Keras took it at the papers' time, recorded
    # in the same training: zeros left out of a pair's mean over the recordings, and counted as 0.
    "clipped": (
        _number("neurons", COUNT, "neurons"),
        _number("recordings", COUNT),
        _number("nonzero_share", SHARE, "nonzero"),
        _number("undefined_share", SHARE, "always zero"),
        _number("left_out/constant_share", SHARES, "|s| = 1, zeros left out"),
        _number("left_out/above_0.9_share", SHARES, "|s| > 0.9"),
        _number("left_out/mean_abs", SHARES),
        _number("counted/constant_share", SHARES, "|s| = 1, zeros counted"),
        _number("counted/above_0.9_share", SHARES, "|s| > 0.9"),
        _number("counted/mean_abs", SHARES),
    ),
    # What the snapshots of pre-activations say (E §4, §5), lists over the snapshots.
    "dynamics": (
        _number("neurons", COUNT),
        _number("recordings", [COUNT]),
        Number(
            "auc",
            [SHARES],
            (View("AUC, first", first), View("AUC, last", last)),
            (View("AUC at the end", last),),
        ),
        Number(
            "rank_correlation",
            [SPREAD],
            (View("rank correlation", first),),
            (View("rank correlation, first and last", first),),
        ),
        Number("top_of_high", [SPREAD], (View("final top, first", first), View("last", last))),
        _number("change/auc"),
        _number("change/top_of_high"),
        _number("change/initial_top_of_high"),
        _number("subtask/activation", TEXT),
        _number("subtask/share_above_zero", SHARES, "share p > 0"),
        _number("subtask/accuracy_above_zero", SHARES, "accuracy p > 0"),
        _number("subtask/accuracy_below_zero", SHARES, "p < 0"),
        _number("subtask/difference", SPREAD, "difference"),
        _number("subtask/separation_above_zero", SHARES, "AUC p > 0"),
        _number("subtask/separation_below_zero", SHARES, "p < 0"),
        _number("subtask/separation_difference"),
        _number("subtask/accuracy_by_decile", [SHARES]),
        _number("subtask/all_negative/neurons", COUNT),
        _number("subtask/all_negative/accuracy_by_decile", [SHARES]),
        _number("subtask/all_negative/accuracy_difference"),
        _number("subtask/all_negative/separation_difference"),
    ),
    # Curves, as ``evaluation`` gives them (I §5): what is named here is used, the rest goes with it.
    "quantization": (
        _number("kind", TEXT),
        _number("layer", TEXT),
        _number("ranks", [RANK]),
        Number(
            "accuracy",
            [SHARE],
            seeds=(View("best quantized accuracy", highest),),
            brief="best rank's accuracy",
        ),
        _number("baseline_accuracy", ACCURACY),
        _number("chance", ACCURACY),
        _number("n_test", COUNT),
        _number("zero_rank/mean", RANK, "mean rank of zero", seeds=(View("percentile rank of zero"),)),
        _number("zero_rank/std", REAL, "std. dev."),
        _number("zero_rank/quartiles", [NUMBER], "quartiles"),
        _number("zero_rank/neurons", COUNT, "neurons"),
        _number(MORE, ANY),
    ),
    "window": (
        _number("kind", TEXT),
        _number("layer", TEXT),
        _number("centers", [RANK]),
        Number(
            "accuracy",
            [SHARE],
            seeds=(
                View("accuracy at the lowest window", first),
                View("accuracy at the highest window", last),
            ),
        ),
        _number("repeats", [[SHARE]]),
        _number("baseline_accuracy", ACCURACY),
        _number("chance", ACCURACY),
        _number("n_test", COUNT),
        _number("readout", TEXT),
        _number("fits", {MORE: [{MORE: ANY}]}),
        _number("converged", FLAG),
        _number(MORE, ANY),
    ),
}
# Other window experiments, kept beside the first under names of their own, with the same numbers.
TWICE = "window-twice-the-budget"


def kind_of(name: str) -> str:
    """The kind of numbers that stands under a name: "window" for "window-transfer-grid2".

    Raises:
        ValueError: for a name of no kind.
    """
    kind = name.split("-")[0]
    if kind not in NUMBERS or (kind != "window" and kind != name):
        raise ValueError(f"{name!r} is no kind of numbers; give one of {', '.join(NUMBERS)}, or window-...")
    return kind


def window(transfer: bool, grid: int | None = None) -> str:
    """The name under which a probe's window experiment is kept; ``grid`` where several are."""
    return "window" + ("-transfer" if transfer else "") + (f"-grid{grid}" if grid else "")


def path(kind: str, name: str) -> tuple[str, ...]:
    """The keys that lead to a number of a kind.

    Raises:
        ValueError: for a number that the schema does not have.
    """
    known = [number.name for number in NUMBERS[kind_of(kind)]]
    if name not in known:
        raise ValueError(f"{kind} has no number {name!r}{nearest(name, known)}")
    return (kind, *name.split("/"))


def lookup(value: Any, *path: Any) -> Any:
    """What a path of keys and places leads to in nested dictionaries and lists, or None."""
    for key in path:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


# Checks -----------------------------------------------------------------------------------------------


def check(kind: str, numbers: dict, complete: bool = True) -> None:
    """Refuse numbers of a kind that are not of the schema.

    Args:
        kind: "derivatives", "clipped", "dynamics", "quantization", "window" or a window experiment's own
            name.
        numbers: the kind's numbers of one layer, as JSON has them.
        complete: whether all must be there and no others, as where they are written. Files may be older
            than a number, or younger than this code.

    Raises:
        ValueError: with the first thing that is wrong.
    """
    problem = next(problems(numbers, form(kind_of(kind)), kind, complete), None) or _unequal(kind, numbers)
    if problem:
        raise ValueError(problem)


# Lists of a kind that have a value each for the same ranks, windows or snapshots.
ALONG = {
    "quantization": ("ranks", "accuracy"),
    "window": ("centers", "accuracy", "repeats"),
    "dynamics": ("recordings", "auc", "rank_correlation", "top_of_high"),
}


def _unequal(kind, numbers):
    """What is wrong with the lengths of lists, or None."""
    found = {name: len(numbers[name]) for name in ALONG.get(kind_of(kind), ()) if name in numbers}
    if len(set(found.values())) > 1:
        return f"{kind} has {', '.join(f'{n} {name}' for name, n in found.items())}, where as many belong"
    return None


@functools.cache
def form(kind: str) -> dict:
    """The form of all numbers of a kind, nested as they stand in the file."""
    found: dict[str, Any] = {}
    for number in NUMBERS[kind]:
        *parents, key = number.name.split("/")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[key] = number.form
    return found
