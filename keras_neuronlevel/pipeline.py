"""The protocol that the experiments share: plan, train and record, measure, draw, write numbers."""

import dataclasses
import json
import logging
import re
import time
from pathlib import Path

import numpy as np

from keras_neuronlevel import data as datasets
from keras_neuronlevel import (
    evaluation,
    files,
    neurons,
    presets,
    report,
    runs,
)
from keras_neuronlevel.evaluation.readout import Budget
from keras_neuronlevel.protocol import figures, measures, provenance
from keras_neuronlevel.records import Records
from keras_neuronlevel.results import lookup, tables

logger = logging.getLogger(__name__)


@dataclasses.dataclass
class Experiment:
    """One run of an experiment script: its data, scale and folder, and the numbers found so far.

    ``metrics`` becomes ``metrics.json``: experiment, preset, provenance, and under ``networks`` for each
    network its training, per layer what was measured, and when. It is written after every step, so an
    interrupted run leaves what it has; ``complete`` says whether all of it is there. ``earlier`` are the
    networks of the same experiment, scale, seed and data that the file held before: of those trained networks
    the numbers that are not measured again are kept.
    """

    title: str
    data: object
    preset: presets.Preset
    seed: int
    folder: Path
    force: bool
    checkpoint_every: float
    metrics: dict
    started: float
    earlier: dict = dataclasses.field(default_factory=dict)

    @classmethod
    def begin(cls, title, arguments, choices):
        """Choose the preset, load the data, and say both."""
        started = time.perf_counter()
        origin = provenance.collect()
        preset, reason = presets.choose(choices, arguments.preset, ", ".join(origin["gpus"]))
        logger.info("%s", reason)
        data = _subset(datasets.load(arguments.dataset, arguments.data_dir), preset, arguments.seed)
        logger.info("data: %s from %s", data.name, data.source)
        origin["data"] = {
            "name": data.name,
            "source": _without_paths(data.source),
            "digest": data.digest,
        }
        metrics = {
            "experiment": title,
            "preset": preset.name,
            "scale": str(preset),
            "stand_in": data.stand_in,
            "seed": arguments.seed,
            "complete": False,
            "provenance": origin,
            "networks": {},
        }
        return cls(
            title,
            data,
            preset,
            arguments.seed,
            arguments.output_dir,
            arguments.force,
            arguments.checkpoint_every,
            metrics,
            started,
        )

    def spec(self, *, name, build, optimizer, **config):
        """The specification of one network; ``config`` says in words what its name does not."""
        config |= {
            "name": self.preset.name,
            **{field: getattr(self.preset, field) for field in presets.TRAINING_FIELDS},
            "train_samples": len(self.data.x_train),
            "seed": self.seed,
            "dataset": self.data.name,
            "digest": self.data.digest,
        }
        return runs.Spec(
            name=f"{self.data.name}-{name}-{self.preset.name}-seed{self.seed}",
            label=name,
            build=build,
            optimizer=optimizer,
            preset=self.preset,
            config=config,
            seed=self.seed,
        )

    @property
    def note(self):
        """The line below every figure: data, scale and seed."""
        stand_in = f" ({self.data.stand_in})" if self.data.stand_in else ""
        return f"{self.data.name}{stand_in}; {self.preset}; seed {self.seed}"

    @property
    def prefix(self):
        """What the names of files begin with, where the data are a stand-in."""
        return f"standin-{self.data.name}-" if self.data.stand_in else ""

    def perform(self, specs, experiments, layers=None):
        """Train and record the networks, measure what is asked for, draw it, and write the numbers.

        ``layers`` names those, by the part before the activation, that are drawn and evaluated. Raises
        ``files.InUseError`` where another process is at work in the folder.
        """
        with files.locked(self.folder):
            self.earlier = _earlier(self.path, self.metrics)
            self.metrics["networks"] |= self.earlier
            self.announce(specs)
            finished = [self.train_and_record(spec) for spec in specs]
            if "derivatives" in experiments:
                self.report_derivatives(finished, layers)
            for run in finished:
                if "quantization" in experiments:
                    self.quantize(run, layers)
                if "window" in experiments:
                    self.binarize_windows(run, layers)
                if "budget" in experiments:
                    self.double_budget(run, layers)
            if experiments != ["training"]:
                self.report_evaluation(finished)
                self.finish()

    def announce(self, specs):
        """Print the plan: sizes, memory, estimated time, what is finished already."""
        logger.info("%s; %s", self.title, self.note)
        total = 0.0
        for spec in specs:
            if not self.force and runs.finished(spec, self.folder / "runs"):
                logger.info("  %s: finished already", spec.name)
                continue
            plan = runs.estimate(spec, self.data)
            seconds = plan["training"] + plan["recording"]
            total += seconds
            logger.info(
                "  %s: %d recordings, accumulators %.0f MiB; about %s (training %.0f s, recording %.0f s)",
                spec.name,
                plan["recordings"],
                plan["memory"] / 2**20,
                _duration(seconds),
                plan["training"],
                plan["recording"],
            )
            for layer, selection in plan["selections"].items():
                logger.info("    %s: %s", layer, selection)
        if total:
            logger.info("training and recording take about %s in all", _duration(total))

    def train_and_record(self, spec):
        """Train one network, or take the finished one; see ``runs.train_and_record``."""
        run = runs.train_and_record(
            spec,
            self.data,
            self.folder / "runs",
            force=self.force,
            checkpoint_every=self.checkpoint_every,
            provenance=self.metrics["provenance"],
        )
        summary = {key: value for key, value in run.summary.items() if key != "name"}
        self.metrics["networks"][run.label] = {
            "training": summary,
            "layers": {},
            "measured": {},
            **self._measured_before(run.label, summary),
        }
        seconds = run.summary["seconds"]
        logger.info(
            "%s: test accuracy %.4f; %.0f s training, %.0f s recording, %.0f s writing",
            run.label,
            run.summary["test_accuracy"],
            *(seconds[part] for part in ("training", "recording", "writing")),
        )
        return run

    def _measured_before(self, label, summary):
        """What ``metrics.json`` has already of the same training of this network."""
        found = self.earlier.get(label, {})
        if found.get("training") != files.as_written(summary):
            return {}
        return {key: found[key] for key in ("layers", "measured") if key in found}

    def keep(self, run, layer, kind, numbers):
        """Put one kind of numbers of a layer among the network's, and when and at which commit that was."""
        network = self.metrics["networks"][run.label]
        network["layers"].setdefault(layer, {})[kind] = numbers
        origin = self.metrics["provenance"]
        network["measured"][kind] = {key: origin[key] for key in ("created", "commit")}

    def report_derivatives(self, finished, layers=None):
        """Measure and draw the average signs of all networks, and what their neurons learn; ``layers``
        restricts the figures."""
        classes = len(self.data.class_names)
        for run in finished:
            logger.info("%s: measuring signs and pre-activations", run.label)
            found = measures.derivative_metrics(run.records_path, classes)
            for layer, numbers in found.items():
                self.keep(run, layer, "derivatives", numbers)
            for layer, numbers in measures.dynamics_metrics(run.records_path).items():
                self.keep(run, layer, "dynamics", numbers)
        self.write()
        shared = {"note": self.note, "prefix": self.prefix, "layers": layers, "seed": self.seed}
        figures.derivative_figures(finished, self.folder, num_classes=classes, **shared)
        figures.dynamics_figures(finished, self.folder, **shared)
        self.keep_neurons(finished, layers)

    def keep_neurons(self, finished, layers=None):
        """Write ``neurons.json``, a few neurons of every drawn layer for the report's browser."""
        panels = {}
        for run in finished:
            with Records(run.records_path) as records:
                names = figures.drawn(records, layers)
            panels[run.label] = report.neurons.extract(run.records_path, names, seed=self.seed)
        report.neurons.write(self.folder / f"{self.prefix}neurons.json", panels)

    def quantize(self, run, layers=None):
        """I §5.1 for each layer of a network: all test images, calibrated on a subset of the training's."""
        model = run.model()
        for layer in _layers(model, layers):
            result = runs.evaluated(
                run,
                "quantization",
                layer,
                {"seed": self.seed},
                lambda done, keep, layer=layer: evaluation.quantization_curve(
                    model,
                    layer,
                    self.data.x_test,
                    self.data.y_test,
                    calibration=self.data.x_train,
                    seed=self.seed,
                ).to_dict(),
            )
            self.keep(run, layer, "quantization", result)
            self.write()

    def binarize_windows(self, run, layers=None):
        """I §5.2 for each layer of a network, with the layers after it trained anew for every window."""
        self._windows(run, layers, "window", self._window_config())

    def double_budget(self, run, layers=None):
        """The two outermost and the middle windows again with twice the patience and epochs: had the
        readouts converged, that changes nothing that matters."""
        config = self._window_config()
        centers = config["centers"]
        config["centers"] = [centers[0], centers[len(centers) // 2], centers[-1]]
        config |= {"epochs": 2 * config["epochs"], "patience": 2 * Budget.patience}
        self._windows(run, layers, "window-twice-the-budget", config)

    def _window_config(self):
        return {
            "seed": self.seed,
            "centers": list(self.preset.window_centers),
            "max_train_samples": self.preset.window_samples,
            "epochs": self.preset.window_epochs,
        }

    def _windows(self, run, layers, kind, config):
        model = run.model()
        batch_size = self.preset.window_batch_size
        for layer in _layers(model, layers):
            result = runs.evaluated(
                run,
                kind,
                layer,
                {**config, "readout": dataclasses.asdict(Budget(batch_size=batch_size))},
                lambda done, keep, layer=layer: evaluation.window_curve(
                    model, layer, self.data, **config, batch_size=batch_size, done=done, on_result=keep
                ).to_dict(),
            )
            self.keep(run, layer, kind, result)
            self.write()

    def report_evaluation(self, finished):
        """Draw the curves of I Fig. 3 and 4 and write Table 1, of what has been measured."""
        networks = {run.label: self.metrics["networks"][run.label] for run in finished}
        figures.evaluation_figures(networks, self.folder, note=self.note, prefix=self.prefix)

    @property
    def path(self):
        """Where the numbers are."""
        return self.folder / f"{self.prefix}metrics.json"

    def write(self):
        files.write_json(self.path, self.metrics)

    def finish(self):
        """Mark the numbers as complete, print them, and say where everything is."""
        self.metrics["complete"] = True
        self.write()
        print(tables.text(self.metrics["networks"]))
        logger.info(
            "figures and metrics.json are in %s (%s)",
            self.folder,
            _duration(time.perf_counter() - self.started),
        )


def _earlier(path, metrics):
    """The networks in a ``metrics.json`` of the same experiment, scale, seed and data; {} where there are
    none, and where the file is of another kind."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    ours = files.as_written(metrics)
    same = all(
        lookup(found, *keys) == lookup(ours, *keys)
        for keys in (("experiment",), ("preset",), ("scale",), ("seed",), ("provenance", "data", "digest"))
    )
    networks = lookup(found, "networks")
    sound = isinstance(networks, dict) and all(map(_is_network, networks.values()))
    if not (same and sound):
        return {}
    origin = {key: lookup(found, "provenance", key) for key in ("created", "commit")}
    return {label: {"measured": _stamps(network, origin), **network} for label, network in networks.items()}


def _is_network(value):
    layers = lookup(value, "layers")
    return isinstance(layers, dict) and all(isinstance(numbers, dict) for numbers in layers.values())


def _stamps(network, origin):
    """When every kind of numbers was measured, for a file that does not say it kind by kind."""
    return {kind: origin for numbers in network["layers"].values() for kind in numbers}


def _subset(data, preset, seed):
    """The data, or as many random images of each part, in their order, as the preset takes."""
    parts = {}
    for part, count in (("train", preset.train_images), ("test", preset.test_images)):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        if count is not None and count < len(x):
            kept = np.sort(np.random.default_rng([seed, 2]).choice(len(x), count, replace=False))
            parts |= {f"x_{part}": x[kept], f"y_{part}": y[kept]}
    return dataclasses.replace(data, **parts)


def _layers(model, names):
    """The model's neuron layers, or those whose names before the activation are given."""
    return [
        layer for layer in neurons.neuron_layers(model) if names is None or layer.rsplit("-", 1)[0] in names
    ]


def _without_paths(source):
    """A data source's words without this machine's folders: results are published."""
    return re.sub(r"(?<!\S)(/|~|[A-Za-z]:\\).*", "a local folder", source)


def _duration(seconds):
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
