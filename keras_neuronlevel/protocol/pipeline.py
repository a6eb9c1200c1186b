"""The protocol that the training experiments share: plan, train and record, measure, draw, write numbers."""

import argparse
import contextlib
import dataclasses
import logging
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_neuronlevel import data as datasets
from keras_neuronlevel import distribution, evaluation, papers, results, streams
from keras_neuronlevel.protocol import figures, measures, panels, provenance, runs, sharing
from keras_neuronlevel.protocol.study import Study, finish
from keras_neuronlevel.results import lookup, tables

logger = logging.getLogger(__name__)


def main(
    row: papers.Experiment,
    options: argparse.Namespace,
    recipe: Callable[["Experiment", str], runs.Spec],
) -> None:
    """What an experiment script does: train, record, measure, evaluate, draw.

    Args:
        row: the experiment.
        options: its command line's, see ``cli.parser``.
        recipe: (experiment, activation) -> the network to train, see :meth:`Experiment.spec`.
    """
    with sharing.begun(options.strategy) as workers:
        experiment = Experiment.begin(row, options, workers)
        experiment.perform(
            [recipe(experiment, activation) for activation in dict.fromkeys(options.activation)]
        )


@dataclasses.dataclass
class Experiment:
    """One run of an experiment script: its data, scale and options, and the numbers found so far.

    Attributes:
        row: what is known of the experiment.
        data: as many of its images as the preset takes.
        options: the command line's.
        head: what ``metrics.json`` says of the run itself.
        workers: that share the work; the first one, the chief, writes.
        metrics: that file, a ``results.Metrics``, once the folder is locked; None on the other workers.
        spent: {part: seconds} of the work so far.
        first_figures: seconds until they were there; None before.
    """

    row: papers.Experiment
    data: datasets.Dataset
    preset: papers.Preset
    options: argparse.Namespace
    head: dict
    started: float
    workers: distribution.Workers = dataclasses.field(default_factory=distribution.Workers)
    metrics: Any = dataclasses.field(init=False)
    spent: dict[str, float] = dataclasses.field(default_factory=dict)
    first_figures: float | None = None

    @classmethod
    def begin(
        cls,
        row: papers.Experiment,
        options: argparse.Namespace,
        workers: distribution.Workers | None = None,
    ) -> "Experiment":
        """Choose the preset, load the data, and say both."""
        started, workers = time.perf_counter(), workers or distribution.Workers()
        origin = provenance.collect()
        preset, reason = papers.choose(row.presets, options.preset, ", ".join(origin["gpus"]))
        logger.info("%s", reason)
        data = subset(datasets.load(options.dataset, options.data_dir), preset, options.seed)
        logger.info("data: %s from %s", data.name, data.source)
        source = without_paths(data.source)
        origin["data"] = {"name": data.name, "source": source, "digest": data.digest}
        head = {
            "experiment": row.name,
            "preset": preset.described(),
            "scale": str(preset),
            "stand_in": data.stand_in,
            "seed": options.seed,
            "provenance": origin,
        }
        sharing.check_same(workers, options, preset=preset.name)
        return cls(row, data, preset, options, head, started, workers)

    @property
    def seed(self) -> int:
        return self.options.seed

    @property
    def folder(self) -> Path:
        return self.options.output_dir

    @property
    def prefix(self) -> str:
        """What the names of files begin with, where the data are a stand-in."""
        return results.file_name(self.data.name if self.data.stand_in else None, "")

    @property
    def note(self) -> str:
        """The line below every figure of the recorded training: data, scale and seed."""
        return self._note(str(self.preset))

    def _note(self, scale):
        stand_in = f" ({self.data.stand_in})" if self.data.stand_in else ""
        return f"{self.data.name}{stand_in}; {scale}; seed {self.seed}"

    def spec(self, *, name: str, activation: str, build, optimizer, **config) -> runs.Spec:
        """One network to train; ``config`` says in words what its name does not."""
        config |= {
            "activation": activation,
            **self.preset.training(),
            "train_samples": len(self.data.x_train),
            "seed": self.seed,
            "dataset": self.data.name,
            "digest": self.data.digest,
            **self.workers.described(),
        }
        return runs.Spec(
            name=self._run_name(name),
            label=name,
            known=self.row.network(activation),
            build=build,
            optimizer=optimizer,
            preset=self.preset,
            config=config,
            seed=self.seed,
            clipped="clipped" in self.options.experiments,
        )

    def _run_name(self, label):
        return f"{self.data.name}-{label}-{self.preset.name}-seed{self.seed}"

    def perform(self, specs: list[runs.Spec]) -> None:
        """Train and record the networks, measure what is asked for, draw it, and write the numbers.

        One network after the other, so that there are figures when the first is trained. Drawn are all that
        the folder has, those of earlier commands, too.

        Raises:
            files.InUseError: where another process is at work in the folder.
            ValueError: with ``--remeasure`` for a network that is not finished.
        """
        wanted, chief = self.options.experiments, self.workers.chief
        self.metrics = None
        with sharing.at_work(self.workers, self.folder):
            finished = {spec.name: self._finished(spec) for spec in specs} if chief else {}
            taken_up = self.options.force or any(finished.values())
            if chief:
                self.metrics = results.Metrics(self.folder / f"{self.prefix}metrics.json", **self.head)
                with self._timed("planning"):
                    self.announce(specs, finished)
                self.metrics.claim()
            for spec in specs:
                with self._timed("training and recording"):
                    finished[spec.name] = run = self.train_and_record(spec)
                taken_up |= len(lookup(run.summary, "provenance", "starts") or ()) > 1
                with self._timed("measuring and drawing"):
                    if chief and "derivatives" in wanted:
                        self.report_derivatives(run, self._all_finished(finished))
                        self.first_figures = self.first_figures or time.perf_counter() - self.started
                    if chief and "clipped" in wanted:
                        self.report_clipped(run)
                self.evaluate(run, wanted)
            if chief and wanted != ["training"]:
                with self._timed("measuring and drawing"):
                    finish(self.metrics, self._note(self.preset.trained), self.prefix)
            self._tell_time(taken_up)

    @contextlib.contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[part] = self.spent.get(part, 0.0) + time.perf_counter() - start

    def _tell_time(self, taken_up):
        """Say what the command took; its numbers keep it, where it did all of its work itself, at once."""
        total = time.perf_counter() - self.started
        parts = ", ".join(f"{part} {tables.duration(seconds)}" for part, seconds in self.spent.items())
        first = self.first_figures
        figures = f", the first figures after {tables.duration(first)}" if first else ""
        logger.info("that took %s%s (%s)", tables.duration(total), figures, parts)
        if self.metrics is not None and self.metrics.value["complete"] and not taken_up:
            told = {"first figures after": first} if first else {}
            self.metrics.value["seconds"] = {"total": total, **told, **self.spent}
            self.metrics.write(complete=True)

    def announce(self, specs: list[runs.Spec], finished: dict[str, runs.Run | None]) -> None:
        """Print the plan: sizes, memory, estimated time, what is finished already."""
        logger.info("%s; %s", self.row.name, self.note)
        total = 0.0
        for spec in specs:
            if finished[spec.name]:
                logger.info("  %s: finished already", spec.name)
                continue
            if self.options.remeasure:
                raise ValueError(
                    f"--remeasure measures finished networks again, and {spec.name} is not finished; run "
                    "the same command without --remeasure, or leave that network out (--activation)"
                )
            plan = runs.estimate(spec, self.data)
            seconds = plan["training"] + plan["recording"]
            total += seconds
            logger.info(
                "  %s: %d recordings, accumulators %.0f MiB; about %s (training %.0f s, recording %.0f s)",
                spec.name,
                plan["recordings"],
                plan["memory"] / 2**20,
                tables.duration(seconds),
                plan["training"],
                plan["recording"],
            )
            for layer, selection in plan["selections"].items():
                logger.info("    %s: %s", layer, selection)
        if total:
            logger.info("training and recording take about %s in all", tables.duration(total))

    def _finished(self, spec):
        """The finished run of an earlier command, unless it is to be replaced."""
        return None if self.options.force else runs.finished(spec, self.folder / "runs")

    def _all_finished(self, named):
        """The finished runs of the folder, in the order of its numbers: of those in ``named``, {name: run or
        None}, and of those that only its numbers name."""
        folder, found = self.folder / "runs", {}
        for label, network in self.metrics.networks.items():
            name = self._run_name(label)
            found[name] = named[name] if name in named else runs.of_numbers(name, label, network, folder)
        return [run for run in {**found, **named}.values() if run]

    def train_and_record(self, spec: runs.Spec) -> runs.Run:
        """Train one network, or take the finished one; see ``runs.train_and_record``."""
        run = runs.train_and_record(
            spec,
            self.data,
            self.folder / "runs",
            force=self.options.force,
            progress=not self.options.quiet,
            checkpoint_every=self.options.checkpoint_every,
            provenance=self.head["provenance"],
            workers=self.workers,
        )
        if self.metrics is None:
            return run
        summary = {key: value for key, value in run.summary.items() if key != "name"}
        self.metrics.begin(run.label, run.known, training=summary)
        seconds = run.summary["seconds"]
        logger.info(
            "%s: test accuracy %.4f; %.0f s training, %.0f s recording, %.0f s writing",
            run.label,
            run.summary["test_accuracy"],
            *(seconds[part] for part in ("training", "recording", "writing")),
        )
        return run

    def report_derivatives(self, run: runs.Run, finished: list[runs.Run]) -> None:
        """Measure the average signs of a network, and what its neurons learn; draw those of all that are
        finished."""
        classes = len(self.data.class_names)
        logger.info("%s: measuring signs and pre-activations", run.label)
        for layer, numbers in measures.derivative_metrics(run.records_path, classes).items():
            self.metrics.keep(run.label, layer, "derivatives", numbers)
        for layer, numbers in measures.dynamics_metrics(run.records_path).items():
            self.metrics.keep(run.label, layer, "dynamics", numbers)
        self.metrics.write()
        shared: dict[str, Any] = {"note": self.note, "prefix": self.prefix, "seed": self.seed}
        figures.derivative_figures(finished, self.folder, num_classes=classes, **shared)
        figures.dynamics_figures(finished, self.folder, **shared)
        drawn = {run.label: panels.extract(run.records_path, run.shown, seed=self.seed) for run in finished}
        results.neurons.write(self.folder / f"{self.prefix}neurons.json", drawn)

    def report_clipped(self, run: runs.Run) -> None:
        """Measure the signs of the clipped loss, of a network that recorded it."""
        found = measures.clipped_metrics(run.clipped_path) if run.clipped_path else {}
        for layer, numbers in found.items():
            self.metrics.keep(run.label, layer, "clipped", numbers)
        self.metrics.write()

    def evaluate(self, run: runs.Run, wanted: Sequence[str]) -> None:
        """I §5 on one network: all test images, calibrated on a subset of the training's; the layers after
        a window are trained anew for every one."""
        if not {"quantization", "window", "budget"} & set(wanted):
            return
        model, named = run.model(self.workers), zip(self.row.roles["shown"], run.shown, strict=True)
        study = Study(
            run.label,
            model,
            [layer for name, layer in named if name in self.options.layers],
            self.metrics,
            run.model_path.with_suffix(""),
            {},
            self.seed,
            self.options.remeasure,
            self.workers,
        )
        if "quantization" in wanted:
            with self._timed("quantization"):
                study.quantize(self.data.x_test, self.data.y_test, self.data.x_train, {})
        if "window" in wanted:
            with self._timed("windows"):
                self._binarize_windows(study, run, "window", self.preset.centers, self._readout())
        if "budget" in wanted:
            # The outermost and the middle windows: had the readouts converged, it changes nothing much.
            with self._timed("windows of twice the budget"):
                self._binarize_windows(study, run, results.TWICE, self._few_centers, self._readout(times=2))

    def _few_centers(self, first):
        centers = self.preset.centers(first)
        return centers[0], centers[len(centers) // 2], centers[-1]

    def _readout(self, times=1):
        """The later layers trained anew, with so many times the patience and the epochs."""
        return evaluation.Retrain(
            epochs=times * self.preset.window_epochs,
            batch_size=self.preset.window_batch_size,
            patience=times * evaluation.Retrain.patience,
        )

    def _binarize_windows(self, study, run, kind, centers, readout):
        """The last layer first: the fewer layers are trained anew, the sooner it is done."""
        for layer in reversed(study.layers):
            options = {
                "centers": list(centers(layer == run.shown[0])),
                "max_train_samples": self.preset.window_samples,
            }
            study.binarize_windows([layer], self.data, {}, readout, kind=kind, **options)


def subset(data: datasets.Dataset, preset: papers.Preset, seed: int) -> datasets.Dataset:
    """The data, or as many random images of each part, in their order, as the preset takes."""
    parts: dict[str, Any] = {}
    for part, count in (("train", preset.train_images), ("test", preset.test_images)):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        if count is not None and count < len(x):
            kept = np.sort(streams.generator(seed, "subset of the data").choice(len(x), count, replace=False))
            parts |= {f"x_{part}": x[kept], f"y_{part}": y[kept]}
    return dataclasses.replace(data, **parts)


def without_paths(source: str) -> str:
    """A data source's words without this machine's folders: results are published."""
    return re.sub(r"(?<!\S)(/|~|[A-Za-z]:\\).*", "a local folder", source)
