"""The experiments' constants, in the papers' words. What the papers do not state is marked 'ours'."""

import dataclasses

# MNIST multi-layer perceptron (E §2)
MNIST_ACTIVATIONS = ("relu", "sigmoid", "linear")
MNIST_LEARNING_RATES = {"relu": 0.1, "sigmoid": 1.0, "linear": 1e-3}
MNIST_LAYERS = ("dense1", "dense2")


@dataclasses.dataclass(frozen=True)
class Preset:
    """One scale of an experiment. ``every``: batches between recordings; ``samples``: recorded samples."""

    name: str
    epochs: int
    every: int
    samples: int
    batch_size: int = 128
    record_batch_size: int = 3000  # ours; changes speed only

    def __str__(self):
        return (
            f"{self.name}: {self.epochs} epochs at batch size {self.batch_size}, {self.samples} recorded "
            f"samples, a recording every {self.every} batches"
        )


MNIST = {
    "paper": Preset("paper", epochs=50, every=10, samples=30_000),
    "reduced": Preset("reduced", epochs=50, every=100, samples=30_000),
    "quick": Preset("quick", epochs=4, every=100, samples=30_000),
}


def choose(presets, name, gpu):
    """The preset and a sentence that says which and why; ``auto`` is paper with a GPU, else reduced."""
    if name != "auto":
        return presets[name], f"preset {name}, as asked"
    if gpu:
        return presets["paper"], f"preset paper, because there is a GPU ({gpu})"
    return presets["reduced"], "preset reduced, because there is no GPU (--preset paper for full scale)"
