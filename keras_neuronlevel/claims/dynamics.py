"""What the papers claim of single neurons' pre-activations through training (E §4, §5; I §4.2)."""

from keras_neuronlevel import results
from keras_neuronlevel.claims.claim import MUCH, Claim, Quantity, at, of_neurons, over
from keras_neuronlevel.claims.readers import over_neurons
from keras_neuronlevel.claims.rules import above, below
from keras_neuronlevel.results import ALL_NEGATIVE, lookup

# Above an area of 0.99 one pair of samples in a hundred is in the wrong order: as good as separated
# (judgement).
FULLY_SEPARATED = 0.99
# A translation keeps every rank: correlation 1, no change of place. Float16 snapshots and slow drift blur
# that a little; a correlation of 0.9 and five percentile ranks are well beyond the blur (judgement).
RANKS_KEPT = 0.9
RANKS_MOVED = 5

C5 = Claim(
    "C5",
    "The two categories' pre-activations come apart during training, never fully.",
    "E §4, Fig. 3, §5; I §4.2, Fig. 2, 6, 7",
    "Area under the ROC curve (AUC) of pre-activations, high against low, per neuron of the last "
    "hidden layer: last snapshot minus first, and at the last.",
    f"The difference is above 0, and the last AUC below {FULLY_SEPARATED:g}. What counts as full is a "
    "judgement.",
    (
        over(
            at("last"),
            of_neurons("AUC, last minus first snapshot", "dynamics", "change/auc", above(0)),
            of_neurons("AUC at the end", "dynamics", "auc", below(FULLY_SEPARATED), at=-1),
        ),
    ),
)


def _after_first_epoch(network, layer):
    """A reader of the rank correlation with the last snapshot of the first one after an epoch."""

    def read(networks):
        training = lookup(networks, network, "training") or {}
        total, epochs = training.get("recordings"), lookup(training, "config", "epochs")
        taken = lookup(networks, network, "layers", layer, *results.path("dynamics", "recordings")) or []
        later = [
            i for i, recording in enumerate(taken[:-1]) if total and epochs and recording >= total / epochs
        ]
        path = results.path("dynamics", "rank_correlation")
        return over_neurons(network, layer, (*path, later[0]))(networks) if later else None

    return read


def _untrained_beside(group, network, layer):
    return "shown beside the first snapshot, which is of an untrained network"


C6 = Claim(
    "C6",
    "The movement is not a translation: samples change rank.",
    "I §4.2, Fig. 6",
    "Rank correlation of a neuron's pre-activations between the first and the last snapshot; mean "
    "percentile rank of the final top tenth of 'high', last snapshot minus first.",
    f"The correlation is below {RANKS_KEPT:g}, and the top rose by more than {RANKS_MOVED:g} percentile "
    "ranks. A translation would give 1 and 0; the limits are judgements. The first snapshot is of the "
    "untrained network, so that much of this may be the first epoch's doing: the correlation of the "
    "first snapshot after it is shown beside it.",
    (
        over(
            at("last"),
            of_neurons(
                "rank correlation of first and last snapshot",
                "dynamics",
                "rank_correlation",
                below(RANKS_KEPT),
                at=0,
            ),
            of_neurons(
                "rise of the final top of 'high', percentile ranks",
                "dynamics",
                "change/top_of_high",
                above(RANKS_MOVED),
            ),
            Quantity(
                "rank correlation of the first snapshot after the first epoch and the last",
                _after_first_epoch,
                below(RANKS_KEPT),
                _untrained_beside,
            ),
        ),
    ),
)

C7 = Claim(
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
    (
        over(
            at(activation="relu", family="mlp"),
            of_neurons("accuracy, p > 0 minus p < 0", "dynamics", "subtask/difference", above(MUCH)),
            of_neurons(
                "AUC within p > 0 minus within p < 0",
                "dynamics",
                "subtask/separation_difference",
                above(MUCH),
            ),
        ),
        over(
            at(activation="sigmoid", family="mlp"),
            of_neurons(
                "accuracy, upper minus lower deciles of p",
                "dynamics",
                "subtask/all_negative/accuracy_difference",
                above(0),
            ),
            of_neurons(
                "AUC, upper minus lower half of p",
                "dynamics",
                "subtask/all_negative/separation_difference",
                above(0),
            ),
        ),
    ),
)

CLAIMS = (C5, C6, C7)
