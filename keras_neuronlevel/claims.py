"""The papers' findings C1 to C12, what would decide each, and what the results at hand say.

The criteria come from the papers' words: "most", "about half", "far better", order and symmetry. Where the
words leave a number open, the number is a named constant of ``criteria``, chosen for what it means and
marked as a judgement; it is ours, not the papers'. A piece of evidence holds when *all* of its interval is
on the side of the limit that the finding wants, does not hold when all of it is on the other, and is
undecided in between. The pieces of the papers' networks together make the verdict: all hold, "holds"; some,
"holds in part"; none, "does not hold", or "undecided" where none of them fails either; no evidence, "not
measured". Results on stand-in data, of the ``quick`` preset, of other networks than the papers', and of a
smaller preset where a larger one measured the same, are shown, and decide nothing.

``metrics.json`` files of older releases lack some of the numbers; what is lacking is not measured.
"""

import dataclasses

from keras_neuronlevel import evidence
from keras_neuronlevel.criteria import (
    AWAY_FROM_HALF,
    CLEARLY_BIMODAL,
    EVEN,
    EVIDENCE,
    FULLY_SEPARATED,
    MOST,
    MUCH,
    RANKS_KEPT,
    RANKS_MOVED,
    ROBUST,
    ROBUST_ANYWHERE,
    SYMMETRIC,
)
from keras_neuronlevel.evidence import Evidence
from keras_neuronlevel.measures import ALL_NEGATIVE, NEAR_HALF

__all__ = ["CLAIMS", "VERDICTS", "Assessment", "Claim", "Evidence", "assess", "verdict"]

VERDICTS = ("holds", "holds in part", "does not hold", "undecided", "not measured")


@dataclasses.dataclass(frozen=True)
class Claim:
    """A finding: what the papers say and where, what is measured, and when it holds."""

    id: str
    statement: str
    where: str
    measurement: str
    criterion: str


@dataclasses.dataclass(frozen=True)
class Assessment:
    """A claim's verdict, one of ``VERDICTS``, the tuple of ``Evidence`` behind it, and a summary."""

    claim: Claim
    verdict: str
    evidence: tuple
    comment: str


CLAIMS = (
    Claim(
        "C1",
        "Near the output the average sign is 1 or -1 for most samples.",
        "E §3, Fig. 2; I Fig. 1, 5",
        "Share of the (sample, neuron) pairs with abs(s) > 0.9, and with abs(s) = 1; mean over neurons. "
        "MNIST: both layers; CNN: stage3layer2.",
        f"Both shares exceed {MOST:g} in every layer. That 'is 1 or -1' allows abs(s) > 0.9 is a judgement; "
        "abs(s) = 1 is the wording to the letter; it counts where there are as many recordings as in the "
        "papers, because fewer leave a sign fewer occasions to change.",
    ),
    Claim(
        "C2",
        "About half of a neuron's samples are low, half high.",
        "E §3; I Fig. 5",
        f"Low share of each neuron: its mean, and the share of neurons between {0.5 - NEAR_HALF:g} and "
        f"{0.5 + NEAR_HALF:g}.",
        f"The mean is between {0.5 - NEAR_HALF:g} and {0.5 + NEAR_HALF:g}, and so are more than {MOST:g} of "
        "the neurons, in every layer near the output (C1), of which the papers say it; others are shown. "
        "The width is a judgement.",
    ),
    Claim(
        "C3",
        "Signs change more the farther a layer is from the output; in stage0layer0-relu most signs change "
        "all the time.",
        "I §4.1, Fig. 1, 5",
        "Mean abs(s) of a layer minus that of the next shown layer before it, over the pairs whose "
        "derivative was nonzero in at least half of the recordings (below max-pooling most are zero, and "
        "abs(s) of a pair that was nonzero once is 1 for certain); for stage0layer0-relu the share of pairs "
        "with abs(s) up to 0.5.",
        "Every difference within a CNN is above 0 (of the MLP the papers do not say it: it is shown, and "
        "does not decide); and in stage0layer0-relu the share exceeds "
        f"{MOST:g}: abs(s) up to 0.5 means that the rarer sign came up in a quarter of the recordings or "
        "more (judgement).",
    ),
    Claim(
        "C4",
        "The linear CNN has a much clearer signal than the ReLU one, yet stage0layer0-linear is not "
        "clearly bimodal.",
        "I §4.1, Fig. 1, 5",
        "Mean abs(s), as for C3, of the linear minus that of the ReLU network, layer by layer; bimodality "
        "coefficient of stage0layer0-linear, mean over neurons.",
        f"The differences exceed {MUCH:g}; the coefficient is below {CLEARLY_BIMODAL:.3f}, which a "
        "histogram has with half of the pairs at the ends and half spread evenly. Both limits are "
        "judgements.",
    ),
    Claim(
        "C5",
        "The two categories' pre-activations come apart during training, never fully.",
        "E §4, Fig. 3, §5; I §4.2, Fig. 2, 6, 7",
        "Area under the ROC curve (AUC) of pre-activations, high against low, per neuron of the last "
        "hidden layer: last snapshot minus first, and at the last.",
        f"The difference is above 0, and the last AUC below {FULLY_SEPARATED:g}. What counts as full is a "
        "judgement.",
    ),
    Claim(
        "C6",
        "The movement is not a translation: samples change rank.",
        "I §4.2, Fig. 6",
        "Rank correlation of a neuron's pre-activations between the first and the last snapshot; mean "
        "percentile rank of the final top tenth of 'high', last snapshot minus first.",
        f"The correlation is below {RANKS_KEPT:g}, and the top rose by more than {RANKS_MOVED:g} percentile "
        "ranks. A translation would give 1 and 0; the limits are judgements. The first snapshot is of the "
        "untrained network, so that much of this may be the first epoch's doing: the correlation of the "
        "first snapshot after it is shown beside it.",
    ),
    Claim(
        "C7",
        "At the end a ReLU neuron separates the samples with p > 0 far better than those with p < 0; a "
        "sigmoid neuron with all p negative separates the better, the higher p.",
        "E §5, Fig. 4",
        "ReLU: accuracy of 'p > 0 is high' minus that of 'p < 0 is low', and AUC within p > 0 minus within "
        f"p < 0. Sigmoid, neurons with at most {ALL_NEGATIVE:.0%} of p > 0: share of the more frequent "
        "category in the five upper minus the five lower deciles of p, and AUC within the upper minus "
        "within the lower half. Paired, per neuron.",
        f"ReLU: both differences exceed {MUCH:g} ('much higher', judgement). Sigmoid: both are above 0. The "
        "paper shows one neuron of each; that the mean over neurons should show it is a judgement. A "
        "neuron counts in a difference where each side has enough samples.",
    ),
    Claim(
        "C8",
        "Nearly all samples of a class are in the same category in most cases: peaks at 0 and 100 %.",
        "I Fig. 8",
        "dense2-relu: share of the (neuron, class) pairs with less than 10 % or more than 90 % of the "
        "class's samples in the low category; and each of the two alone.",
        f"The share exceeds {MOST:g}, and each end has more than the {EVEN:g} that an even histogram would "
        "put there. That 'nearly all' begins at 90 % is a judgement.",
    ),
    Claim(
        "C9",
        "Networks are robust to two-value quantization, with a preference for higher ranks; only "
        "ResNet50's conv1 loses clearly.",
        "I §5.1, Fig. 3",
        "Accuracy above chance that is kept, at the best rank and on average over ranks 10 to 90; mean "
        "accuracy at ranks 60 to 90 minus 10 to 40.",
        f"More than {ROBUST:g} is kept at the best rank and more than {ROBUST_ANYWHERE:g} on average, and "
        f"the preference is above 0, in every layer; ResNet50's conv1 keeps less than {ROBUST:g}, and no "
        "preference is asked of it. Both limits are judgements.",
    ),
    Claim(
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
    ),
    Claim(
        "C11",
        "Pre-activation zero is not at rank 50, so the symmetry is not the activation function's doing.",
        "I §5.2, Table 1",
        "Percentile rank of pre-activation zero, mean over neurons, in layers with an activation function "
        "(in a linear layer zero is no threshold).",
        f"It is farther than {AWAY_FROM_HALF:g} ranks from 50 in every layer. The distance is a judgement.",
    ),
    Claim(
        "C12",
        "The binary encoding also appears in linear networks.",
        "E Fig. 2, 3; I §5, Fig. 1, 3, 4",
        "C1, C9 and C10 on the linear networks.",
        "As there, on the linear networks alone; no preference for higher ranks is asked for, which is no "
        "part of a binary encoding (judgement).",
    ),
)


def assess(results):
    """An ``Assessment`` of every claim, in their order, from a list of loaded ``metrics.json`` files.

    Any experiments, presets and seeds may be given; what bears on no claim is left out. Raises
    ``ValueError`` for two results of the same run.
    """
    groups = evidence.groups(results)
    return [_assessment(claim, EVIDENCE[claim.id], groups) for claim in CLAIMS]


def _assessment(claim, function, groups):
    found = tuple(evidence.largest_decide([piece for group in groups for piece in function(group)]))
    return Assessment(claim, verdict(found), found, _comment(found))


def verdict(pieces):
    """One of ``VERDICTS`` from the pieces that decide and were measured."""
    return evidence.together([piece.verdict for piece in _decisive(pieces)])


def _decisive(pieces):
    return [piece for piece in pieces if piece.decides and piece.verdict != "not measured"]


def _comment(pieces):
    decisive = _decisive(pieces)
    if not decisive:
        without = any(piece.decides for piece in pieces)
        reason = "the results lack the intervals" if without else "measured only where it does not decide"
        return reason if pieces else "no results"
    held, failed, undecided = (
        [piece for piece in decisive if piece.verdict == one]
        for one in ("holds", "does not hold", "undecided")
    )
    text = f"{len(held)} of {len(decisive)} pieces of evidence hold"
    text += f"; not {_named(failed)}" if failed else ""
    return f"{text}; undecided {_named(undecided)}" if undecided else text


def _named(pieces):
    names = [f"{piece.layer or piece.network} ({piece.quantity})" for piece in pieces]
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"{', '.join(names[:6])}{more}"
