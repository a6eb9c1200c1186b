"""What the claims are held against: limits in numbers, and for every claim the evidence that a group holds.

The limits were taken from the papers' words ("most", "about half", "far better"). Where the words leave the
number open, the comment beside it says what it means, and that it is a judgement: ours, not the papers'.
"""

import itertools

from keras_neuronlevel import evidence as of
from keras_neuronlevel.measures import NEAR_HALF
from keras_neuronlevel.statistics import curves

# "Most" and "in most cases" are more than half: the papers' words, not a judgement.
MOST = 0.5
# With a tenth of a scale from 0 to 1 a difference can be seen in a histogram, which is what the papers
# looked at when they wrote "much clearer" and "much higher accuracy" (judgement).
MUCH = 0.1
# Half of the pairs at -1 and 1 and the other half spread evenly between them: the bimodality coefficient
# of a histogram whose two peaks are clear and hold just "most" of the pairs is 20/27 (judgement).
CLEARLY_BIMODAL = 20 / 27
# Above an area of 0.99 one pair of samples in a hundred is in the wrong order: as good as separated
# (judgement).
FULLY_SEPARATED = 0.99
# A translation keeps every rank: correlation 1, no change of place. Float16 snapshots and slow drift blur
# that a little; a correlation of 0.9 and five percentile ranks are well beyond the blur (judgement).
RANKS_KEPT = 0.9
RANKS_MOVED = 5
# If the classes fell evenly between 0 and 100 %, a tenth of them would be in each tenth: a peak is more.
EVEN = 0.1
# "Astonishingly robust": nine tenths of the accuracy above chance remain at the best threshold, and more
# than half on average over the thresholds from rank 10 to 90 (judgement).
ROBUST = 0.9
ROBUST_ANYWHERE = 0.5
# Symmetric: the ends differ by less than half of what they are above the middle, so that the lower one, too,
# keeps three quarters of that (judgement).
SYMMETRIC = 0.5
# Within ten ranks of 50, one window's width, zero would be in the middle window or beside it (judgement).
AWAY_FROM_HALF = 10

# Layers, by the part of their names before the activation, of which the papers' texts and figures speak.
_CIFAR = ("cifar10_cnn", "cifar10_cnn_norm_first", "cifar10_resnet")
CONVOLUTIONAL = dict.fromkeys(_CIFAR, ("stage0layer0", "stage2layer2", "stage3layer2"))
NEAR_OUTPUT = {"mnist_mlp": ("dense1", "dense2"), **dict.fromkeys(_CIFAR, ("stage3layer2",))}
SHOWN = {"mnist_mlp": ("dense1", "dense2"), **CONVOLUTIONAL}
LAST = {"mnist_mlp": ("dense2",), **dict.fromkeys(_CIFAR, ("stage3layer2",))}

# What the papers state (E §2, I §3).
PAPERS_RECORDINGS = {"mnist_mlp": 2350, "cifar10_cnn": 1600}

# Of the pairs that were nonzero in half of the recordings or more: a pair below max-pooling that was nonzero
# once has abs(s) = 1 for certain, which says nothing of constancy.
_MEAN_ABS = ("derivatives", "often_nonzero", "mean_abs")
_BEST = "accuracy kept at the best rank"

# One function a claim: a group of results -> list of Evidence ----------------------------------------


def _c1(group, network=""):
    found = []
    for label, layer in group.layers(NEAR_OUTPUT.get(group.experiment, ()), network):
        often = ("share of abs(s) > 0.9", ("derivatives", "above_0.9_share"), of.above(MOST))
        always = ("share of abs(s) = 1", ("derivatives", "constant_share"), of.above(MOST))
        found += _spreads(group, [(label, layer)], often)
        found += _spreads(group, [(label, layer)], always, against=_few_recordings(group, label))
    return found


def _few_recordings(group, label):
    """Why abs(s) = 1 does not decide, or "": a sign that may change has fewer occasions to."""
    papers = PAPERS_RECORDINGS.get(group.experiment, 0)
    numbers = [of.lookup(result["networks"], label, "training", "recordings") for result in group.results]
    least = min((number for number in numbers if number), default=None)
    if least is None:
        return "" if group.preset == "paper" else "number of recordings not known"
    return (
        ""
        if least >= papers
        else f"of {least} recordings, and more, as the papers' {papers}, make it smaller"
    )


def _c2(group):
    near = of.inside(0.5 - NEAR_HALF, 0.5 + NEAR_HALF)
    decisive = NEAR_OUTPUT.get(group.experiment, ())
    return [
        piece
        for label, layer in group.layers(SHOWN.get(group.experiment, ()))
        for piece in _spreads(
            group,
            [(label, layer)],
            ("low share", ("derivatives", "low_share"), near),
            ("share of neurons near half", ("derivatives", "low_share_near_half"), of.above(MOST)),
            against="" if of.base(layer) in decisive else "not near the output, of which the papers say it",
        )
    ]


def _c3(group):
    found = []
    shown = SHOWN.get(group.experiment, ())
    against = "" if group.experiment in CONVOLUTIONAL else "the papers say it of the CNN"
    for label in group.labels():
        names = [f"{name}-{_activation(label)}" for name in shown]
        for early, late in itertools.pairwise(names):
            read = of.difference(*(of.spread(label, name, *_MEAN_ABS) for name in (late, early)))
            quantity = f"mean abs(s), {late} minus {early}"
            found += of.judge(group, label, None, quantity, read, of.above(0), against=against)
    first = group.layers(("stage0layer0",), "-relu")
    up_to = ("share of abs(s) up to 0.5", ("derivatives", "up_to_0.5_share"), of.above(MOST))
    return found + _spreads(group, first, up_to)


def _c4(group):
    found = []
    linear = group.layers(CONVOLUTIONAL.get(group.experiment, ()), "-linear")
    for label, layer in linear:
        other = label.removesuffix("linear") + "relu"
        read = of.difference(
            of.spread(label, layer, *_MEAN_ABS), of.spread(other, f"{of.base(layer)}-relu", *_MEAN_ABS)
        )
        quantity = f"mean abs(s), minus that of {other}"
        found += of.judge(group, label, layer, quantity, read, of.above(MUCH))
    first = [(label, layer) for label, layer in linear if of.base(layer) == "stage0layer0"]
    clear = ("bimodality coefficient", ("derivatives", "bimodality"), of.below(CLEARLY_BIMODAL))
    return found + _spreads(group, first, clear)


def _c5(group):
    return _spreads(
        group,
        group.layers(LAST.get(group.experiment, ())),
        ("AUC, last minus first snapshot", ("dynamics", "change", "auc"), of.above(0)),
        ("AUC at the end", ("dynamics", "auc", -1), of.below(FULLY_SEPARATED)),
    )


def _c6(group):
    kept, moved = of.below(RANKS_KEPT), of.above(RANKS_MOVED)
    found = []
    for label, layer in group.layers(LAST.get(group.experiment, ())):
        found += _spreads(
            group,
            [(label, layer)],
            ("rank correlation of first and last snapshot", ("dynamics", "rank_correlation", 0), kept),
            (
                "rise of the final top of 'high', percentile ranks",
                ("dynamics", "change", "top_of_high"),
                moved,
            ),
        )
        quantity = "rank correlation of the first snapshot after the first epoch and the last"
        read = _after_first_epoch(label, layer)
        against = "shown beside the first snapshot, which is of an untrained network"
        found += of.judge(group, label, layer, quantity, read, kept, against=against)
    return found


def _after_first_epoch(label, layer):
    """A reader of the rank correlation with the last snapshot of the first one after an epoch."""

    def read(networks):
        training = of.lookup(networks, label, "training") or {}
        total, epochs = training.get("recordings"), of.lookup(training, "config", "epochs")
        taken = of.lookup(networks, label, "layers", layer, "dynamics", "recordings") or []
        later = [
            i for i, recording in enumerate(taken[:-1]) if total and epochs and recording >= total / epochs
        ]
        return of.spread(label, layer, "dynamics", "rank_correlation", later[0])(networks) if later else None

    return read


def _c7(group):
    if group.experiment != "mnist_mlp":
        return []
    subtask = ("dynamics", "subtask")
    negative = (*subtask, "all_negative")
    relu = (
        ("accuracy, p > 0 minus p < 0", (*subtask, "difference"), of.above(MUCH)),
        ("AUC within p > 0 minus within p < 0", (*subtask, "separation_difference"), of.above(MUCH)),
    )
    sigmoid = (
        ("accuracy, upper minus lower deciles of p", (*negative, "accuracy_difference"), of.above(0)),
        ("AUC, upper minus lower half of p", (*negative, "separation_difference"), of.above(0)),
    )
    return [
        *_spreads(group, group.layers(None, "-relu"), *relu),
        *_spreads(group, group.layers(None, "-sigmoid"), *sigmoid),
    ]


def _c8(group):
    layers = group.layers(("dense2",), "-relu") if group.experiment == "mnist_mlp" else []
    classes = ("derivatives", "class_consistency")
    return _spreads(
        group,
        layers,
        ("share of classes below 10 % or above 90 % low", (*classes, "one_sided"), of.above(MOST)),
        ("share below 10 %", (*classes, "peaks", "low"), of.above(EVEN)),
        ("share above 90 %", (*classes, "peaks", "high"), of.above(EVEN)),
    )


def _c9(group):
    conv1, others = [], []
    for label, layer in group.layers(None):
        is_conv1 = label.startswith("resnet50") and layer.startswith("conv1")
        (conv1 if is_conv1 else others).append((label, layer))
    return [
        *_quantized(group, others),
        *_curves(
            group,
            others,
            "quantization",
            ("preference for high ranks", curves.preference_for_high_ranks, of.above(0)),
        ),
        *_curves(group, conv1, "quantization", (_BEST, curves.best_kept, of.below(ROBUST))),
    ]


def _c10(group, network=""):
    def symmetry(curve):
        return curves.symmetry_margin(curve, SYMMETRIC)

    def left(curve):
        return curves.gain_with_distance(curve, "left")

    def right(curve):
        return curves.gain_with_distance(curve, "right")

    return _curves(
        group,
        group.layers(None, network),
        "window",
        ("accuracy won for 10 ranks below 50", left, of.above(0)),
        ("accuracy won for 10 ranks above 50", right, of.above(0)),
        ("half of the depth minus left-right difference", symmetry, of.above(0)),
        ("middle minus chance", curves.margin_over_chance, of.above(0)),
    )


def _c11(group):
    found = []
    for label, layer in group.layers(None):
        if _activation(layer) == "linear":
            continue
        read = of.of_curve(
            label, layer, "quantization", curves.zero_rank, ("zero_rank", "neurons"), "neurons"
        )
        rule = of.outside(50 - AWAY_FROM_HALF, 50 + AWAY_FROM_HALF)
        found += of.judge(group, label, layer, "percentile rank of zero", read, rule)
    return found


def _c12(group):
    linear = group.layers(None, "-linear")
    return [*_c1(group, "-linear"), *_quantized(group, linear), *_c10(group, "-linear")]


def _activation(name):
    return name.rsplit("-", 1)[-1]


def _spreads(group, layers, *quantities, against=""):
    """Evidence from spreads over neurons; a quantity is (words, path to the spread, rule)."""
    return [
        piece
        for label, layer in layers
        for quantity, path, rule in quantities
        for piece in of.judge(
            group, label, layer, quantity, of.spread(label, layer, *path), rule, against=against
        )
    ]


def _curves(group, layers, kind, *quantities):
    """Evidence from curves; a quantity is (words, function of the curve, rule)."""
    return [
        piece
        for label, layer in layers
        for quantity, function, rule in quantities
        for piece in of.judge(
            group,
            label,
            layer,
            quantity,
            of.of_curve(label, layer, kind, function),
            rule,
            "" if _converged(group, label, layer, kind) else "not every readout converged",
        )
    ]


def _converged(group, label, layer, kind):
    found = [of.lookup(r["networks"], label, "layers", layer, kind, "converged") for r in group.results]
    return False not in found


def _quantized(group, layers):
    return _curves(
        group,
        layers,
        "quantization",
        (_BEST, curves.best_kept, of.above(ROBUST)),
        ("accuracy kept on average over ranks", curves.area_kept, of.above(ROBUST_ANYWHERE)),
    )


EVIDENCE = {
    "C1": _c1,
    "C2": _c2,
    "C3": _c3,
    "C4": _c4,
    "C5": _c5,
    "C6": _c6,
    "C7": _c7,
    "C8": _c8,
    "C9": _c9,
    "C10": _c10,
    "C11": _c11,
    "C12": _c12,
}
