"""Pretrained ImageNet classifiers: load them, and find out whether they are what they should be."""

import dataclasses
import hashlib
import logging
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_neuronlevel import neurons, papers, training
from keras_neuronlevel.data.imagenet import SIZE
from keras_neuronlevel.protocol import saved_models
from keras_neuronlevel.samples import check_labels
from keras_neuronlevel.statistics.curves import wilson_interval

logger = logging.getLogger(__name__)

# What Keras' documentation states for its ResNet50 on ImageNet's validation set.
RESNET50_TOP1 = 0.749
# MD5 of the weight file that Keras itself downloads and checks.
RESNET50_MD5 = "2cb95161c43110f7111970584f804107"
RESNET50_FILE = "resnet50_weights_tf_dim_ordering_tf_kernels.h5"
TOLERANCE = 0.05  # ours: other decoding and resizing costs a network a point or two
FEWEST = 50  # labelled pictures with which a wrong network can be told from a right one


@dataclasses.dataclass(frozen=True, eq=False)
class Pretrained:
    """A classifier and what must be known of it.

    ``name`` stands in file names and tables; ``title`` says in words which network and weights these are;
    ``layers`` are its neuron layers in the paper's sense (I §5); ``preprocessing`` is one of
    ``data.preprocessing.PREPROCESSING``; ``top1`` is the accuracy on ImageNet's validation set that it
    should reach, or None; ``digest`` is that of its file, and ``known`` whether that is the published one.
    ``stand_in`` is None for the papers' network, else a sentence that says what this is instead.
    """

    name: str
    title: str
    model: keras.Model
    preprocessing: str
    layers: tuple
    top1: float | None
    digest: str | None
    known: bool
    stand_in: str | None

    def described(self) -> dict:
        """What ``metrics.json`` says of the network, see ``papers.Experiment.network``."""
        residual = set(self.layers) != set(neurons.choose_layers(self.model))
        return {
            "activation": None,
            "family": "resnet50",
            "owner": papers.STAND_IN if self.stand_in else papers.PAPERS,
            "roles": {"stem": [self.layers[0]]} if residual else {},
        }

    @property
    def size(self) -> int:
        """The side of the square colour images that the network takes; 224 where it takes any.

        Raises ``ValueError`` for a network of other images.
        """
        shape = tuple(self.model.inputs[0].shape[1:])
        if len(shape) != 3 or shape[0] != shape[1] or shape[2] != 3:
            raise ValueError(f"{self.name} takes images of shape {shape}; it should be (size, size, 3)")
        return shape[0] or SIZE


def paper_layers(model: keras.Model) -> tuple[str, ...]:
    """The neuron layers of a residual network that the papers look into (I §5): those whose
    pre-activation is the sum of a block's output and its skip connection, and the very first one.

    In a network without such sums, all neuron layers.
    """
    names = neurons.choose_layers(model)
    after = [
        name
        for name in names[1:]
        if isinstance(neurons.pre_activation(model, name)._keras_history.operation, keras.layers.Add)
    ]
    return (names[0], *after) if after else tuple(names)


def resnet50(
    weights: str | Path | None = "imagenet",
    *,
    input_shape: tuple[int, ...] = (224, 224, 3),
    classes: int = 1000,
) -> Pretrained:
    """The :class:`Pretrained` of ``keras.applications.ResNet50`` that ends in logits.

    ``weights``: "imagenet" (Keras downloads the file), the path of that file, or None (random weights, for
    tests). This is today's network of Keras, not that of 2017, whose first pooling was unpadded and whose
    batch normalization had another epsilon; its weight file differs too.

    Raises ``ValueError`` where the weights cannot be had or do not fit the network. Weights that fit and
    are still wrong are found by :func:`verify`.
    """
    model = keras.applications.ResNet50(
        weights=None, input_shape=input_shape, classes=classes, classifier_activation=None
    )
    path, digest, known = None, None, False
    if weights is not None:
        path = _stock_file() if weights == "imagenet" else Path(weights)
        _load_weights(model, path)
        digest, known = _sha256(path), _md5(path) == RESNET50_MD5
    what = "random weights" if path is None else f"weights from {path.name}"
    stock = " (the file that Keras publishes)" if known else ""
    return Pretrained(
        name="resnet50",
        title=f"keras.applications.ResNet50 of Keras {keras.__version__}, {what}{stock}",
        model=model,
        preprocessing="imagenet-caffe",
        layers=paper_layers(model),
        top1=None if path is None else RESNET50_TOP1,
        digest=digest,
        known=known,
        stand_in="random weights: a test of the code, not of any network" if path is None else None,
    )


def _stock_file():
    from keras.src.applications.resnet import BASE_WEIGHTS_PATH

    try:
        return Path(
            keras.utils.get_file(
                RESNET50_FILE,
                BASE_WEIGHTS_PATH + RESNET50_FILE,
                cache_subdir="models",
                file_hash=RESNET50_MD5,
            )
        )
    except Exception as error:  # whatever urllib raises; Keras wraps it in a bare Exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"Keras could not download the weights of ResNet50 ({reason}); give the file "
            f"{RESNET50_FILE} with --weights, or another saved network with --model"
        ) from None


def _load_weights(model, path):
    if not path.is_file():
        raise ValueError(f"there is no weight file at {path}")
    try:
        with warnings.catch_warnings():  # a weight that is not in the file stays random, and Keras only warns
            warnings.filterwarnings("error", ".*freshly-initialized", UserWarning)
            model.load_weights(path)
    except (UserWarning, ValueError, OSError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"{path} does not fit keras.applications.ResNet50 with {model.output_shape[-1]} classes: "
            f"{reason[0] if reason else type(error).__name__}"
        ) from None


def saved(
    path: str | Path, preprocessing: str, *, top1: float | None = None, name: str | None = None
) -> Pretrained:
    """The :class:`Pretrained` of any saved Keras classifier; ``top1`` is what it should reach, if known.

    Raises ``ValueError`` for what is no saved model.
    """
    path = Path(path)
    model = neurons.split_fused(neurons.functional(saved_models.load(path)))
    name = name or path.stem
    return Pretrained(
        name=name,
        title=f"{model.name}, saved in {path.name}",
        model=model,
        preprocessing=preprocessing,
        layers=paper_layers(model),
        top1=top1,
        digest=_sha256(path),
        known=False,
        stand_in=f"{name} (a saved network, not the papers' ResNet50)",
    )


def main_layers(layers: Sequence[str]) -> tuple[str, ...]:
    """Of a network's layers, those that the experiment takes unless others are named.

    The first, the last of each later stage of a residual network (``conv3_block4_out``, ...), the last
    but one and the last block; elsewhere first, middle and last.
    """
    stages: dict[str, list[str]] = {}
    for name in layers:
        stages.setdefault(name.partition("_block")[0], []).append(name)
    if "conv5" in stages:
        ends = [stages[stage][-1] for stage in ("conv3", "conv4") if stage in stages]
        return tuple(dict.fromkeys([layers[0], *ends, *stages["conv5"][-2:]]))
    return tuple(dict.fromkeys([layers[0], layers[(len(layers) - 1) // 2], layers[-1]]))


@dataclasses.dataclass(frozen=True)
class Verification:
    """Top-1 accuracy on ``images`` labelled pictures with its 95 % interval (Wilson), what the network
    should reach, and the ``verdict`` in words."""

    top1: float
    interval: tuple
    images: int
    expected: float | None
    verdict: str


def verify(network: Pretrained, images: Any, labels: np.ndarray, batch_size: int = 32) -> Verification:
    """Whether a network reads labelled pictures as well as it should: :class:`Verification`.

    A weight file may load by names and shapes and yet be of another network: ResNet-50 "v1.5" weights in
    the stock graph lose a good part of the accuracy without a word. The network is refused where even the
    upper end of the interval is more than 5 points below ``network.top1``.

    Raises ``ValueError`` for such a network, labels that it has no classes for, and where an unknown file
    is to be verified on fewer than 50 pictures.
    """
    labels = check_labels(labels, len(images), network.model.output_shape[-1], "labels")
    top1 = training.evaluate(network.model, images, labels, batch_size).accuracy
    low, high = map(float, wilson_interval(top1, len(labels)))
    found = f"top-1 {top1:.3f} on {len(labels)} pictures (95 % interval {low:.3f} to {high:.3f})"
    if network.top1 is None:
        verdict = f"{found}; not verified, as it is not known what {network.name} should reach"
        logger.warning("%s: give --expected-top1 to have it checked", verdict)
    elif high < network.top1 - TOLERANCE:
        raise ValueError(
            f"{network.title} reaches {found}, but should reach about {network.top1:.3f}: the weights are "
            "not those of this network (ResNet-50 'v1.5' weights fit the graph of ResNet50 and are wrong "
            "there), or the preprocessing or the class order is another; give the right file"
        )
    elif network.known:
        verdict = f"the published file, by its digest; {found}"
    elif len(labels) < FEWEST:
        raise ValueError(
            f"{network.title} is not the published file, and {len(labels)} labelled pictures are too few "
            f"to verify it; give at least {FEWEST}"
        )
    else:
        verdict = f"{found}; it should reach about {network.top1:.3f} on the validation set"
    return Verification(top1, (low, high), len(labels), network.top1, verdict)


def _sha256(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _md5(path):
    return hashlib.md5(Path(path).read_bytes(), usedforsecurity=False).hexdigest()
