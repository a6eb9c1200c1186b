"""What the papers say and show, and what a reader must know of our runs. "E" is the ESANN paper, "I" the
longer text.

No number stands here that the two texts do not hold (the published curves are pictures), and what stands
between quotation marks stands in one of them.
"""

import dataclasses
from collections.abc import Callable

from keras_neuronlevel.results import tables


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure of the papers: ``where`` it is, what the ``papers`` say, how ``ours`` differs, ``alt`` to
    stand for the picture, and the tables with its ``numbers``. Claims name their figure."""

    title: str
    where: str
    papers: str
    ours: str
    alt: str
    numbers: tuple[Callable, ...] = ()


PAPERS = (
    (
        "E",
        "S. Carbonnelle and C. De Vleeschouwer, Experimental study of the neuron-level mechanisms emerging "
        "from backpropagation, ESANN 2019",
    ),
    ("I", "its longer version, Discovering the mechanics of hidden neurons, submitted to ICLR 2018"),
)

SCOPE = (
    "Two papers watched networks train from inside single neurons: the sign of ∂L/∂activation of each "
    "sample, averaged over training, and what becomes of a network whose layer keeps two values per "
    "neuron. Their findings are held against criteria in numbers, on the papers' networks: an MLP on "
    "MNIST and a CNN on CIFAR-10. In place of their third, ResNet50 on ImageNet, stand-ins were run."
)
METHOD = (
    "Written from the texts, of the longer one from its captions and a summary: what only the summary says "
    "is not quoted, and its wording not checked. We know of no code of theirs for it. What they leave open "
    "of the CNN (filters, order of layers) follows later public code of the same authors; batch size, "
    "epochs and optimizer are ours, so that its scale is the papers' as far as they state it. Criteria and "
    "limits stand in the code as data. They were fixed before any number of CIFAR-10 at that scale was "
    "looked at, while those of MNIST at the papers' scale and of CIFAR-10 at a reduced one were known; what "
    "was corrected since is in the change log. Only the papers' networks on the papers' data at the papers' "
    "scale decide; a reduced scale, networks of ours and stand-ins stand in columns of their own."
)
COMPARISON = (
    "The numbers behind the published curves are in pictures that we do not have, so what is compared is "
    "wording: direction, order, symmetry, how often."
)
EASY = (
    "The MNIST experiments: the text states the architecture, the learning rates and the number of "
    "recordings, and the three activation functions train in minutes on two cores. All neurons can be "
    "recorded: their counters fit in the memory of today's machines, and do not grow in training."
)
DIFFICULT = (
    "What the texts leave open: batch size and optimizer of the CNN, the order of its batch normalization, "
    "how the layers after a window were retrained. Readouts of windows converge slowly. Keras' ResNet50 "
    "weights were not at hand, so ImageNet is measured on stand-ins, which decide nothing."
)
STRIP = (
    "Four panels: average signs of one neuron, its two categories before and after training, accuracy kept "
    "with two values per neuron, accuracy kept with one window of pre-activations"
)

SMALLER = (
    "Where a network's run at the papers' scale kept no such histogram, that of a smaller run is drawn, "
    "tinted: the number at the papers' scale stands below its own, and may differ much."
)
OWN = "What the runs at the papers' scale drew themselves:"

FIGURES = {
    "signs": Figure(
        "Average sign of the derivative",
        "E Fig. 2; I Fig. 1",
        "The sign is “either 1 or -1 for most of the samples”, “around half of the activations” on each "
        "side, in “layers close enough to the output”.",
        "A neuron of a convolution has a sample at every position. Below max-pooling many derivatives are 0: "
        "of a pair that was nonzero once, abs(s) is 1 for certain, and of one that was nonzero a few times s "
        "has few values, of which 0 stands out.",
        "Histograms of the average sign between -1 and 1, rows are networks, columns layers.",
        (tables.signs, tables.clipped),
    ),
    "average_sign_all_neurons": Figure(
        "Average sign of the derivative, all neurons",
        "I Fig. 5",
        "The same, over all “(neuron, sample) pairs of the layer”.",
        f"What we find is above, at C1 to C4. {SMALLER}",
        "Histograms of the average sign of all pairs of a layer, rows are networks, columns layers.",
    ),
    "dynamics": Figure(
        "Watching neurons learn",
        "E Fig. 3; I Fig. 2, 6, 7",
        "“Both categories are being separated during the training procedure”, and it “is not a simple "
        "translation”.",
        "",
        "Histograms of pre-activations of the low and the high category at five moments, rows are networks.",
        (tables.dynamics,),
    ),
    "subtasks": Figure(
        "Subtask creation",
        "E Fig. 4",
        "Samples with positive pre-activations are classified “with much higher accuracy than samples with "
        "negative pre-activations”, and sigmoid neurons behave alike “when all pre-activations are "
        "negative”.",
        "",
        "Accuracy by tenth of the pre-activations, and a neuron of each activation function at the end.",
        (tables.subtasks,),
    ),
    "class_consistency": Figure(
        "Consistency of class and category",
        "I Fig. 8",
        "“In most cases, nearly all the elements of a class are in the same category, as can be seen by "
        "the two peaks at 0 and 100%.”",
        "The papers show dense2-relu, here are further layers; over all (neuron, class) pairs of one seed. "
        f"{SMALLER}",
        "Histograms over pairs of neuron and class of the share of the class that is low.",
        (tables.consistency,),
    ),
    "quantization": Figure(
        "Quantization to two values per neuron",
        "I Fig. 3, Table 1",
        "“Except for conv1”, “the networks are astonishingly robust to quantization, suggesting that "
        "neurons provide a binary signal to the next layers.”",
        "",
        "Accuracy kept against the percentile rank of the threshold, rows are networks.",
        (tables.quantization, tables.zero_rank),
    ),
    "window": Figure(
        "Sliding-window binarization",
        "I Fig. 4",
        "“The results show a clear pattern across all layers and networks that confirms an encoding based "
        "on a fuzzy, binary partition of the inputs in two categories of nearly equal size.”",
        "How the later layers were retrained is ours: the papers do not state it. After a sigmoid the bits "
        "arrive as 0.73 and 0.5, which is harder to read.",
        "Accuracy kept against the centre of the window, rows are networks.",
        (tables.window,),
    ),
}

STAND_IN = "A stand-in was run in place of this: "
SAVED_MODEL = "Evaluated beside the experiments, as docs/runs.md says; it decides no claim."

# What the words in the claims mean, and how to read them.
TERMS = (
    "s is the average sign of ∂L/∂activation of one sample in one neuron, over the recordings of a training "
    "in which it was not 0; the neuron's samples with s > 0 are low (their activation should fall), those "
    "with s < 0 high. p is a pre-activation, its rank the percentile rank among the neuron's. AUC is the "
    "area under the ROC curve of p, high against low: 0.5 where they lie together, 1 where they are apart. A "
    "window keeps one bit of each p, whether it lies in ten per cent of the ranks; the dip is the window "
    "with which the network is least accurate. Layers are named from the input on, with their activation "
    "function. Reproduced: in every layer that is asked, the whole 95 % interval is where the finding wants "
    "it; weaker than worded: in every layer, but not where the words are read strictly; only in some layers: "
    "in as many of those asked as are counted. Slight in a layer: above 0, but no more than what counts. "
    "Open in it: the interval lies on both sides of a limit, or two seeds disagree: these runs do not tell."
)
READING = (
    "Effects are ranges over layers. Intervals are 95 %: over neurons (bootstrap; normal for the rank of "
    "zero), over test images, or, from three seeds, over seeds (Student's t, on the logit scale for shares, "
    "Fisher's z for correlations); of differences and ratios of accuracies of one seed they are at least "
    "that, as if all accuracies erred in the worst way together; two seeds give no joint interval, each "
    "speaks for itself. An interval of one seed leaves out what another training would change, which may be "
    "more than all of it. That a finding shows in every layer needs no correction for many comparisons; a "
    "count of layers, where it is not all, has none. The limits are ours."
)

VIDEOS = "The films follow one neuron through all snapshots, as the papers' supplementary videos do."
