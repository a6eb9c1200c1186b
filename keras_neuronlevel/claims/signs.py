"""What the papers claim of the signs of activation derivatives (E §3; I §4.1, Fig. 8)."""

import itertools

from keras_neuronlevel import papers, results
from keras_neuronlevel.claims import units
from keras_neuronlevel.claims.claim import MOST, MUCH, SOME, Claim, Context, Quantity, at, of_neurons, over
from keras_neuronlevel.claims.evidence import Group, judge
from keras_neuronlevel.claims.readers import difference, over_neurons
from keras_neuronlevel.claims.rules import above, below, effect, inside
from keras_neuronlevel.results import NEAR_HALF, lookup

# Half of the pairs at -1 and 1 and the other half spread evenly between them: the bimodality coefficient
# of a histogram whose two peaks are clear and hold just "most" of the pairs is 20/27 (judgement).
CLEARLY_BIMODAL = 20 / 27
# If the classes fell evenly between 0 and 100 %, a tenth of them would be in each tenth: a peak is more.
EVEN = 0.1


# C1 ---------------------------------------------------------------------------------------------------


def few_recordings(group: Group, label: str, layer: str) -> str:
    """Why abs(s) = 1 does not decide, or "": a sign that may change has fewer occasions to."""
    stated = papers.EXPERIMENTS[group.experiment].recordings
    numbers = [lookup(result["networks"], label, "training", "recordings") for result in group.results]
    fewest = min((number for number in numbers if number), default=None)
    if fewest is None:
        return "number of recordings not known"
    if fewest >= stated:
        return ""
    return f"of {fewest} recordings, and more, as the papers' {stated}, make it smaller"


CONSTANCY = (
    of_neurons("share of abs(s) > 0.9", "derivatives", "above_0.9_share", above(MOST)),
    of_neurons(
        "share of abs(s) = 1",
        "derivatives",
        "constant_share",
        above(MOST),
        wording=True,
        excluded=few_recordings,
    ),
)


def _of_another_loss(group, label, layer):
    return "of the clipped loss, told beside the claim"


def _as_of_other_neurons(group, label, layer):
    return "the interval takes both as of independent neurons, which are the same"


# What Keras made of the same training at the papers' time, where it clipped probabilities: by number and by
# what becomes of zeros.
_ZEROS = {"left_out": "zeros left out", "counted": "zeros counted"}
_SHARES = {"constant_share": "share of abs(s) = 1", "above_0.9_share": "share of abs(s) > 0.9"}
_CLIPPED = {
    (share, zeros): f"{words}, clipped loss, {zeros_words}"
    for share, words in _SHARES.items()
    for zeros, zeros_words in _ZEROS.items()
}
_MOVED = {
    (share, zeros): f"{words}, clipped minus today's loss, {zeros_words}"
    for share, words in _SHARES.items()
    for zeros, zeros_words in _ZEROS.items()
}


def _clipped_minus_todays(share, zeros):
    """A reader of what the clipped loss makes of a share, in the training that recorded both.

    Their neurons are the same, but files keep the means alone: the interval is that of independent ones.
    """
    clipped, todays = results.path("clipped", f"{zeros}/{share}"), results.path("derivatives", share)

    def read(network, layer):
        return difference(over_neurons(network, layer, clipped), over_neurons(network, layer, todays))

    return read


C1 = Claim(
    "C1",
    "Near the output, derivative signs hardly change in training",
    "Near the output the average sign is 1 or -1 for most samples.",
    "E §3, Fig. 2; I Fig. 1, 5",
    "Share of the (sample, neuron) pairs with abs(s) > 0.9, and with abs(s) = 1; mean over neurons. "
    "MNIST: both layers; CNN: stage3layer2.",
    f"The share with abs(s) > 0.9 exceeds {MOST:g} in every layer: that this is near enough to 1 or -1 is a "
    f"judgement. Read strictly, abs(s) = 1 exceeds {MOST:g}; it counts where there are as many recordings as "
    "in the papers, because fewer leave a sign fewer occasions to change.",
    "share of abs(s) > 0.9",
    "{} of pairs have abs(s) > 0.9",
    ".0%",
    (
        over(at("near output"), *CONSTANCY),
        over(
            at("near output"),
            *(
                of_neurons(
                    words,
                    "clipped",
                    f"{zeros}/{share}",
                    above(MOST),
                    wording=share == "constant_share",
                    excluded=_of_another_loss,
                )
                for (share, zeros), words in _CLIPPED.items()
            ),
            *(
                Quantity(
                    words,
                    units.DIFFERENCE,
                    _clipped_minus_todays(share, zeros),
                    effect(SOME),
                    wording=share == "constant_share",
                    excluded=_of_another_loss,
                    note=_as_of_other_neurons,
                )
                for (share, zeros), words in _MOVED.items()
            ),
        ),
    ),
    (
        Context("In {} of pairs the sign never changed, abs(s) = 1.", ("share of abs(s) = 1",)),
        Context(
            "The Keras of the papers' time took its loss from probabilities clipped at 1e-7, so that a "
            "sample that is classified with confidence has a derivative of exactly zero. Recorded so in the "
            "same training, that share differs by {} with zeros left out, by {} with zeros counted, and that "
            "of abs(s) > 0.9 by {} and by {}.",
            tuple(_MOVED.values()),
            "+z.2f",
        ),
    ),
    figure="signs",
)

# C2 ---------------------------------------------------------------------------------------------------


def _far_from_output(group, label, layer):
    near = group.has_role(label, layer, "near output")
    return "" if near else "not near the output, of which the papers say it"


C2 = Claim(
    "C2",
    "About half of a neuron's samples are low, half high",
    "About half of a neuron's samples are low, half high.",
    "E §3; I Fig. 5",
    f"Low share of each neuron: its mean, and the share of neurons between {0.5 - NEAR_HALF:g} and "
    f"{0.5 + NEAR_HALF:g}.",
    f"The mean is between {0.5 - NEAR_HALF:g} and {0.5 + NEAR_HALF:g} in every layer near the output (C1), "
    f"of which the papers say it; others are shown. Read strictly, more than {MOST:g} of the neurons are "
    "there, too. The width is a judgement.",
    "low share",
    "{} of a neuron's samples are low",
    ".0%",
    (
        over(
            at("shown"),
            of_neurons(
                "low share",
                "derivatives",
                "low_share",
                inside(0.5 - NEAR_HALF, 0.5 + NEAR_HALF),
                excluded=_far_from_output,
            ),
            of_neurons(
                "share of neurons near half",
                "derivatives",
                "low_share_near_half",
                above(MOST),
                wording=True,
                excluded=_far_from_output,
            ),
        ),
    ),
    figure="signs",
)

# C3, C4 -----------------------------------------------------------------------------------------------

# Of the pairs that were nonzero in half of the recordings or more: a pair below max-pooling that was nonzero
# once has abs(s) = 1 for certain, which says nothing of constancy.
_LATER = "mean abs(s), minus that of the shown layer before"
_CLEARER = "mean abs(s), minus that of the ReLU network"
_MEAN_ABS = results.path("derivatives", "often_nonzero/mean_abs")


def _later_minus_earlier(group):
    """Of neighbouring shown layers of every network."""
    found = []
    for label, network in group.networks.items():
        excluded = "" if network["family"] == "cnn" else "the papers say it of the CNN"
        for early, late in itertools.pairwise(network["roles"].get("shown", ())):
            read = difference(over_neurons(label, late, _MEAN_ABS), over_neurons(label, early, _MEAN_ABS))
            note = f"{late} minus {early}"
            found += judge(
                group, label, late, _LATER, units.DIFFERENCE, read, effect(SOME), note=note, excluded=excluded
            )
    return found


C3 = Claim(
    "C3",
    "Signs change more, the farther from the output",
    "Signs change more the farther a layer is from the output; in stage0layer0-relu most signs change again "
    "and again.",
    "I §4.1, Fig. 1, 5",
    "Mean abs(s) of a layer minus that of the next shown layer before it, over the pairs whose "
    "derivative was nonzero in at least half of the recordings (below max-pooling most are zero, and "
    "abs(s) of a pair that was nonzero once is 1 for certain); for stage0layer0-relu the share of pairs "
    "with abs(s) up to 0.5.",
    f"Every difference within a CNN is above 0 (no more than {SOME:g} is none; of the MLP the papers do not "
    "say it: it is shown, and does not decide). Read strictly, in "
    f"stage0layer0-relu the share exceeds {MOST:g}: abs(s) up to 0.5 means that the rarer sign came up in a "
    "quarter of the recordings or more. Both limits are judgements.",
    _LATER,
    "mean abs(s) {} from shown layer to shown layer",
    "+.2f",
    (
        _later_minus_earlier,
        over(
            at("first", activation="relu"),
            of_neurons(
                "share of abs(s) up to 0.5", "derivatives", "up_to_0.5_share", above(MOST), wording=True
            ),
        ),
    ),
    figure="signs",
)


def _linear_minus_relu(group):
    """Of every shown layer of a linear CNN and of the ReLU network's layer at the same place."""
    found = []
    relu = [label for label, network in group.networks.items() if network["activation"] == "relu"]
    for label, layer in group.layers("shown", activation="linear", family="cnn"):
        place = group.networks[label]["roles"]["shown"].index(layer)
        for other in relu[:1]:
            same = group.networks[other]["roles"]["shown"][place]
            read = difference(over_neurons(label, layer, _MEAN_ABS), over_neurons(other, same, _MEAN_ABS))
            found += judge(group, label, layer, _CLEARER, units.DIFFERENCE, read, effect(SOME))
            much = f"{_CLEARER}: much"
            found += judge(group, label, layer, much, units.DIFFERENCE, read, above(MUCH), wording=True)
    return found


C4 = Claim(
    "C4",
    "The linear CNN's signs are clearer than the ReLU CNN's",
    "The linear CNN has a much clearer signal than the ReLU one, yet stage0layer0-linear is not "
    "clearly bimodal.",
    "I §4.1, Fig. 1, 5",
    "Mean abs(s), as for C3, of the linear minus that of the ReLU network, layer by layer; bimodality "
    "coefficient of stage0layer0-linear, mean over neurons.",
    f"The differences are above 0 (no more than {SOME:g} is none), and the "
    f"coefficient is below {CLEARLY_BIMODAL:.3f}, which a histogram has with half of the pairs at the ends "
    f"and half spread evenly. For a signal that is much clearer, the differences exceed {MUCH:g}. The "
    "limits are judgements.",
    _CLEARER,
    "mean abs(s) {} over that of the ReLU network's layer",
    "+.2f",
    (
        _linear_minus_relu,
        over(
            at("first", activation="linear"),
            of_neurons(
                "bimodality coefficient",
                "derivatives",
                "bimodality",
                below(CLEARLY_BIMODAL),
                unit=units.BIMODALITY,
            ),
        ),
    ),
    figure="signs",
)

# C8 ---------------------------------------------------------------------------------------------------

C8 = Claim(
    "C8",
    "Nearly all samples of a class share a category",
    "Nearly all samples of a class are in the same category in most cases: peaks at 0 and 100 %.",
    "I Fig. 8",
    "dense2-relu: share of the (neuron, class) pairs with less than 10 % or more than 90 % of the "
    "class's samples in the low category; and each of the two alone.",
    f"Each end has more than the {EVEN:g} that an even histogram would put there. Read strictly ('in most "
    f"cases'), the share exceeds {MOST:g}. That 'nearly all' begins at 90 % is a judgement.",
    "share of classes below 10 % or above 90 % low",
    "{} of (neuron, class) pairs beyond 10 or 90 %",
    ".0%",
    (
        over(
            at("last", activation="relu", family="mlp"),
            of_neurons(
                "share of classes below 10 % or above 90 % low",
                "derivatives",
                "class_consistency/one_sided",
                above(MOST),
                wording=True,
            ),
            of_neurons("share below 10 %", "derivatives", "class_consistency/peaks/low", above(EVEN)),
            of_neurons("share above 90 %", "derivatives", "class_consistency/peaks/high", above(EVEN)),
        ),
    ),
    figure="class_consistency",
)

CLAIMS = (C1, C2, C3, C4, C8)
