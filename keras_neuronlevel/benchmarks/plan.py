"""An experiment on paper: passes, hours, memory and bytes for each device, from rates measured or given.

Every :class:`Work` is cut into the parts that ``--strategy multiworker`` deals out or divides, one device to
a process; the device with most of them decides how long it takes. Waiting for others, starting and drawing
are left out. Rates are seconds an image on one device.
"""

import dataclasses
import functools
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_neuronlevel import checks, evaluation, neurons, papers, recording, schedules, training
from keras_neuronlevel.benchmarks import evaluation as halves
from keras_neuronlevel.benchmarks import imagenet as pictures
from keras_neuronlevel.benchmarks.recording import machine, made_up
from keras_neuronlevel.benchmarks.rounds import take_turns
from keras_neuronlevel.data import Dataset, specs
from keras_neuronlevel.data import imagenet as imagenet_data
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.evaluation.calibration import CALIBRATION, IN_MEMORY, compiled_prefix
from keras_neuronlevel.evaluation.sources import are_kept, groups
from keras_neuronlevel.evaluation.truncation import Truncation, tensor_sizes, truncate
from keras_neuronlevel.probes import LinearProbe
from keras_neuronlevel.protocol import pretrained, runs
from keras_neuronlevel.protocol.imagenet import VERIFIED_ON
from keras_neuronlevel.recording.memory import at_once
from keras_neuronlevel.records.room import values_size
from keras_neuronlevel.results import tables

SWEPT = len(halves.RANKS) + 1  # suffixes of a layer: one a rank, and that of the network as it is
STREAMED = 4  # passes of a calibration whose pre-activations are not kept
PROBE_ITERATIONS = 200  # of a fit, over all strengths; those of the committed runs took 48 to 423
PREFETCHED = 4  # batches of images that are made ahead, at most
MODEL_BATCH = 256  # images that go through a trained network together
FLOAT = 4  # bytes

Rates = Mapping[str, float]  # {what: seconds an image}


@dataclasses.dataclass(frozen=True)
class Work:
    """One thing that an experiment does.

    Attributes:
        what: in words.
        images: how many go through the network or a part of it, counted once for every pass.
        parts: (n,) seconds of what is dealt out to devices one by one, in this order.
        spread: in words, how it is shared.
        besides: seconds of what every device does itself.
    """

    what: str
    images: int
    parts: np.ndarray
    spread: str
    besides: float = 0.0

    def seconds(self, devices: int = 1) -> float:
        """Of the device d that has most of it: ``besides`` + max over d of (parts[d] + parts[d + D] + ...), D
        ``devices``."""
        return self.besides + max(float(self.parts[device::devices].sum()) for device in range(devices))


def equal(seconds: float, parts: int) -> np.ndarray:
    """``seconds`` of work in so many equal parts (parts,)."""
    return np.full(parts, seconds / parts)


def run(
    known: Iterable["Trained | Pretrained"],
    devices: int,
    rates: Mapping[str, Rates] | None = None,
    repeats: int = 3,
) -> dict:
    """The plan of an experiment with these networks, a JSON-able dictionary.

    Args:
        known: its networks.
        devices: how many share the work.
        rates: {network: rates} of another machine; measured here where not given.
        repeats: rounds of a measurement.

    Returns:
        ``devices``; ``machine`` (None for given rates); ``networks`` {name: {"rates"; "works", a list of
        dictionaries of ``what``, ``images``, ``spread``, seconds ``alone`` and of ``each`` device, at most;
        ``memory`` {phase: bytes of one device}; ``disk`` {what: bytes}; ``exchanged``, bytes that a device
        sends to others}}; ``seconds`` {"alone", "each"} of all works.

    Raises:
        ValueError: rates that lack something, or are no positive numbers.
    """
    networks = {}
    for network in known:
        found = network.measure(repeats) if rates is None else dict(rates.get(network.name, {}))
        check = functools.partial(_checked, network.name, found)
        networks[network.name] = {
            "rates": found,
            "works": [
                {
                    "what": work.what,
                    "images": work.images,
                    "spread": work.spread,
                    "alone": work.seconds(),
                    "each": work.seconds(devices),
                }
                for work in network.works(check, devices)
            ],
            **network.sizes(devices),
        }
    rows = [row for network in networks.values() for row in network["works"]]
    return {
        "devices": devices,
        "machine": machine() if rates is None else None,
        "networks": networks,
        "seconds": {how: sum(row[how] for row in rows) for how in ("alone", "each")},
    }


def _checked(network, rates, what):
    if what not in rates:
        raise ValueError(
            f"the rates lack {what!r} of {network}; make them by the same command with --output and without "
            "--rates, on the machine that they are of"
        )
    return checks.number(f"the rate of {what} of {network}", rates[what], above=0)


def read(path: Path, experiment: str) -> dict[str, Rates]:
    """The rates in what an earlier plan wrote. Raises ``ValueError`` for another file, or experiment."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
        rates: dict[str, Rates] = {
            name: dict(network["rates"]) for name, network in found["networks"].items()
        }
        of = found["experiment"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} holds no rates; give a file that plan wrote with --output") from None
    if of != experiment:
        raise ValueError(f"{path} holds rates of {of}, not of {experiment}; give one of that")
    return rates


# Networks that are trained and recorded -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network that an experiment trains, records and evaluates: its rates, works and bytes.

    ``data`` needs the right sizes only, see :func:`made_up_data`.
    """

    spec: runs.Spec
    data: Dataset

    @property
    def name(self) -> str:
        return self.spec.label

    @functools.cached_property
    def _model(self):
        return self.spec.build()

    @functools.cached_property
    def _cuts(self):
        return [truncate(self._model, layer) for layer in self.spec.known["roles"]["shown"]]

    @functools.cached_property
    def _recordings(self):
        preset, steps = self.spec.preset, -(-len(self.data.x_train) // self.spec.preset.batch_size)
        return len(schedules.planned_recordings(schedules.due(preset.every), preset.epochs, steps))

    @property
    def _samples(self):
        return min(self.spec.preset.samples, len(self.data.x_train))

    def measure(self, repeats: int) -> dict[str, float]:
        """{what: seconds an image}, measured on this machine."""
        preset = self.spec.preset
        found = runs.estimate(self.spec, self.data)
        rates = {
            "training": found["training"] / (preset.epochs * len(self.data.x_train)),
            "recording": found["recording"] / (self._recordings * self._samples * self._recorders),
        }
        for cut in self._cuts:
            rates |= _halves(cut, MODEL_BATCH, repeats)
            readout = training.training_step(cut.fresh_suffix(0), keras.optimizers.Adam())
            p, crossing = compiled_prefix(cut)(_noise(cut, preset.window_batch_size))
            y = np.arange(preset.window_batch_size) % cut.classes
            step = functools.partial(readout, [p, *crossing], y)
            rates[f"readout {cut.layer}"] = _rate(lambda step=step: float(step()[0]), len(y), repeats)
        return rates

    @property
    def _recorders(self):
        return 2 if self.spec.clipped else 1

    def works(self, rate: Callable[[str], float], devices: int) -> list[Work]:
        """What is to be done, at these rates."""
        preset, cuts = self.spec.preset, self._cuts
        images, tested, samples = len(self.data.x_train), len(self.data.x_test), self._samples
        last = cuts[-1].layer
        forward = rate(f"prefix {last}") + rate(f"suffix {last}")
        trained, recorded = preset.epochs * images, self._recordings * samples * self._recorders
        batches = -(-samples // preset.record_batch_size)
        validated = preset.epochs * tested
        return [
            Work("training", trained, equal(trained * rate("training"), preset.batch_size), "each batch"),
            Work("test accuracy of every epoch", validated, equal(validated * forward, tested), "images"),
            Work(
                f"{self._recordings} recordings of {samples} samples",
                recorded,
                equal(recorded * rate("recording"), batches if batches >= devices else samples),
                "whole batches" if batches >= devices else "samples",
            ),
            *_quantization(cuts, rate, CALIBRATION, tested, IN_MEMORY),
            *(work for cut in cuts for work in self._windows(cut, rate, tested)),
        ]

    def _windows(self, cut, rate, tested):
        preset, layer = self.spec.preset, cut.layer
        windows = len(preset.centers(cut is self._cuts[0])) + 1
        learned = min(preset.window_samples, len(self.data.x_train))
        calibrated = min(CALIBRATION, learned)
        held = round(evaluation.Retrain.held_out * learned)
        trained = preset.window_epochs * (learned - held)
        seconds = trained * rate(f"readout {layer}")
        seconds += (preset.window_epochs * held + tested) * rate(f"suffix {layer}")
        prefix = rate(f"prefix {layer}")
        # Passes that keep what is read, one for all windows of a group; what is too much, readouts make anew.
        once, anew = learned + tested, preset.window_epochs * learned + tested
        bits = [(np.zeros(cut.units), np.ones(cut.units))] * (windows - 1)
        keeps = [are_kept(cut, [read], once, 2 * IN_MEMORY) for read in (None, *bits)]
        baseline = once * keeps[0]
        every = calibrated + once * all(keeps[1:]) * len(list(groups(cut, bits, once, 2 * IN_MEMORY)))
        passes = anew * ~np.array(keeps)
        return [
            Work(
                f"bits of {windows - 1} windows at {layer}",
                baseline + every,
                np.array([baseline * prefix]),
                "windows, each passes all",
                every * prefix,
            ),
            Work(
                f"readouts of {windows - 1} windows and p at {layer}, at most {preset.window_epochs} epochs",
                windows * trained + int(passes.sum()),
                equal(windows * seconds, windows) + passes * prefix,
                "windows",
            ),
        ]

    def sizes(self, devices: int) -> dict:
        """``memory``, ``disk`` and ``exchanged`` of :func:`run`."""
        preset, model = self.spec.preset, self._model
        keep = recording.Keep(seed=self.spec.seed)
        selections = recording.selections_of(model, neurons.neuron_layers(model), self._samples, keep)
        mine = -(-self._samples // devices)
        accumulators = recording.memory_estimate(
            selections, self._samples, recordings=self._recordings, held=mine
        )
        data = sum(getattr(self.data, part).nbytes for part in ("x_train", "x_test"))
        weights = _bytes(model)
        optimizer = self.spec.optimizer()
        optimizer.build(model.trainable_variables)
        state = sum(FLOAT * math.prod(variable.shape) for variable in optimizer.variables)
        recorded = at_once(Workers()) * min(preset.record_batch_size, mine)
        batch = max(-(-preset.batch_size // devices), recorded)
        record = values_size(selections, self._samples, self._recordings, preset.snapshots, "float16")
        record *= self._recorders
        steps = preset.epochs * -(-len(self.data.x_train) // preset.batch_size)
        trainable = sum(FLOAT * math.prod(variable.shape) for variable in model.trainable_variables)
        reduced = round(2 * (devices - 1) / devices * trainable) * steps
        widest = 2 * FLOAT * MODEL_BATCH * self._cuts[-1].widest
        readout = evaluation.Retrain(batch_size=preset.window_batch_size)
        read = min(preset.window_samples, len(self.data.x_train)) + len(self.data.x_test)
        return {
            "memory": {
                "training and recording": data
                + 2 * weights
                + state
                + 2 * batch * FLOAT * sum(tensor_sizes(self._cuts[0].nodes))
                + self._recorders * accumulators,
                "quantization": data + weights + widest + _kept(self._cuts, CALIBRATION, IN_MEMORY),
                "windows": data
                + weights
                + widest
                + _kept(self._cuts, read, 2 * IN_MEMORY, crossing=True)
                + max(readout.at_once(cut, 2 * IN_MEMORY) * readout.memory(cut) for cut in self._cuts),
            },
            "disk": {
                "records": record,
                "model": weights + state,
                "checkpoints, while training": 2 * (weights + state + record),
            },
            "exchanged": reduced if devices > 1 else 0,
        }


def made_up_data(row: papers.Experiment, preset: papers.Preset) -> Dataset:
    """A data set of the experiment's sizes that takes the memory of one image."""
    spec = specs.find_spec(row.data[0])
    x, _ = made_up(spec.image_shape, 1)
    parts: dict[str, Any] = {}
    counts = {"train": preset.train_images or spec.n_train, "test": preset.test_images or spec.n_test}
    for part, count in counts.items():
        parts[f"x_{part}"] = np.broadcast_to(x, (count, *spec.image_shape))
        parts[f"y_{part}"] = (np.arange(count) % len(spec.class_names)).astype(np.int32)
    return Dataset(spec.name, **parts, class_names=spec.class_names, source="made up", digest="")


# The pretrained network -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """The ImageNet experiment's network: its rates, works and bytes.

    Attributes:
        model: its weights do not matter.
        preset: how many pictures there are.
        batch_size: of pictures that go through it together.
        in_memory: bytes of pre-activations that are kept at a time.
        size: the side of its images, in pixels.
    """

    model: keras.Model
    preset: papers.ImageNetPreset
    batch_size: int
    in_memory: int
    size: int = imagenet_data.SIZE
    name: str = "resnet50"

    @functools.cached_property
    def _cuts(self):
        layers = pretrained.main_layers(pretrained.paper_layers(self.model))
        return [truncate(self.model, layer) for layer in layers]

    def measure(self, repeats: int) -> dict[str, float]:
        """{what: seconds an image}, measured on this machine, on made up pictures."""
        with tempfile.TemporaryDirectory() as folder:
            found = imagenet_data.load(pictures.synthetic(folder, 4 * self.batch_size))
            images = found.images("imagenet-caffe", self.size)
            ways = {
                "decoding": lambda: sum(map(len, images.batches(self.batch_size))),
                "inspecting": lambda: imagenet_data.inspect(found),
            }
            rates = {what: float(np.median(s)) / len(images) for what, s in take_turns(ways, repeats).items()}
        for cut in self._cuts:
            rates |= _halves(cut, self.batch_size, repeats)
            rates[f"probe's iteration {cut.layer}"] = self._iteration(cut, repeats)
        return rates

    def _iteration(self, cut, repeats):
        """Seconds an image of one iteration of a probe's fit to pooled features."""
        count = 2 * cut.classes
        x, y = made_up((cut.units,), count)[0], np.arange(count) % cut.classes
        iterations = 3
        probe = LinearProbe(cut.classes, strengths=[1e-3], max_iterations=iterations, tolerance=1e-12)
        return _rate(lambda: probe.fit(x, y), iterations * count, repeats)

    def works(self, rate: Callable[[str], float], devices: int) -> list[Work]:
        """What is to be done, at these rates."""
        preset, cuts, decoding = self.preset, self._cuts, rate("decoding")
        last, count = cuts[-1].layer, preset.calibration + preset.test
        forward = decoding + rate(f"prefix {last}") + rate(f"suffix {last}")
        return [
            Work("looking for corrupt pictures", count, equal(count * rate("inspecting"), count), "pictures"),
            Work("verifying the network", VERIFIED_ON, np.zeros(1), "each does it", VERIFIED_ON * forward),
            *_quantization(cuts, rate, preset.calibration, preset.test, self.in_memory, decoding),
            *self._probes(cuts, rate, decoding),
        ]

    def _probes(self, cuts, rate, decoding):
        preset, curves = self.preset, []
        passed, fits = 0, len(preset.window_centers) + 1
        for cut in cuts:
            images = preset.probe_train + preset.probe_test
            images += preset.calibration * _passes(cut, preset.calibration, self.in_memory)
            fitted = fits * PROBE_ITERATIONS * preset.probe_train * rate(f"probe's iteration {cut.layer}")
            curves.append((images * (decoding + rate(f"prefix {cut.layer}")), fitted))
            passed += images
        network, fitted = np.transpose(curves)
        what = f"{fits} probes at {len(cuts)} layers"
        return [
            Work(f"features of {what}", passed, network, "layers"),
            Work(f"fitting {what}, {PROBE_ITERATIONS} iterations each", 0, fitted, "layers"),
        ]

    def sizes(self, devices: int) -> dict:
        """``memory``, ``disk`` and ``exchanged`` of :func:`run`."""
        weights, preset = _bytes(self.model), self.preset
        widest = FLOAT * self.batch_size * self._cuts[-1].widest
        images = PREFETCHED * FLOAT * self.batch_size * 3 * self.size**2
        kept = _kept(self._cuts, preset.calibration, self.in_memory)
        rows = max(cut.units for cut in self._cuts) * FLOAT * (preset.probe_train + preset.probe_test)
        return {
            "memory": {
                "quantization": weights + images + 3 * widest + kept,
                "probes": weights + images + 3 * widest + kept,
            },
            "disk": {"probes' features, while they are fitted": rows * (len(preset.window_centers) + 1)},
            "exchanged": 0,
        }


# What both have -------------------------------------------------------------------------------------------


def _quantization(cuts, rate, calibrating, tested, in_memory, making=0.0):
    """Calibrations dealt out by layer, and one pass over the test images with a sweep at every cut."""
    passes = [_passes(cut, calibrating, in_memory) for cut in cuts]
    seconds = [
        calibrating * count * (making + rate(f"prefix {cut.layer}"))
        for cut, count in zip(cuts, passes, strict=True)
    ]
    deepest = max(rate(f"prefix {cut.layer}") for cut in cuts)
    suffixes = SWEPT * sum(rate(f"suffix {cut.layer}") for cut in cuts)
    return [
        Work(f"calibrating {len(cuts)} layers", calibrating * sum(passes), np.array(seconds), "layers"),
        Work(
            f"a sweep of {SWEPT - 1} ranks at {len(cuts)} layers",
            tested * (1 + SWEPT * len(cuts)),
            equal(tested * (making + deepest + suffixes), tested),
            "images",
        ),
    ]


def _passes(cut, calibrating, in_memory):
    """Of the network up to the cut: one where pre-activations are kept."""
    return 1 if FLOAT * calibrating * cut.entering[0] <= in_memory else STREAMED


def _kept(cuts, images, in_memory, crossing=False):
    """Bytes of the pre-activations that are kept at a time, of any of the layers, and of what crosses the cut
    with them; percentiles copy a part."""
    sizes = [FLOAT * images * sum(cut.entering if crossing else cut.entering[:1]) for cut in cuts]
    return max([size for size in sizes if size <= in_memory], default=0)


def _bytes(model):
    return sum(FLOAT * math.prod(variable.shape) for variable in model.variables)


def _noise(cut, count):
    return made_up([side or imagenet_data.SIZE for side in cut.input_shape], count)[0]


def _halves(cut: Truncation, batch_size: int, repeats: int) -> dict[str, float]:
    """{"prefix LAYER", "suffix LAYER"}: seconds an image."""
    images = _noise(cut, batch_size)
    prefix, suffix = halves.compiled_halves(cut)
    values = prefix(images)
    return {
        f"prefix {cut.layer}": _rate(lambda: prefix(images)[0].numpy(), batch_size, repeats),
        f"suffix {cut.layer}": _rate(lambda: suffix(*values).numpy(), batch_size, repeats),
    }


def _rate(call, images, repeats):
    return float(np.median(take_turns({"": call}, repeats)[""])) / images


# As text --------------------------------------------------------------------------------------------------


def table(result: dict) -> str:
    """The dictionary of :func:`run` as lines of text."""
    devices, lines = result["devices"], []
    many = f"each of {devices} devices"
    for name, network in result["networks"].items():
        rows = tuple(
            (
                row["what"],
                f"{row['images']:,}",
                tables.duration(row["alone"]),
                *((tables.duration(row["each"]), row["spread"]) if devices > 1 else ()),
            )
            for row in network["works"]
        )
        head = (name, "images", "one device", *((many, "shared by") if devices > 1 else ()))
        lines.append(tables.Table("", head, rows, names=1).text())
        for what, sizes in (("memory of a device", network["memory"]), ("on disk", network["disk"])):
            told = "; ".join(f"{part} {_size(size)}" for part, size in sizes.items())
            lines.append(f"{what}, about: {told}\n")
        if network["exchanged"]:
            lines.append(f"gradients that a device sends to others: {_size(network['exchanged'])}\n")
        lines.append("\n")
    seconds = result["seconds"]
    rates = f"measured on {result['machine']}" if result["machine"] else "as given"
    many = f", {tables.duration(seconds['each'])} on {devices}" if devices > 1 else ""
    lines.append(
        f"in all {tables.duration(seconds['alone'])} on one device{many}; rates {rates}. Waiting for others, "
        "starting and drawing are left out."
    )
    return "".join(lines)


def _size(size):
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
