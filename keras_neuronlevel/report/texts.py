"""What the papers say and show, in our words. "E" is the ESANN paper, "I" the longer text.

No number stands here that the two texts do not hold: the published curves are pictures.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Figure:
    """``where`` in the papers, what the ``papers`` show, what ``ours`` shows; ``alt`` stands for it."""

    title: str
    where: str
    papers: str
    ours: str
    alt: str


INTRODUCTION = (
    "Two papers watched networks train from inside single neurons. For a neuron and a sample they averaged, "
    "over training, the sign of the loss's derivative with respect to the neuron's activation. Where that "
    "average sign s is positive the activation should fall, and the sample belongs to the neuron's category "
    "'low'; where it is negative it should rise, category 'high'."
)

COMPARISON = (
    "The numbers behind the published curves are in pictures that we do not have. What is compared is the "
    "papers' wording: direction, order, symmetry, 'most', 'about half'."
)

PAPERS = (
    (
        "E",
        "S. Carbonnelle and C. De Vleeschouwer, Experimental study of the neuron-level mechanisms emerging "
        "from backpropagation, ESANN 2019",
    ),
    ("I", "its longer version, Discovering the mechanics of hidden neurons, submitted to ICLR 2018"),
)

FIGURES = {
    "training_curves": Figure(
        "Training",
        "not in the papers",
        "",
        "Accuracy after each epoch, on training images (dashed) and on test images (solid): the networks "
        "that we look into have learned the task.",
        "Line plots of training and test accuracy against the epoch, one pair of lines for each network.",
    ),
    "average_sign_one_neuron": Figure(
        "Average sign, one neuron per layer",
        "E Fig. 2; I Fig. 1",
        "For one random neuron in each of six (E) or ten (I) layers, a histogram of the recorded samples' "
        "average signs. An average of 1 or -1 means that the sign never changed in any recording. In layers "
        "close enough to the output two distinct categories are seen, about half of the samples in each.",
        "One random neuron of each layer, drawn from the run's seed and not chosen by us. Orange, left: "
        "'high'; blue, right: 'low'.",
        "Histograms of the average sign of the activation derivative between -1 and 1, one panel for a "
        "random neuron of each layer.",
    ),
    "average_sign_all_neurons": Figure(
        "Average sign, all neurons of a layer",
        "I Fig. 5",
        "The same histogram over all pairs of neuron and sample, in ten layers. Close enough to the output "
        "the two categories are distinct; farther from it signs change more often.",
        "All recorded neurons of each layer together. The table has the same in numbers: the mean over "
        "neurons, with its 95 % bootstrap interval where one was computed.",
        "Histograms of the average sign between -1 and 1 over all pairs of neuron and sample, one panel for "
        "each layer.",
    ),
    "class_consistency": Figure(
        "Consistency of class and category",
        "I Fig. 8",
        "For every neuron of dense2-relu and every class: the share of the class's samples that are in the "
        "neuron's low category. In most cases nearly the whole class is on one side: peaks at 0 and at 100 "
        "%.",
        "The same for every layer. We count a class as one-sided below 10 % or above 90 %; that limit is "
        "ours.",
        "Histograms over pairs of neuron and class of the share of the class that is in the low category, "
        "from 0 to 100 percent, one panel for each layer.",
    ),
    "dynamics": Figure(
        "Watching neurons learn",
        "E Fig. 3; I Fig. 2, 6, 7",
        "The pre-activations of a neuron's low and high samples at several moments of training. The two "
        "categories come apart, and never fully. I marks the samples of 'high' that end highest in every "
        "panel, to show that it is no mere translation.",
        "Random neurons at moments that are spread evenly in the logarithm of the recording's number; more "
        "neurons, through all snapshots, are in report.html below the claims.",
        "Rows of histograms of pre-activations, one row for each neuron and one column for each moment, low "
        "and high category in different colours.",
    ),
    "subtasks": Figure(
        "Subtask creation",
        "E Fig. 4",
        "At the end of training, a ReLU and a sigmoid neuron: low and high pre-activations beside what the "
        "activation function lets through of a derivative. Where it lets much through, the neuron separates "
        "its categories with high precision; where it cancels or shrinks derivatives, hardly.",
        "The same for neurons of each network; the linear ones, whose function lets everything through, are "
        "there for comparison.",
        "Histograms of low and high pre-activations at the end of training with the slope of the activation "
        "function drawn over them, and below them the share of 'high' in each tenth of the samples.",
    ),
    "quantization": Figure(
        "Quantization to two values per neuron",
        "I Fig. 3 and Table 1",
        "One layer at a time, each neuron's pre-activations are split at a percentile of their own and "
        "replaced by the mean of their side. Except for ResNet50's very first layer, accuracy is "
        "astonishingly robust, with a preference for higher ranks. Table 1 has the average percentile rank "
        "of pre-activation zero.",
        "Eleven ranks from 0 to 100, nothing trained anew. At 0 and at 100 all values are on one side, so "
        "that the layer says nothing. Dashed: the untouched network; dotted: the most frequent class.",
        "Line plots of test accuracy against the percentile rank of the quantization threshold, one panel "
        "for each layer, with the untouched accuracy and chance as horizontal lines.",
    ),
    "window": Figure(
        "Sliding-window binarization",
        "I Fig. 4",
        "Pre-activations inside a window of width 10 in percentile rank become 1, all others 0, and the "
        "layers after it learn to read that. The farther the window is from rank 50 the better, "
        "symmetrically on both sides, and even at 50 it is better than chance.",
        "The later layers are trained anew from such bits until held-out images stop improving; that "
        "protocol is ours, because the papers do not state theirs. Dashed: the same readout of unchanged "
        "pre-activations.",
        "Line plots of test accuracy against the centre of the window in percentile rank, one panel for "
        "each layer, with the unchanged readout and chance as horizontal lines.",
    ),
}

STAND_IN = "A stand-in was run in place of this: "

# How to read the claims.
READING = (
    "Brackets are 95 % intervals: over neurons (bootstrap), over test images, or, of several seeds, over "
    "seeds (Student's t, wide for two) together with each seed's own. A measurement holds where its whole "
    "interval is on the side of the limit that the finding wants, does not hold where all of it is on the "
    "other, and is undecided in between. Only the papers' networks on the papers' data decide a claim; what "
    "else was measured is listed with the reason. The limits are ours: the papers state their findings in "
    "words."
)

OVERVIEW = (
    "Where a network's measurements disagree, the claim holds in part. Each network has its column, also "
    "where it does not decide above."
)

# What ours shows of the windows where nothing is trained anew.
PROBED = (
    "A linear probe reads such bits in place of the later layers, as I does for ResNet50. Dashed: the same "
    "probe of unchanged pre-activations."
)
TRANSFER = (
    " These probes learn CIFAR-10, scaled up, in place of the network's own classes (transfer), because that "
    "needs no training pictures of ImageNet."
)

VIDEOS = (
    "The videos follow one neuron through all snapshots, as the papers' supplementary videos do (E §4; I "
    "§4.2)."
)
