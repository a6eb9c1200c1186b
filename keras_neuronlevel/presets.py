"""The experiments' constants, in the papers' words. What the papers do not state is marked 'ours'."""

import dataclasses

from keras_neuronlevel import papers

# MNIST multi-layer perceptron (E §2)
MNIST_ACTIVATIONS = ("relu", "sigmoid", "linear")
MNIST_LEARNING_RATES = {"relu": 0.1, "sigmoid": 1.0, "linear": 1e-3}


@dataclasses.dataclass(frozen=True)
class Preset:
    """One scale of an experiment.

    ``every``: batches between recordings; ``samples``: recorded samples. ``window_*``: how the readouts of
    the window binarization are trained (ours: the papers do not state it): window centres, training
    images, largest number of epochs, batch size. ``snapshots``: how many snapshots of pre-activations are
    kept, evenly in the logarithm of the recordings. ``train_images``, ``test_images``: how many random images
    of the data set are used at all, where not all of them are.
    """

    name: str
    epochs: int
    every: int
    samples: int
    batch_size: int = 128
    record_batch_size: int = 3000  # changes speed only
    window_centers: tuple = tuple(range(5, 96, 10))
    window_samples: int = 20_000
    window_epochs: int = 100
    window_batch_size: int = 512
    snapshots: int = 24
    train_images: int | None = None
    test_images: int | None = None
    learning_rate: float | None = None  # where it depends on the scale

    def __str__(self):
        images = f" of {self.train_images} images" if self.train_images else ""
        return (
            f"{self.name}: {self.epochs} epochs{images} at batch size {self.batch_size}, {self.samples} "
            f"recorded samples, a recording every {self.every} batches"
        )


MNIST = {
    "paper": Preset("paper", epochs=50, every=10, samples=30_000),
    "reduced": Preset("reduced", epochs=50, every=100, samples=30_000),
    "quick": Preset(
        "quick",
        epochs=2,
        every=50,
        samples=30_000,
        window_centers=(5, 50, 95),
        window_samples=3000,
        window_epochs=15,
    ),
}


# CIFAR-10 networks (I §3). The papers state neither learning rate nor schedule: these are ours.
CIFAR_ACTIVATIONS = ("relu", "linear")
CIFAR_LAYERS = ("stage0layer0", "stage2layer2", "stage3layer2")
CIFAR_LEARNING_RATE = 0.05  # at batch size 128
CIFAR_MOMENTUM = 0.9

# The papers kept a random subset of samples and neurons; they do not say how many. The recorder takes all
# neurons, at as many random positions as its memory budget holds.
CIFAR = {
    # 50,000 images in batches of 32 are 1563 batches an epoch. Recordings at batches 0, 100, ..., 1500,
    # 16 an epoch, are the papers' 1600 in 100 epochs. (400 epochs at batch size 128 are another reading of
    # 1600, and four times the work.) The rate is the best of short trials: figures/cifar10_cnn/rates.json.
    "paper": Preset(
        "paper",
        epochs=100,
        every=100,
        samples=1000,
        batch_size=32,
        record_batch_size=250,
        learning_rate=0.00625,
    ),
    "reduced": Preset(
        "reduced",
        epochs=5,
        every=50,
        samples=1000,
        record_batch_size=250,
        window_centers=(5, 25, 50, 75, 95),
        window_samples=4000,
        window_epochs=10,
        window_batch_size=128,
    ),
    "quick": Preset(
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
}

# What determines the trained and recorded network; the rest concerns what is done with it afterwards.
TRAINING_FIELDS = ("epochs", "every", "samples", "batch_size")


def choose(presets, name, gpu):
    """The preset and a sentence that says which and why; ``auto`` is paper with a GPU, else reduced."""
    if name != "auto":
        return presets[name], f"preset {name}, as asked"
    if gpu:
        return presets["paper"], f"preset paper, because there is a GPU ({gpu})"
    return presets["reduced"], "preset reduced, because there is no GPU (--preset paper for full scale)"


def described(name):
    """What ``metrics.json`` says of a preset."""
    return {"name": name, "size": SIZES.get(name, papers.REDUCED), "decides": name != "quick"}


SIZES = {"quick": papers.QUICK, "reduced": papers.REDUCED, "paper": papers.FULL}


@dataclasses.dataclass(frozen=True)
class ImageNetPreset:
    """One scale of the ImageNet experiment: how many pictures calibrate and test the quantization, how many
    images train and test the probes of the window binarization, and their window centres.

    The papers calibrate on "a subset of the data" and test on the validation set; the numbers are ours.
    """

    name: str
    calibration: int
    test: int
    probe_train: int
    probe_test: int
    window_centers: tuple = tuple(range(5, 96, 10))

    def described(self):
        """What ``metrics.json`` says of the preset."""
        return described(self.name)

    def __str__(self):
        return (
            f"{self.name}: up to {self.calibration} calibration and {self.test} test pictures, probes on "
            f"{self.probe_train} and {self.probe_test} images"
        )


IMAGENET = {
    "paper": ImageNetPreset("paper", 5000, 45_000, 50_000, 10_000),
    "reduced": ImageNetPreset("reduced", 250, 500, 2000, 1000, (5, 25, 50, 75, 95)),
    "quick": ImageNetPreset("quick", 50, 100, 300, 200, (5, 50, 95)),
}
