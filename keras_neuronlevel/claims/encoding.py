"""What the papers claim of two values per neuron being enough for the layers that follow (I §5)."""

import functools

from keras_neuronlevel.claims.claim import Claim, Quantity, at, of_images, over
from keras_neuronlevel.claims.readers import of_curve
from keras_neuronlevel.claims.rules import above, below, outside
from keras_neuronlevel.claims.signs import CONSTANCY
from keras_neuronlevel.statistics import curves

# "Astonishingly robust": nine tenths of the accuracy above chance remain at the best threshold, and more
# than half on average over the thresholds from rank 10 to 90 (judgement).
ROBUST = 0.9
ROBUST_ANYWHERE = 0.5
# Symmetric: the ends differ by less than half of what they are above the middle, so that the lower one, too,
# keeps three quarters of that (judgement).
SYMMETRIC = 0.5
# Within ten ranks of 50, one window's width, zero would be in the middle window or beside it (judgement).
AWAY_FROM_HALF = 10

_BEST = "accuracy kept at the best rank"
_ROBUSTNESS = (
    of_images(_BEST, "quantization", curves.best_kept, above(ROBUST)),
    of_images(
        "accuracy kept on average over ranks", "quantization", curves.area_kept, above(ROBUST_ANYWHERE)
    ),
)


def _but_the_stem(group):
    return [(label, layer) for label, layer in group.layers() if not group.has_role(label, layer, "stem")]


C9 = Claim(
    "C9",
    "Networks are robust to two-value quantization, with a preference for higher ranks; only "
    "ResNet50's conv1 loses clearly.",
    "I §5.1, Fig. 3",
    "Accuracy above chance that is kept, at the best rank and on average over ranks 10 to 90; mean "
    "accuracy at ranks 60 to 90 minus 10 to 40.",
    f"More than {ROBUST:g} is kept at the best rank and more than {ROBUST_ANYWHERE:g} on average, and "
    f"the preference is above 0, in every layer; ResNet50's conv1 keeps less than {ROBUST:g}, and no "
    "preference is asked of it. Both limits are judgements.",
    (
        over(_but_the_stem, *_ROBUSTNESS),
        over(
            _but_the_stem,
            of_images(
                "preference for high ranks", "quantization", curves.preference_for_high_ranks, above(0)
            ),
        ),
        over(at("stem"), of_images(_BEST, "quantization", curves.best_kept, below(ROBUST))),
    ),
)

_VALLEY = (
    of_images(
        "accuracy won for 10 ranks below 50",
        "window",
        functools.partial(curves.gain_with_distance, side="left"),
        above(0),
    ),
    of_images(
        "accuracy won for 10 ranks above 50",
        "window",
        functools.partial(curves.gain_with_distance, side="right"),
        above(0),
    ),
    of_images(
        "half of the depth minus left-right difference",
        "window",
        functools.partial(curves.symmetry_margin, share=SYMMETRIC),
        above(0),
    ),
    of_images("middle minus chance", "window", curves.margin_over_chance, above(0)),
)

C10 = Claim(
    "C10",
    "The farther a window is from rank 50, the better the network reads it, symmetrically around 50; "
    "at 50 it is still better than chance.",
    "I §5.2, Fig. 4",
    "Window binarization: accuracy won for every 10 ranks away from 50, on either side; half of what "
    "the two ends are above the middle minus the difference of the ends; accuracy at the middle minus "
    "chance.",
    f"All four are above 0 in every layer. That the ends may differ by {SYMMETRIC:g} of the depth and "
    "still be symmetric is a judgement. The intervals of one seed are over test images; by how much "
    "training the later layers anew would change a number is not in them.",
    (over(at(), *_VALLEY),),
)


def _with_activation(group):
    """Layers whose activation function is one: in a linear layer zero is no threshold."""
    return [
        (label, layer) for label, layer in group.layers() if group.networks[label]["activation"] != "linear"
    ]


def _zero_rank(network, layer):
    count = ("zero_rank", "neurons")
    return of_curve(network, layer, "quantization", curves.zero_rank, count, "neurons")


C11 = Claim(
    "C11",
    "Pre-activation zero is not at rank 50, so the symmetry is not the activation function's doing.",
    "I §5.2, Table 1",
    "Percentile rank of pre-activation zero, mean over neurons, in layers with an activation function "
    "(in a linear layer zero is no threshold).",
    f"It is farther than {AWAY_FROM_HALF:g} ranks from 50 in every layer. The distance is a judgement.",
    (
        over(
            _with_activation,
            Quantity(
                "percentile rank of zero", _zero_rank, outside(50 - AWAY_FROM_HALF, 50 + AWAY_FROM_HALF)
            ),
        ),
    ),
)

C12 = Claim(
    "C12",
    "The binary encoding also appears in linear networks.",
    "E Fig. 2, 3; I §5, Fig. 1, 3, 4",
    "C1, C9 and C10 on the linear networks.",
    "As there, on the linear networks alone; no preference for higher ranks is asked for, which is no "
    "part of a binary encoding (judgement).",
    (
        over(at("near output", activation="linear"), *CONSTANCY),
        over(at(activation="linear"), *_ROBUSTNESS),
        over(at(activation="linear"), *_VALLEY),
    ),
)

CLAIMS = (C9, C10, C11, C12)
