"""What recording adds to a training, and how its time and memory grow."""

import contextlib
import resource
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import networks, recording, training
from keras_neuronlevel.benchmarks.recording import made_up, one_recording
from keras_neuronlevel.benchmarks.rounds import spread, take_turns

EVERY = (1, 10, 100)  # batches; a round of a training has as many as the largest
FACTORS = (1, 2, 5, 10)
# What grows: its least size; the other sizes stay.
AXES = {"samples": 500, "neurons": 100, "positions": 100, "recordings": 10}


def run(repeats: int = 7, *, samples: int = 1000, scale: float = 1.0) -> dict:
    """A JSON-able dictionary: ``training`` (see :func:`overhead`) and ``growth`` (see :func:`growth`).

    ``scale`` multiplies the sizes of the second.
    """
    return {"training": overhead(repeats, samples), "growth": growth(repeats, scale)}


def overhead(repeats: int, samples: int) -> dict:
    """What recording ``samples`` every 1, 10, 100 batches adds to training the MLP in batches of 128.

    ``ways`` {"none", "1", "10", "100", "1, in a file"}: {"seconds" of each round of 100 batches, "ratio" to
    the training without a recorder, over the rounds: {"median", "least", "most"}}. The last one has its
    accumulators in a memory-mapped file.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ways = {"none": _training(stack, None)}
        for every in EVERY:
            ways[str(every)] = _training(stack, _recorder(folder, samples, every))
        keep = recording.Keep(memory_budget=1)
        ways["1, in a file"] = _training(stack, _recorder(folder, samples, 1, keep=keep))
        seconds = take_turns(ways, repeats)
    told = {
        way: {"seconds": values.tolist(), "ratio": spread(values / seconds["none"])}
        for way, values in seconds.items()
    }
    return {"samples": samples, "batches": max(EVERY), "ways": told}


def _recorder(folder, samples, every, **options):
    x, y = made_up((28, 28, 1), samples)
    path = folder / f"{every}-{len(options)}.h5"
    return recording.ActivationGradientRecorder(x, y, path=path, every=every, **options)


def _training(stack, recorder):
    """A round of a training that goes on from round to round."""
    model = networks.mlp("relu", seed=0)
    model.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    step = training.training_step(model, model.optimizer)
    x, y = map(tf.constant, made_up((28, 28, 1), 128))
    if recorder is not None:
        stack.enter_context(recorder.recording(model))
    epochs = iter(range(10**9))

    def go():
        epoch = next(epochs)
        for _ in range(max(EVERY)):
            if recorder is not None:
                recorder.step(epoch)
            out = step(x, y)
        keras.tree.map_structure(np.asarray, out)

    return go


def growth(repeats: int, scale: float = 1.0) -> dict:
    """How seconds and bytes of accumulators grow over a decade of samples, neurons, positions, recordings.

    {axis: {"sizes", "seconds" (median of the rounds), "bytes", "peak" (the process's largest size after it,
    in bytes), "seconds_slope", "bytes_slope"}}. A slope is that of a straight line fitted to the logarithms:
    1 is linear, 0 does not grow.
    """
    found = {}
    for axis, least in AXES.items():
        sizes = [max(1, round(least * scale * factor)) for factor in FACTORS]
        cases = {size: _case(axis, size, scale) for size in sizes}
        seconds = take_turns({size: go for size, (_, go) in cases.items()}, repeats)
        medians = [float(np.median(seconds[size])) for size in sizes]
        held = [_bytes(cases[size][0]) for size in sizes]
        found[axis] = {
            "sizes": [_real_size(axis, size) for size in sizes],
            "seconds": medians,
            "bytes": held,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        for what, values in (("seconds", medians), ("bytes", held)):
            found[axis][f"{what}_slope"] = slope(found[axis]["sizes"], values)
    return found


def slope(sizes, values) -> float:
    """The exponent b of values = a · sizes^b, by least squares in the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _real_size(axis, size):
    return round(size**0.5) ** 2 if axis == "positions" else size


def _case(axis, size, scale):
    """(``Recordings``, function that records) of a case whose ``axis`` has this ``size``."""
    samples = size if axis == "samples" else max(1, round(500 * scale))
    model = _map(round(size**0.5)) if axis == "positions" else _dense(size if axis == "neurons" else 512)
    x, y = made_up(model.input_shape[1:], samples)
    batches = list(recording.batches(x, y, max(1, round(500 * scale))))
    taken, once = one_recording(model, batches, samples)
    times = size if axis == "recordings" else 1
    return taken, lambda: [once() for _ in range(times)]


def _dense(units):
    return networks.mlp("relu", hidden=(units,), seed=0)


def _map(side):
    inputs = keras.Input((side, side, 8))
    x = keras.layers.Conv2D(16, 3, padding="same", name="conv")(inputs)
    x = keras.layers.Activation("relu", name="conv-relu")(x)
    return keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))


def _bytes(taken):
    return sum(values.nbytes for sums in taken.sums.values() for values in sums)


def table(result: dict) -> str:
    """The dictionary of :func:`run` as lines of text."""
    told = result["training"]
    lines = [f"training the MLP, {told['batches']} batches a round, {told['samples']} samples recorded"]
    for way, found in told["ways"].items():
        ratio = found["ratio"]
        lines.append(
            f"  every {way:14} {np.median(found['seconds']):.3f} s, {ratio['median']:.2f} x without "
            f"({ratio['least']:.2f} to {ratio['most']:.2f})"
        )
    lines.append("growth over a decade, slopes in logarithms (1: linear, 0: flat)")
    for axis, found in result["growth"].items():
        seconds = ", ".join(f"{value:.4f}" for value in found["seconds"])
        lines.append(
            f"  {axis:10} {', '.join(map(str, found['sizes']))}: {seconds} s, slope "
            f"{found['seconds_slope']:.2f}; accumulators' bytes, slope {found['bytes_slope']:.2f}; "
            f"largest size of the process {found['peak'] / 2**20:.0f} MiB"
        )
    return "\n".join(lines)


def markdown(result: dict, machine: str) -> str:
    """The dictionary of :func:`run` as a page: two tables, and the ``machine`` that they are of."""
    told = result["training"]
    lines = [
        "# What recording adds to a training, and how it grows",
        "",
        "Made by `python experiments/benchmark.py growth --output docs/recording_growth.json`.",
        "",
        f"Machine: {machine}.",
        "",
        f"## Training the MLP in batches of 128, {told['samples']} samples recorded",
        "",
        "Seconds of a training as a multiple of those without a recorder: medians of ratios taken round by "
        "round (least to most), the ways taking turns in one process.",
        "",
        "| a recording every | of the time without |",
        "| --- | --- |",
    ]
    for way, found in told["ways"].items():
        ratio = found["ratio"]
        what = way.replace("1, in a file", "1 batch, accumulators in a memory-mapped file")
        what = f"{what} batches" if what.isdigit() else what
        lines.append(f"| {what} | {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f}) |")
    lines += [
        "",
        "## Growth over a decade",
        "",
        "One thing grows, the others stay. A slope is that of a straight line through the logarithms: 1 is "
        "linear, 0 does not grow.",
        "",
        "| what grows | sizes | seconds | slope | accumulators' bytes, slope | largest size of the process |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for axis, found in result["growth"].items():
        seconds = ", ".join(f"{value:.3g}" for value in found["seconds"])
        sizes = ", ".join(map(str, found["sizes"]))
        lines.append(
            f"| {axis} | {sizes} | {seconds} | {found['seconds_slope']:.2f} | {found['bytes_slope']:.2f} | "
            f"{found['peak'] / 2**20:.0f} MiB |"
        )
    return "\n".join([*lines, ""])
