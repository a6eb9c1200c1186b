"""The scales of the experiments, in the papers' words. What the papers do not state is marked 'ours'."""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

QUICK, REDUCED, FULL = range(3)  # sizes: to try it, for a machine without a GPU, the papers'


@dataclasses.dataclass(frozen=True)
class Scale:
    """What presets of any kind have: a ``name``, and a ``size``, one of ``QUICK``, ``REDUCED``, ``FULL``."""

    name: str
    size: int = dataclasses.field(default=QUICK, kw_only=True)

    def described(self) -> dict:
        """What ``metrics.json`` says of the preset; one of size ``QUICK`` decides no claim."""
        return {"name": self.name, "size": self.size, "decides": self.size > QUICK}


@dataclasses.dataclass(frozen=True)
class Preset(Scale):
    """One scale of an experiment that trains.

    Attributes:
        every: batches between recordings.
        samples: recorded samples.
        batch_size, learning_rate: of the training, the latter where it depends on the scale.
        record_batch_size: changes speed only.
        window_centers, window_samples, window_epochs, window_batch_size: how the readouts of the window
            binarization are trained (ours: the papers do not state it): window centres, training images,
            largest number of epochs, batch size.
        first_window_centers: those of the first layer that is shown, where they are fewer: its readout is
            nearly the whole network, trained anew for every window.
        snapshots: how many snapshots of pre-activations are kept, evenly in the logarithm of the recordings.
        train_images, test_images: how many random images of the data set are used at all, where not all are.
    """

    epochs: int
    every: int
    samples: int
    batch_size: int = 128
    record_batch_size: int = 3000
    window_centers: tuple[int, ...] = tuple(range(5, 96, 10))
    first_window_centers: tuple[int, ...] | None = None
    window_samples: int = 20_000
    window_epochs: int = 100
    window_batch_size: int = 512
    snapshots: int = 24
    train_images: int | None = None
    test_images: int | None = None
    learning_rate: float | None = None

    def __str__(self):
        return f"{self.trained}, {self.samples} recorded samples, a recording every {self.every} batches"

    @property
    def trained(self) -> str:
        """Its name, and how long networks are trained."""
        images = f" of {self.train_images} images" if self.train_images else ""
        return f"{self.name}: {self.epochs} epochs{images} at batch size {self.batch_size}"

    def centers(self, first: bool) -> tuple[int, ...]:
        """The window centres of the first shown layer, or of another."""
        return self.first_window_centers or self.window_centers if first else self.window_centers

    def training(self) -> dict:
        """What determines the trained and recorded network; the rest is about what is done with it."""
        return {key: getattr(self, key) for key in ("name", "epochs", "every", "samples", "batch_size")}


@dataclasses.dataclass(frozen=True)
class ImageNetPreset(Scale):
    """One scale of the ImageNet experiment: how many pictures calibrate and test the quantization, how many
    images train and test the probes of the window binarization, and their window centres.

    The papers calibrate on "a subset of the data" and test on the validation set; the numbers are ours.
    """

    calibration: int
    test: int
    probe_train: int
    probe_test: int
    window_centers: tuple[int, ...] = tuple(range(5, 96, 10))

    def __str__(self):
        return (
            f"{self.name}: up to {self.calibration} calibration and {self.test} test pictures, probes on "
            f"{self.probe_train} and {self.probe_test} images"
        )


Kind = TypeVar("Kind", bound=Scale)


def choose(presets: Mapping[str, Kind], name: str, gpu: str) -> tuple[Kind, str]:
    """The preset and a sentence that says which and why.

    ``auto`` is the largest there is with a GPU, and without one the largest that does not need it.
    """
    if name != "auto":
        return presets[name], f"preset {name}, as asked"
    largest = max(presets.values(), key=lambda preset: preset.size)
    if gpu:
        return largest, f"preset {largest.name}, because there is a GPU ({gpu})"
    fitting = [preset for preset in presets.values() if preset.size <= REDUCED] or [largest]
    chosen = max(fitting, key=lambda preset: preset.size)
    return chosen, (f"preset {chosen.name}, because there is no GPU (--preset {largest.name} for full scale)")


def by_name(*presets: Scale) -> dict[str, Scale]:
    """{name: preset}, in their order."""
    return {preset.name: preset for preset in presets}


MNIST = by_name(
    Preset("paper", size=FULL, epochs=50, every=10, samples=30_000),
    Preset("reduced", size=REDUCED, epochs=50, every=100, samples=30_000),
    Preset(
        "quick",
        epochs=2,
        every=50,
        samples=30_000,
        window_centers=(5, 50, 95),
        window_samples=3000,
        window_epochs=15,
    ),
)

# The papers kept a random subset of samples and neurons; they do not say how many. The recorder takes all
# neurons, at as many random positions as its memory budget holds.
# 50,000 images in batches of 32 are 1563 batches an epoch. Recordings at batches 0, 100, ..., 1500,
# 16 an epoch, are the papers' 1600 in 100 epochs. (400 epochs at batch size 128 are another reading of
# 1600, and four times the work.) The rate is the best of short trials: figures/cifar10_cnn/rates.json.
_CIFAR_PAPER = Preset(
    "paper",
    size=FULL,
    epochs=100,
    every=100,
    samples=1000,
    batch_size=32,
    record_batch_size=250,
    learning_rate=0.00625,
    first_window_centers=(5, 25, 50, 75, 95),
)

CIFAR = by_name(
    _CIFAR_PAPER,
    Preset(
        "reduced",
        size=REDUCED,
        epochs=5,
        every=50,
        samples=1000,
        record_batch_size=250,
        window_centers=(5, 25, 50, 75, 95),
        window_samples=4000,
        window_epochs=10,
        window_batch_size=128,
    ),
    # Ours, between the two: the papers' recipe for a quarter of its epochs, and readouts that may take as
    # long as they need. It comes after `reduced`, which `auto` takes on a machine without a GPU.
    dataclasses.replace(_CIFAR_PAPER, name="quarter", size=REDUCED, epochs=25, window_epochs=400),
    Preset(
        "quick",
        epochs=2,
        every=20,
        samples=500,
        record_batch_size=250,
        window_centers=(5, 50, 95),
        window_samples=500,
        window_epochs=2,
        window_batch_size=64,
        train_images=4000,
        test_images=500,
    ),
)

IMAGENET = by_name(
    ImageNetPreset("paper", 5000, 45_000, 50_000, 10_000, size=FULL),
    ImageNetPreset("reduced", 250, 500, 2000, 1000, (5, 25, 50, 75, 95), size=REDUCED),
    ImageNetPreset("quick", 50, 100, 300, 200, (5, 50, 95)),
)
