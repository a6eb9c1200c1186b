"""The experiments, one row each: what is trained on which data, what the papers say of it, what is drawn.

Command line, tables, claims and report take from here what they know of an experiment. What is in no row is
ours: it is measured and shown, and decides no claim.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from keras_neuronlevel.papers import presets

PAPERS, OURS, STAND_IN = "papers", "ours", "stand-in"  # whose a network is

DRAWN = (
    "training_curves",
    "average_sign_one_neuron",
    "average_sign_all_neurons",
    "class_consistency",
    "dynamics",
    "subtasks",
    "quantization",
    "window",
)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment of the papers, or one of ours.

    Attributes:
        name: of its script and its folder.
        title, lead: how the report introduces it.
        family: which of the papers' networks it is or resembles: "mlp", "cnn" or "resnet50". Some claims
            speak of one family only.
        data: names of the data sets that it takes, the papers' (or the default) first.
        activations: those whose networks are the papers'; () where the whole experiment is ours.
        roles: {role: layers}, layers by their names before the activation. Roles: "shown" in the papers'
            figures, from the input to the output; "near output", of which the papers say that signs hardly
            change; "last" hidden layer; "first" layer of a CNN; "stem" of a residual network.
        presets: its scales by name, of one class of ``papers.presets``.
        recordings: how many the papers state, 0 where they state none.
        figures: the names of those that a whole run draws.
        options: what its command needs beside its name.
        trained: whether it trains its networks (and so takes a seed), or evaluates a given one.
    """

    name: str
    title: str
    lead: str
    family: str
    data: tuple[str, ...]
    activations: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]
    presets: Mapping[str, Any]
    recordings: int = 0
    figures: tuple[str, ...] = DRAWN
    options: str = ""
    trained: bool = True

    @property
    def images(self) -> str:
        """What it is run on, in a word: the first of its title."""
        return self.title.partition(" ")[0]

    @property
    def command(self) -> str:
        """How it is run."""
        return f"python experiments/{self.name}.py{self.options}"

    def network(self, activation: str) -> dict:
        """What ``metrics.json`` says of a network: its ``activation`` function, its ``family``, its ``owner``
        (one of ``PAPERS``, ``OURS``, ``STAND_IN``), and its layers by their ``roles``."""
        return {
            "activation": activation,
            "family": self.family,
            "owner": PAPERS if activation in self.activations else OURS,
            "roles": {
                role: [f"{layer}-{activation}" for layer in layers] for role, layers in self.roles.items()
            },
        }


_CNN: dict[str, Any] = {
    "family": "cnn",
    "data": ("cifar10", "mnist32"),
    "presets": presets.CIFAR,
    "roles": {
        "shown": ("stage0layer0", "stage2layer2", "stage3layer2"),
        "near output": ("stage3layer2",),
        "last": ("stage3layer2",),
        "first": ("stage0layer0",),
    },
}

_ROWS = (
    Experiment(
        "mnist_mlp",
        title="MNIST multi-layer perceptron",
        lead="784-512-512-10 with ReLU, sigmoid or linear hidden neurons: all of E, and rows 1 and 2 of I's "
        "figures.",
        family="mlp",
        data=("mnist", "fashion_mnist"),
        activations=("relu", "sigmoid", "linear"),
        roles={"shown": ("dense1", "dense2"), "near output": ("dense1", "dense2"), "last": ("dense2",)},
        presets=presets.MNIST,
        recordings=2350,
    ),
    Experiment(
        "cifar10_cnn",
        title="CIFAR-10 convolutional network",
        lead="Twelve convolutional layers in four stages, with ReLU or without a non-linearity: rows 3 and 4 "
        "of I's figures.",
        **_CNN,
        activations=("relu", "linear"),
        recordings=1600,
    ),
    Experiment(
        "cifar10_cnn_norm_first",
        title="CIFAR-10 convolutional network, batch normalization first",
        lead="The convolutional network with each batch normalization before the activation function in "
        "place of after it. It is ours: the papers do not state the order, and this tells what depends on "
        "it.",
        **_CNN,
        activations=(),
    ),
    Experiment(
        "cifar10_resnet",
        title="CIFAR-10 residual twin",
        lead="The convolutional network with identity skips. It is ours, the papers have none like it: it "
        "asks whether the findings survive skip connections.",
        **_CNN,
        activations=(),
    ),
    Experiment(
        "imagenet_resnet50",
        title="ImageNet ResNet50",
        lead="Keras' pretrained ResNet50: row 5 of I's Fig. 3 and 4. Nothing is trained but linear probes. "
        "Accuracies are those on the pictures that were given, whichever part of ImageNet they are from.",
        family="resnet50",
        data=("imagenet2012",),
        activations=("relu",),
        roles={},
        presets=presets.IMAGENET,
        figures=("quantization", "window"),
        options=" --data-dir IMAGENET",
        trained=False,
    ),
)

EXPERIMENTS = {row.name: row for row in _ROWS}
