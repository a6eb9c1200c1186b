"""Ways that take turns, so that a noisy machine is noisy for all of them."""

import time

import numpy as np


def take_turns(ways, repeats):
    """Call every way once to trace it and warm up, then all of them ``repeats`` times in turn.

    ``ways`` are {name: function}. Returns {name: seconds of each round (repeats,)}.
    """
    for way in ways.values():
        way()
    seconds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(ratios):
    """Median, least and most of ratios that were taken round by round."""
    return {
        "median": float(np.median(ratios)),
        "least": float(ratios.min()),
        "most": float(ratios.max()),
    }
