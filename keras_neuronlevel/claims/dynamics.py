"""What the papers claim of single neurons' pre-activations through training (E §4, §5; I §4.2)."""

from keras_neuronlevel import results
from keras_neuronlevel.claims import units
from keras_neuronlevel.claims.claim import MUCH, SOME, Claim, Context, Quantity, at, of_neurons, over
from keras_neuronlevel.claims.readers import over_neurons
from keras_neuronlevel.claims.rules import above, below, effect
from keras_neuronlevel.results import ALL_NEGATIVE, lookup

# Above an area of 0.99 one pair of samples in a hundred is in the wrong order: as good as separated
# (judgement).
FULLY_SEPARATED = 0.99
# Separated, read strictly: nearer to full separation (AUC 1) than to none (0.5) (judgement).
SEPARATED = 0.75
# A translation keeps every rank: correlation 1, no change of place. Float16 snapshots and slow drift blur
# that a little; a correlation of 0.9 and five percentile ranks are well beyond the blur (judgement).
RANKS_KEPT = 0.9
RANKS_MOVED = 5

_END = "AUC at the end"
_LATER = "rank correlation of the first snapshot after the first epoch and the last"
_FINAL_TOP = "rise of the final top of 'high', percentile ranks"
_INITIAL_TOP = "rise of the initial top of 'high', percentile ranks"

C5 = Claim(
    "C5",
    "The two categories come apart in training, never fully",
    "The two categories' pre-activations come apart during training, never fully.",
    "E §4, Fig. 3, §5; I §4.2, Fig. 2, 6, 7",
    "Area under the ROC curve (AUC) of pre-activations, high against low, per neuron of the last "
    "hidden layer, of those drawn at random for snapshots: last snapshot minus first, and at the last.",
    f"The difference is above 0 (no more than {SOME:g} is none), and the last AUC is "
    f"below {FULLY_SEPARATED:g}: what counts as full is a judgement. Read strictly ('being separated'), the "
    f"last AUC is above {SEPARATED:g}, nearer to full separation than to none (judgement).",
    "AUC, last minus first snapshot",
    "AUC {} in training",
    "+.2f",
    (
        over(
            at("last"),
            of_neurons(
                "AUC, last minus first snapshot",
                "dynamics",
                "change/auc",
                effect(SOME),
                unit=units.AUC_DIFFERENCE,
            ),
            of_neurons(_END, "dynamics", "auc", below(FULLY_SEPARATED), unit=units.AUC, at=-1),
            of_neurons(
                f"{_END}: separated", "dynamics", "auc", above(SEPARATED), unit=units.AUC, at=-1, wording=True
            ),
        ),
    ),
    (Context("It ends at {}.", (_END,), ".2f"),),
    figure="dynamics",
)


def _snapshot_after_an_epoch(networks, network, layer):
    """(place among the snapshots, number of its recording) of the first one after an epoch, or None."""
    training = lookup(networks, network, "training") or {}
    total, epochs = training.get("recordings"), lookup(training, "config", "epochs")
    taken = lookup(networks, network, "layers", layer, *results.path("dynamics", "recordings")) or []
    later = [
        (i, recording)
        for i, recording in enumerate(taken[:-1])
        if total and epochs and recording >= total / epochs
    ]
    return later[0] if later else None


def _after_first_epoch(network, layer):
    """A reader of the rank correlation with the last snapshot of the first one after an epoch."""

    def read(networks):
        found = _snapshot_after_an_epoch(networks, network, layer)
        if found is None:
            return None
        path = results.path("dynamics", "rank_correlation")
        return over_neurons(network, layer, (*path, found[0]), units.CORRELATION.scale)(networks)

    return read


def _which_snapshot(group, network, layer):
    """Which recording that is, where seeds differ in it, or ""."""
    found = {
        result["seed"]: _snapshot_after_an_epoch(result["networks"], network, layer)
        for result in group.results
    }
    taken = {seed: place[1] for seed, place in found.items() if place}
    if len(set(taken.values())) < 2:
        return ""
    return "recordings " + ", ".join(f"{recording} of seed {seed}" for seed, recording in taken.items())


def _says_the_same(group, network, layer):
    return "says no more than the correlation: whatever loses rank order pulls a top towards the middle"


C6 = Claim(
    "C6",
    "Samples change rank: the movement is no translation",
    "The movement is not a translation: samples change rank.",
    "I Fig. 6",
    "Rank correlation of a neuron's pre-activations between the first and the last snapshot, and of the "
    "first snapshot after the first epoch and the last; beside it the mean percentile rank of the final "
    "top tenth of 'high', last snapshot minus first, and where the *initial* top tenth ends, last minus "
    "first.",
    f"The correlation of first and last snapshot is below {RANKS_KEPT:g}; a translation would give 1. Read "
    "strictly, that of the first snapshot after an epoch and the last is below it, too, because the "
    "first snapshot is of the untrained network. The limit is a judgement. The rise of the final top and "
    f"the fall of the initial one by more than {RANKS_MOVED:g} percentile ranks are shown and decide "
    "nothing: any correlation below 1 gives both.",
    "rank correlation of first and last snapshot",
    "rank correlation {} between start and end",
    ".2f",
    (
        over(
            at("last"),
            of_neurons(
                "rank correlation of first and last snapshot",
                "dynamics",
                "rank_correlation",
                below(RANKS_KEPT),
                unit=units.CORRELATION,
                at=0,
            ),
            Quantity(
                _LATER,
                units.CORRELATION,
                _after_first_epoch,
                below(RANKS_KEPT),
                wording=True,
                note=_which_snapshot,
            ),
            of_neurons(
                _FINAL_TOP,
                "dynamics",
                "change/top_of_high",
                above(RANKS_MOVED),
                unit=units.RANK_DIFFERENCE,
                excluded=_says_the_same,
            ),
            of_neurons(
                _INITIAL_TOP,
                "dynamics",
                "change/initial_top_of_high",
                below(-RANKS_MOVED),
                unit=units.RANK_DIFFERENCE,
                excluded=_says_the_same,
            ),
        ),
    ),
    (
        Context("Of the first snapshot after the first epoch and the last it is {}.", (_LATER,)),
        Context(
            "In percentile ranks, the tenth of 'high' that ends on top has risen by {}.",
            (_FINAL_TOP,),
            "+.0f",
        ),
        Context("The tenth that was on top has moved by {}.", (_INITIAL_TOP,), "+.0f"),
    ),
    figure="dynamics",
)


def _difference(words, name, rule, wording=False):
    separation = name.endswith("separation_difference")
    unit = units.AUC_DIFFERENCE if separation else units.ACCURACY_DIFFERENCE
    return of_neurons(words, "dynamics", f"subtask/{name}", rule, unit=unit, wording=wording)


_RELU = "accuracy, p > 0 minus p < 0"
_RELU_AUC = "AUC within p > 0 minus within p < 0"
_SIGMOID, _SIGMOID_AUC = "accuracy, upper minus lower deciles of p", "AUC, upper minus lower half of p"

C7 = Claim(
    "C7",
    "Neurons separate best where the activation function lets derivatives through",
    "At the end a ReLU neuron separates the samples with p > 0 far better than those with p < 0; a "
    "sigmoid neuron with all p negative separates the better, the higher p.",
    "E §5, Fig. 4",
    "ReLU: accuracy of 'p > 0 is high' minus that of 'p < 0 is low', and AUC within p > 0 minus within "
    f"p < 0. Sigmoid, neurons with at most {ALL_NEGATIVE:.0%} of p > 0: share of the more frequent "
    "category in the five upper minus the five lower deciles of p, and AUC within the upper minus "
    "within the lower half. Paired, per neuron. The figure draws the accuracy by decile.",
    f"All differences are above 0 (no more than {SOME:g} is none). Read strictly "
    f"('with much higher accuracy'), those of ReLU exceed {MUCH:g}. The paper shows one neuron of each; "
    "that the mean over neurons should show it, and the limits, are judgements. A neuron counts in a "
    "difference where each side has enough samples; a layer without such neurons is not asked, and of few "
    "neurons an interval is too narrow.",
    _RELU,
    "accuracy {} for p > 0 over p < 0 (ReLU)",
    "+.2f",
    (
        over(
            at(activation="relu", family="mlp"),
            _difference(_RELU, "difference", effect(SOME)),
            _difference(_RELU_AUC, "separation_difference", effect(SOME)),
            _difference(f"{_RELU}: much", "difference", above(MUCH), wording=True),
            _difference(f"{_RELU_AUC}: much", "separation_difference", above(MUCH), wording=True),
        ),
        over(
            at(activation="sigmoid", family="mlp"),
            _difference(_SIGMOID, "all_negative/accuracy_difference", effect(SOME)),
            _difference(_SIGMOID_AUC, "all_negative/separation_difference", effect(SOME)),
        ),
    ),
    (
        Context("The area under the ROC curve within p > 0 minus that within p < 0 is {}.", (_RELU_AUC,)),
        Context(
            "Of sigmoid neurons nearly all of whose p are negative, the upper deciles of p are more accurate "
            "by {}, and the area within the upper half is greater by {}.",
            (_SIGMOID, _SIGMOID_AUC),
        ),
    ),
    figure="subtasks",
)

CLAIMS = (C5, C6, C7)
