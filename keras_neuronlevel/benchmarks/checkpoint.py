"""What checkpoints cost a CIFAR-10 training at the papers' scale: seconds of one, over the interval between
two."""

import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from keras_neuronlevel import checkpoints, networks, recording, resuming, streams
from keras_neuronlevel.benchmarks.rounds import spread
from keras_neuronlevel.data import Dataset

INTERVAL = 600  # seconds, the default


def run(repeats: int = 7, *, samples: int = 1000, snapshots: int = 24, filters: int = 16) -> dict:
    """Save and read a checkpoint of the 12-layer CNN, its recorder and as many snapshots as the experiments
    keep.

    Returns ``bytes`` of one, ``save`` and ``load`` in seconds and ``share``, what saving takes of the
    interval, each {"median", "least", "most"} over the rounds.
    """
    data = _images(samples)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.checkpoint"
        recorder = recording.ActivationGradientRecorder(
            data.x_train, data.y_train, path=Path(folder) / "run.h5", every=1,
            snapshots=recording.Snapshots(range(snapshots)), batch_size=250,
        )  # fmt: skip
        keeper = _begun(networks.cifar_cnn("relu", filters=filters, seed=0), recorder, data, path)
        for batch in range(snapshots):
            recorder.on_train_batch_begin(batch)
            recorder.on_train_batch_end(batch)
        rounds = [_round(keeper, path, number) for number in range(repeats + 1)][1:]
        save, load = np.transpose(rounds)
        return {
            "samples": samples,
            "repeats": repeats,
            "bytes": path.stat().st_size,
            "save": spread(save),
            "load": spread(load),
            "share": spread(save / INTERVAL),
        }


def _images(samples):
    rng = streams.generator(0, "made up images")
    x, y = rng.random((samples, 32, 32, 3), np.float32), rng.integers(0, 10, samples).astype(np.int32)
    return Dataset("noise", x, y, x[:0], y[:0], tuple("0123456789"), "made up", "")


def _begun(model, recorder, data, path):
    """A training that has begun and not moved: its keeper, with model and recorder ready."""
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9))
    model.optimizer.build(model.trainable_variables)
    watchers = keras.callbacks.CallbackList([recorder], add_history=True, model=model)
    watchers.set_params({"epochs": 100, "steps": 1563})
    keeper = resuming.Keeper(path, INTERVAL, model, [recorder], lambda: np.arange(len(data.x_train)))
    watchers.on_train_begin()
    keeper.restore({}, data)
    watchers.on_epoch_begin(0)
    return keeper


def _round(keeper, path, number):
    start = time.perf_counter()
    keeper.save(resuming.Place(0, number + 1))
    saved = time.perf_counter()
    checkpoints.load(path)
    return saved - start, time.perf_counter() - saved


def table(result: dict) -> str:
    """The dictionary of :func:`run` as lines of text."""
    lines = [
        f"a checkpoint of the CIFAR-10 CNN with {result['samples']} recorded samples: "
        f"{result['bytes'] / 2**20:.0f} MiB, {result['repeats']} rounds"
    ]
    for what in ("save", "load"):
        times = result[what]
        lines.append(f"  {what}: {times['median']:.2f} s ({times['least']:.2f} to {times['most']:.2f})")
    share = result["share"]
    lines.append(
        f"  saving / interval of {INTERVAL} s: {share['median']:.2%} (most {share['most']:.2%}; at most 2% "
        f"wanted)"
    )
    return "\n".join(lines)
