"""What the papers claim of two values per neuron being enough for the layers that follow (I §5)."""

import functools
import math

from keras_neuronlevel.claims import units
from keras_neuronlevel.claims.claim import SOME, Claim, Context, Quantity, at, of_images, over
from keras_neuronlevel.claims.readers import Measured, of_curve
from keras_neuronlevel.claims.rules import above, below, effect, outside
from keras_neuronlevel.claims.signs import CONSTANCY
from keras_neuronlevel.results import lookup
from keras_neuronlevel.statistics import curves

# "Astonishingly robust": nine tenths of the accuracy above chance remain at the best threshold (judgement).
ROBUST = 0.9
# Half a percentage point for every ten ranks: over the 45 ranks to an end, two points (judgement).
SLOPE = 0.005
# Symmetric: the ends differ by less than half of what they are above the middle, so that the lower one, too,
# keeps three quarters of that (judgement).
SYMMETRIC = 0.5
# Within ten ranks of 50, one window's width, zero would be in the middle window or beside it (judgement).
AWAY_FROM_HALF = 10

BEST_KEPT = "accuracy kept at the best rank"
_ROBUSTNESS = of_images(BEST_KEPT, "quantization", curves.best_kept, above(ROBUST), unit=units.KEPT)


def _but_the_stem(group):
    return [(label, layer) for label, layer in group.layers() if not group.has_role(label, layer, "stem")]


C9 = Claim(
    "C9",
    "Two values per neuron keep the network accurate",
    "Networks are robust to two-value quantization, with a preference for higher ranks; only "
    "ResNet50's conv1 loses clearly.",
    "I §5.1, Fig. 3",
    "Accuracy above chance that is kept at the best rank; mean accuracy at ranks 60 to 90 minus 10 to 40.",
    f"More than {ROBUST:g} is kept in every layer but ResNet50's conv1, which keeps less. Read strictly, "
    f"high ranks are better, too (by no more than {SOME:g} is no preference); none is asked of conv1. Both "
    "limits are judgements. The best rank is one of eleven: how much is kept at others is in the figure.",
    BEST_KEPT,
    "{} of the accuracy above chance kept at the best rank",
    ".1%",
    (
        over(
            _but_the_stem,
            _ROBUSTNESS,
            of_images(
                "preference for high ranks",
                "quantization",
                curves.preference_for_high_ranks,
                effect(SOME),
                unit=units.ACCURACY_DIFFERENCE,
                wording=True,
            ),
        ),
        over(
            at("stem"),
            of_images(
                f"{BEST_KEPT}, conv1", "quantization", curves.best_kept, below(ROBUST), unit=units.KEPT
            ),
        ),
    ),
    figure="quantization",
    by_data=True,
)

_BELOW, _ABOVE = "accuracy won for 10 ranks below 50", "accuracy won for 10 ranks above 50"
_VALLEY = (
    of_images(
        _BELOW,
        "window",
        functools.partial(curves.gain_with_distance, side="left"),
        effect(SLOPE),
        unit=units.SLOPE,
    ),
    of_images(
        _ABOVE,
        "window",
        functools.partial(curves.gain_with_distance, side="right"),
        effect(SLOPE),
        unit=units.SLOPE,
    ),
    of_images(
        "symmetry: half of the depth minus left-right difference",
        "window",
        functools.partial(curves.symmetry_margin, share=SYMMETRIC),
        above(0),
        unit=units.ACCURACY_DIFFERENCE,
        wording=True,
    ),
    of_images(
        "middle minus chance",
        "window",
        curves.margin_over_chance,
        effect(SOME),
        unit=units.ACCURACY_DIFFERENCE,
    ),
)

C10 = Claim(
    "C10",
    "Windows say the more, the farther from rank 50",
    "The farther a window is from rank 50, the better the network reads it, symmetrically around 50; "
    "at 50 it is still better than chance.",
    "I §5.2, Fig. 4",
    "Window binarization: accuracy won for every 10 ranks away from 50, on either side; half of what "
    "the two ends are above the middle minus the difference of the ends; accuracy at the middle minus "
    "chance.",
    f"In every layer the gains on both sides are above 0 (no more than {SLOPE:g} is none), and so is the "
    f"middle over chance (no more than {SOME:g} is none). Read strictly, it is symmetric as well: "
    f"the ends differ by less than {SYMMETRIC:g} of the depth. The limits are judgements. The intervals of "
    "one seed are over test images; by how much training the later layers anew would change a number is "
    "not in them.",
    _BELOW,
    "accuracy {} for 10 ranks below 50",
    "+.3f",
    (over(at(), *_VALLEY),),
    (Context("For 10 ranks above 50 it is {}.", (_ABOVE,)),),
    figure="window",
)


def _with_activation(group):
    """Layers whose activation function is one: in a linear layer zero is no threshold."""
    return [
        (label, layer) for label, layer in group.layers() if group.networks[label]["activation"] != "linear"
    ]


def _zero_rank(network, layer):
    count = ("zero_rank", "neurons")
    return of_curve(network, layer, "quantization", curves.zero_rank, count, "neurons")


def _near_half(group, label, layer):
    """Why the dip's place decides nothing, or "": with zero near rank 50 it says nothing."""
    found = [_zero_rank(label, layer)(result["networks"]) for result in group.results]
    near = any(zero is not None and abs(zero.value - 50) <= AWAY_FROM_HALF for zero in found)
    return f"zero lies within {AWAY_FROM_HALF:g} ranks of 50: both places are one" if near else ""


def _without_dip(group, label, layer):
    """What to know of a layer whose window curve has no dip, or ""."""
    found = [lookup(result["networks"], label, "layers", layer, "window") for result in group.results]
    flat = any(window is not None and not curves.has_dip(window) for window in found)
    return "an outermost window may be the lowest, so that there is no dip: counted as 0" if flat else ""


def _dip(network, layer):
    """A reader of how much nearer the window curve's minimum is to rank 50 than to the rank of zero."""

    def read(networks):
        window = lookup(networks, network, "layers", layer, "window")
        zero = _zero_rank(network, layer)(networks)
        if window is None or zero is None:
            return None
        value, interval = curves.nearer_to_half(window, zero.value, zero.interval)
        if not math.isfinite(value):
            return None
        return Measured(value, interval, f"{window.get('n_test')} test images", True)

    return read


_ZERO = "percentile rank of zero"
_NEARER = "minimum nearer to 50 than to zero, ranks"

C11 = Claim(
    "C11",
    "The dip lies at rank 50, not at zero",
    "Pre-activation zero is not at rank 50, so the symmetry is not the activation function's doing.",
    "I Fig. 3, 4, Table 1",
    "Percentile rank of pre-activation zero, mean over neurons, in layers with an activation function (in "
    "a linear layer zero is no threshold). The inference: how many ranks the window curve's minimum is "
    "nearer to 50 than to the rank of zero; every window that the test images cannot tell from the lowest "
    "may be the minimum, which may lie up to halfway to the next windows; where that may be an outermost "
    "one, there is no dip, and the number is 0.",
    f"Zero is farther than {AWAY_FROM_HALF:g} ranks from 50 in every layer; where it is, the window curve "
    "has a dip, and that is nearer to 50 than to zero (without a dip it does not hold). The distance is a "
    "judgement. By how much training the later layers anew would move the dip is not in the interval.",
    _NEARER,
    "the dip is {} ranks nearer to 50 than to zero (0: no dip)",
    "z.0f",
    (
        over(
            _with_activation,
            Quantity(_ZERO, units.RANK, _zero_rank, outside(50 - AWAY_FROM_HALF, 50 + AWAY_FROM_HALF)),
            Quantity(
                _NEARER,
                units.RANK_DIFFERENCE,
                _dip,
                above(0),
                excluded=_near_half,
                note=_without_dip,
            ),
        ),
    ),
    (
        Context(
            f"Zero is at rank {{}}; where that is within {AWAY_FROM_HALF:g} ranks of 50, the dip's place "
            "says nothing and is not counted.",
            (_ZERO,),
        ),
    ),
    figure="window",
)

C12 = Claim(
    "C12",
    "The binary encoding appears in linear networks, too",
    "The binary encoding also appears in linear networks.",
    "E Fig. 2, 3; I §5, Fig. 1, 3, 4",
    "C1, C9 and C10 on the linear networks.",
    "As there, on the linear networks alone; no preference for higher ranks is asked for, which is no "
    "part of a binary encoding (judgement).",
    BEST_KEPT,
    "{} of the accuracy above chance kept at the best rank",
    ".1%",
    (
        over(at("near output", activation="linear"), *CONSTANCY),
        over(at(activation="linear"), _ROBUSTNESS),
        over(at(activation="linear"), *_VALLEY),
    ),
    figure="quantization",
    by_data=True,
)

CLAIMS = (C9, C10, C11, C12)
