"""What a claim's number is a number of: how seeds are taken together, and on which axis it is drawn.

Numbers of one unit are drawn on one axis wherever they stand, so that a length means the same everywhere;
what lies beyond its ends is drawn as an arrow.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit: its ``name``, the ends of its ``axis``, and the ``scale`` of
    ``statistics.interval_over_seeds`` for it."""

    name: str
    axis: tuple[float, float]
    scale: str = "plain"


UNITS = (
    SHARE,
    KEPT,
    AUC,
    CORRELATION,
    BIMODALITY,
    RANK,
    DIFFERENCE,
    AUC_DIFFERENCE,
    ACCURACY_DIFFERENCE,
    RANK_DIFFERENCE,
    SLOPE,
) = (
    Unit("share", (0, 1), "share"),
    Unit("share kept", (0, 1.1)),  # an intervention may help a little
    Unit("AUC", (0, 1), "share"),
    Unit("correlation", (-1, 1), "correlation"),
    Unit("bimodality coefficient", (0, 1), "share"),
    Unit("percentile rank", (0, 100)),
    Unit("difference of shares or abs(s)", (-0.5, 0.5)),
    Unit("difference of AUC", (-0.5, 0.5)),
    Unit("difference of accuracies", (-1, 1)),
    Unit("difference of ranks", (-60, 60)),
    Unit("accuracy for 10 ranks", (-0.1, 0.1)),
)
