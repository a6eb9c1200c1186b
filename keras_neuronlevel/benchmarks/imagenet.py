"""What ImageNet's pictures cost: decoding beside the network, a sweep beside its parts, and memory.

Paired: in every repeat the ways take turns; ratios are taken within a repeat, and their median is what
counts. The network is ResNet50 with random weights, which is as fast as with any. Without a folder of
pictures, synthetic ones of ImageNet's usual size are made. Run it on an otherwise idle machine.
"""

import concurrent.futures
import contextlib
import multiprocessing
import resource
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons, streams
from keras_neuronlevel.benchmarks.evaluation import RANKS, bare
from keras_neuronlevel.benchmarks.rounds import spread, take_turns
from keras_neuronlevel.data import imagenet
from keras_neuronlevel.evaluation.calibration import calibrate
from keras_neuronlevel.evaluation.quantization import quantization_curve, sweep
from keras_neuronlevel.evaluation.truncation import truncate
from keras_neuronlevel.protocol import pretrained

LAYERS = ("conv1_relu", "conv4_block6_out")  # the longest suffix, and a short one
GROWTH = (200, 1000)  # pictures


def run(repeats=7, *, data_dir=None, pictures=256, growth=GROWTH, batch_size=32, size=imagenet.SIZE):
    """Time ``pictures`` pictures each way; rates, ratios with their spread and memory as a dictionary.

    ``per_second``: pictures decoded, pictures through the network from memory, and both together, at the
    same time; ``both_over_slower``: the time of both over that of the slower one (1: the slower one never
    waits; without a GPU both share the processor's cores, and their times add up), ``both_over_sum`` over
    both times added up (without a GPU 1: they do not disturb each other). ``sweep_over_bare`` {layer}: a
    sweep of eleven ranks over one prefix and eleven bare suffixes, at most 1.3 wanted.
    ``peak_bytes``: {pictures: the largest size of a fresh process that quantizes so many}.
    """
    with contextlib.ExitStack() as stack:
        folder = data_dir or synthetic(stack.enter_context(tempfile.TemporaryDirectory()))
        found = imagenet.load(folder)
        images = _first(found, pictures).images("imagenet-caffe", size)
        model = pretrained.resnet50(None, input_shape=(size, size, 3)).model
        times = take_turns(_feeding(model, images, batch_size), repeats)
        sweeps = {layer: take_turns(_sweeping(model, layer, batch_size), repeats) for layer in LAYERS}
        peaks = {count: _in_a_fresh_process(folder, count, batch_size, size) for count in growth}
    ways = ("decoding", "network", "both")
    return {
        "source": found.source + ("" if data_dir else " (synthetic)"),
        "pictures": pictures,
        "repeats": repeats,
        "per_second": {way: float(np.median(pictures / times[way])) for way in ways},
        "both_over_slower": spread(times["both"] / np.maximum(times["decoding"], times["network"])),
        "both_over_sum": spread(times["both"] / (times["decoding"] + times["network"])),
        "sweep_over_bare": {layer: spread(found["sweep"] / found["bare"]) for layer, found in sweeps.items()},
        "peak_bytes": peaks,
    }


def table(result):
    """The dictionary of :func:`run` as lines of text."""
    rates = ", ".join(f"{way} {rate:.1f}" for way, rate in result["per_second"].items())
    peaks = ", ".join(
        f"{count} pictures {size / 2**20:.0f} MiB" for count, size in result["peak_bytes"].items()
    )
    lines = [
        f"ResNet50, {result['pictures']} pictures of {result['source']}, {result['repeats']} paired repeats",
        f"pictures a second (medians): {rates}",
    ]
    ratios = {
        "both together / the slower one alone": result["both_over_slower"],
        "both together / both alone, one after the other": result["both_over_sum"],
    }
    for layer, ratio in result["sweep_over_bare"].items():
        ratios[f"sweep at {layer} / (one prefix + eleven suffixes, bare), wanted <= 1.3"] = ratio
    for text, ratio in ratios.items():
        lines.append(f"{text}: {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})")
    return "\n".join([*lines, f"largest size of a process that quantizes {peaks}"])


def synthetic(folder, count=64, seed=0):
    """Write ``count`` JPEG pictures of noise, 375 × 500 pixels, in four classes. Returns the folder."""
    rng = streams.generator(seed, "made up pictures")
    for number in range(count):
        shapes = tf.image.resize(rng.uniform(0, 255, (24, 32, 3)), (375, 500), "bicubic")
        pixels = np.clip(shapes + rng.normal(0, 12, shapes.shape), 0, 255).astype(np.uint8)
        path = Path(folder) / imagenet.wnids()[number % 4] / f"{number}.JPEG"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(tf.io.encode_jpeg(pixels, quality=95).numpy())
    return Path(folder)


def peak(folder, count, batch_size, size):
    """The largest size of this process, in bytes, after it has quantized one layer of so many pictures."""
    pictures = _first(imagenet.load(folder), count)
    images = pictures.images("imagenet-caffe", size)
    model = pretrained.resnet50(None, input_shape=(size, size, 3)).model
    quantization_curve(
        model, LAYERS[-1], images, pictures.labels, ranks=[50], calibration=images[:32], batch_size=batch_size
    )
    return _largest_size()


def _first(pictures, count):
    """So many pictures, some of them repeatedly where there are fewer."""
    return pictures.subset(np.sort(np.arange(count) % len(pictures)))


def _feeding(model, images, batch_size):
    logits = keras.Model(model.inputs, neurons.logits(model))
    spec = [tf.TensorSpec([None, *images.shape[1:]], tf.float32)]
    forward = tf.function(lambda x: logits(x, training=False), input_signature=spec)
    noise = (
        streams.generator(0, "made up pictures")
        .normal(0, 50, (batch_size, *images.shape[1:]))
        .astype(np.float32)
    )
    sizes = [min(batch_size, len(images) - start) for start in range(0, len(images), batch_size)]

    def through(batches):
        for x in batches:
            forward(x).numpy()

    return {
        "decoding": lambda: sum(len(x) for x in images.batches(batch_size)),
        "network": lambda: through(noise[:n] for n in sizes),
        "both": lambda: through(images.batches(batch_size)),
    }


def _sweeping(model, layer, batch_size):
    truncation, rng = truncate(model, layer), streams.generator(0, "made up pictures")
    x = rng.normal(0, 50, (batch_size, *truncation.input_shape)).astype(np.float32)
    y = rng.integers(0, truncation.classes, batch_size)
    calibrated = calibrate(truncation, x, RANKS, batch_size=batch_size)
    return {
        "bare": bare(truncation, x, batch_size),
        "sweep": lambda: sweep([truncation], x, y, [calibrated], batch_size),
    }


def _in_a_fresh_process(folder, *arguments):
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(peak, folder, *arguments).result()


def _largest_size():
    """What Linux says of this process itself; elsewhere what ``getrusage`` says, in KiB (macOS: bytes)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
