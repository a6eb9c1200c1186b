"""What each data set is, exactly: sizes, class names, and the digest of its arrays.

A digest is the SHA-256 of `arrays.digest`: raw uint8 images and labels of both splits, in the order
of the original files. Loading refuses anything else, whichever way the data came.
"""

import difflib
from dataclasses import dataclass


class DataError(RuntimeError):
    """Data could not be loaded; the message says what was tried and how to provide the data."""


@dataclass(frozen=True)
class Spec:
    """One data set.

    Attributes:
        name: the name of the set, here and in tensorflow_datasets.
        image_shape: (height, width, channels) in pixels.
        n_train, n_test: number of samples N in each split.
        class_names: the K class names; label k means `class_names[k]`.
        digest: `arrays.digest` of the exact set.
        url: a file that tensorflow_datasets downloads to prepare the set (only probed from here).
        provide: how a person without this data can provide it, in sentences.
    """

    name: str
    image_shape: tuple[int, int, int]
    n_train: int
    n_test: int
    class_names: tuple[str, ...]
    digest: str
    url: str
    provide: str


_IDX = (
    "a folder with the four original IDX files (train-images-idx3-ubyte, train-labels-idx1-ubyte,"
    " t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte; .gz is fine)"
)

MNIST = Spec(
    name="mnist",
    image_shape=(28, 28, 1),
    n_train=60_000,
    n_test=10_000,
    class_names=tuple("0123456789"),
    digest="c1a44cd987adea06a723558e60762a763befa3cccc6bcbb05653f86cf68f5530",
    url="https://storage.googleapis.com/cvdf-datasets/mnist/train-images-idx3-ubyte.gz",
    provide=f"Pass a data folder that holds the set as prepared by tensorflow_datasets, or {_IDX}.",
)

FASHION_MNIST = Spec(
    name="fashion_mnist",
    image_shape=(28, 28, 1),
    n_train=60_000,
    n_test=10_000,
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    digest="715868ef620cfff128d9e6ddab09b5058437961858c8b66b9c59a924180d6b61",
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
    provide=(
        "On Debian or Ubuntu: apt-get install dataset-fashion-mnist. Elsewhere pass a data folder"
        f" that holds the set as prepared by tensorflow_datasets, or {_IDX}."
    ),
)

CIFAR10 = Spec(
    name="cifar10",
    image_shape=(32, 32, 3),
    n_train=50_000,
    n_test=10_000,
    class_names=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    digest="775d1cdb78ca59c4aecb20bd9c893a3138a8eb8a31294b5d28ba31e69d818ed4",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    provide=(
        "Pass a data folder that holds the set as prepared by tensorflow_datasets, or the folder"
        " cifar-10-batches-py or cifar-10-batches-bin, or the archive cifar-10-python.tar.gz or"
        " cifar-10-binary.tar.gz (https://www.cs.toronto.edu/~kriz/cifar.html). Without it,"
        " --dataset mnist32 (MNIST padded to 32 x 32 x 3) runs the same networks as a stand-in."
    ),
)

SPECS = {spec.name: spec for spec in (MNIST, FASHION_MNIST, CIFAR10)}
MNIST32 = "mnist32"
IMAGENET = "imagenet2012"  # not exact: any folder of its pictures will do


def find_spec(name: str) -> Spec:
    """The `Spec` called `name`; a ValueError that offers the nearest names if there is none."""
    if name in SPECS:
        return SPECS[name]
    names = [*SPECS, MNIST32, IMAGENET]
    nearest = difflib.get_close_matches(str(name).lower(), names, n=2, cutoff=0.5)
    hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
    raise ValueError(f"Unknown data set {name!r}.{hint} The data sets are {', '.join(names)}.")
