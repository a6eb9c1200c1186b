"""Train and record a network once, keep what came of it, and take it again when it is finished."""

import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from keras_neuronlevel import (
    checkpoints,
    files,
    neurons,
    papers,
    recording,
    results,
    schedules,
    streams,
    training,
)
from keras_neuronlevel.data import Dataset
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.protocol import saved_models
from keras_neuronlevel.recording.memory import at_once, pass_size
from keras_neuronlevel.recording.recordings import Recordings
from keras_neuronlevel.recording.sharing import NoWriter
from keras_neuronlevel.results.forms import MORE, TEXT

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Spec:
    """One network to train and record.

    ``build()`` gives a fresh, seeded model; ``optimizer()`` a fresh optimizer. ``config`` is everything
    JSON-able that determines the result: a finished run is taken again only if it is the same. ``known`` is
    what ``metrics.json`` says of the network, see ``papers.Experiment.network``. With ``clipped`` the signs
    of ``recording.clipped_cross_entropy`` are recorded beside, in the same training, of which it changes
    nothing.
    """

    name: str
    label: str
    known: dict
    build: Callable[[], keras.Model]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    preset: papers.Preset
    config: dict
    seed: int
    clipped: bool = False


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished network: its saved model, its records file, and the summary of its training;
    ``clipped_path`` is the records file of the clipped loss, if that was recorded."""

    name: str
    label: str
    known: dict
    model_path: Path
    records_path: Path
    summary: dict
    clipped_path: Path | None = None

    @property
    def shown(self) -> list[str]:
        """The layers that are drawn and evaluated."""
        return self.known["roles"]["shown"]

    def model(self, workers: Workers | None = None) -> keras.Model:
        """The saved model, of which the chief tells the other workers."""
        workers = workers or Workers()
        told = workers.told_bytes(
            self.model_path.read_bytes() if workers.count > 1 and workers.chief else b""
        )
        if workers.chief:
            return saved_models.load(self.model_path)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, self.model_path.name)
            path.write_bytes(told)
            return saved_models.load(path)


def recorded_samples(data: Dataset, count: int, seed: int) -> np.ndarray:
    """``count`` random training samples, sorted indices drawn from the seed; all, where count is larger."""
    total = len(data.x_train)
    return np.sort(
        streams.generator(seed, "recorded samples").choice(total, min(count, total), replace=False)
    )


def train_and_record(
    spec: Spec,
    data: Dataset,
    folder: str | Path,
    *,
    force: bool = False,
    provenance: dict | None = None,
    progress: bool = True,
    checkpoint_every: float = 600,
    workers: Workers | None = None,
) -> Run:
    """Train one network with the recorder, or take the finished run of the same ``spec``.

    Writes ``{name}.keras``, ``{name}.h5``, where the spec wants it ``{name}.clipped.h5``, and last
    ``{name}.json`` into ``folder``; only with the last is the run finished. Until then
    ``{name}.checkpoint``, saved every ``checkpoint_every`` seconds, holds what was done: the same call goes
    on from there after an interruption. Raises ``ValueError`` where ``folder``
    holds a run of this name made otherwise, or a finished one of which a file is missing, unless ``force``,
    which replaces the finished run when the new one is complete. Several ``workers`` call this alike; what is
    finished is the chief's word, and only the chief's run has a summary.
    """
    paths, workers = _paths(spec.name, folder), workers or Workers()
    run = finished(spec, folder) if workers.chief and not force else None
    if workers.told(run is not None):
        logger.info("%s is finished already; --force trains it again", spec.name)
        return run or _unseen(spec, paths)
    summary = _train(spec, data, paths, provenance or {}, progress, checkpoint_every, workers)
    if not workers.chief:
        return _unseen(spec, paths)
    for evaluation in Path(folder).glob(f"{spec.name}.*.json"):
        evaluation.unlink()  # of the run that is replaced
    results.Store(paths["json"], spec.config, forget=True).keep_all(summary)
    checkpoints.remove(paths["checkpoint"])
    return _run(spec, paths, results.Store(paths["json"], spec.config))


# What a finished run's .json holds beside its configuration.
SUMMARY = {"name": TEXT, **results.TRAINING}


def _paths(name, folder):
    ends = ("keras", "h5", "clipped.h5", "json", "checkpoint")
    return {end: Path(folder) / f"{name}.{end}" for end in ends}


def finished(spec: Spec, folder: str | Path) -> Run | None:
    """The finished run of ``spec`` in ``folder``, or None. Raises ``ValueError`` for one made otherwise, for
    one of which a file is missing, and for one without the clipped loss where that is wanted."""
    paths = _paths(spec.name, folder)
    if not paths["json"].exists():
        return None
    missing = [paths[end].name for end in ("keras", "h5") if not paths[end].exists()]
    if missing:
        raise ValueError(
            f"{paths['json']} says that the run is finished, but {' and '.join(missing)} is missing; put it "
            "back, or give --force to train the network again"
        )
    store = results.Store(paths["json"], spec.config, form=SUMMARY)
    if store.other is not None:
        raise ValueError(
            f"{paths['json']} holds a run that differs in {store.differences}; give another --output-dir, or "
            "--force to replace it"
        )
    missing = [key for key in SUMMARY if key != MORE and key not in store.kept]
    if missing:
        raise ValueError(
            f"{paths['json']} is damaged: it lacks {missing[0]!r}; give --force to train the network again"
        )
    if spec.clipped and not paths["clipped.h5"].exists():
        raise ValueError(
            f"{spec.name} was trained without recording the clipped loss, which cannot be had afterwards; "
            "leave clipped out of --experiments, or give --force to train the network again"
        )
    return _run(spec, paths, store)


def of_numbers(name: str, label: str, network: dict, folder: str | Path) -> Run | None:
    """The finished run ``name`` of ``folder`` that a network of ``metrics.json`` tells of, for drawing; None
    where its records are not there, or of a training that is not finished."""
    paths = _paths(name, folder)
    if not all(paths[end].exists() for end in ("json", "keras", "h5")):
        return None
    known = {key: network[key] for key in ("activation", "family", "owner", "roles")}
    return Run(name, label, known, paths["keras"], paths["h5"], network["training"])


def _unseen(spec, paths):
    """A run whose files only the chief has."""
    return Run(spec.name, spec.label, spec.known, paths["keras"], paths["h5"], {})


def _run(spec, paths, store):
    summary = {"config": store.config, **store.kept}
    clipped = paths["clipped.h5"] if paths["clipped.h5"].exists() else None
    return Run(spec.name, spec.label, spec.known, paths["keras"], paths["h5"], summary, clipped)


def _train(spec, data, paths, provenance, progress, checkpoint_every, workers):
    index = recorded_samples(data, spec.preset.samples, spec.seed)
    with workers.strategy.scope():
        model, optimizer = spec.build(), spec.optimizer()
    recorder, *others = _recorders(spec, data, index, paths, provenance)

    def save(logs):
        """The model first, which nothing else holds; the checkpoint has what is recorded, too."""
        if not workers.chief:
            return
        with files.replacing(paths["keras"]) as temporary:
            model.save(temporary)
            paths["json"].unlink(missing_ok=True)  # a finished run stops being one when its files go

    history = training.train(
        model,
        data,
        optimizer=optimizer,
        epochs=spec.preset.epochs,
        batch_size=spec.preset.batch_size,
        callbacks=[keras.callbacks.LambdaCallback(on_train_end=save), recorder, *others],
        seed=spec.seed,
        progress=progress,
        checkpoint=paths["checkpoint"],
        checkpoint_every=checkpoint_every,
    )
    if workers.chief and not spec.clipped:
        paths["clipped.h5"].unlink(missing_ok=True)  # of the run that is replaced
    seconds = dict(recorder.seconds)
    for other in others:
        seconds |= {part: seconds[part] + other.seconds[part] for part in ("recording", "writing")}
    seconds["training"] = seconds["total"] - seconds["recording"] - seconds["writing"]
    return {
        "name": spec.name,
        "history": history.history,
        "test_accuracy": history.history["val_accuracy"][-1],
        "recordings": len(recorder.table),
        "samples": len(index),
        "selections": {layer: str(s) for layer, s in recorder.selections.items()},
        "seconds": seconds,
        "provenance": {**provenance, "starts": recorder.provenance["starts"]},
    }


def _recorders(spec, data, index, paths, provenance):
    """That of the exact loss, with the snapshots, and where it is wanted that of the clipped one."""
    shared = {
        "every": spec.preset.every,
        "keep": recording.Keep(seed=spec.seed),
        "batch_size": spec.preset.record_batch_size,
        "sample_index": index,
        "provenance": {**provenance, "config": spec.config},
        "overwrite": True,  # what is there is no finished run, or is to be replaced
    }
    ways = [("h5", {"snapshots": recording.Snapshots(spec.preset.snapshots)})]
    if spec.clipped:
        few = recording.Snapshots(1, neurons=1, positions=1)
        ways.append(("clipped.h5", {"loss": "clipped_cross_entropy", "snapshots": few}))
    return [
        recording.ActivationGradientRecorder(
            data.x_train[index], data.y_train[index], path=paths[end], **shared, **more
        )
        for end, more in ways
    ]


def estimate(spec: Spec, data: Dataset) -> dict:
    """Seconds that training and recording will take, measured here on a few batches; and the recorder's
    memory in bytes: {"training", "recording", "recordings", "memory", "selections"}."""
    model, preset = spec.build(), spec.preset
    index = recorded_samples(data, preset.samples, spec.seed)
    names = neurons.neuron_layers(model)
    selections = recording.selections_of(model, names, len(index), recording.Keep(seed=spec.seed))
    rows = at_once(Workers(), pass_size(neurons.find(model).shapes, preset.record_batch_size))
    few = index[: rows * preset.record_batch_size]
    parts = recording.batches(data.x_train[few], data.y_train[few], preset.record_batch_size)
    taken = Recordings(
        recording.recording_step(model, selections), parts, selections, NoWriter(), at_once=rows
    )
    per_recording = _seconds(lambda: taken.take(0, 0, 0, revocable=False), 2) * len(index) / len(few)
    steps = -(-len(data.x_train) // preset.batch_size)
    step = training.training_step(model, spec.optimizer())
    x, y = data.x_train[: preset.batch_size], data.y_train[: preset.batch_size]
    planned = schedules.planned_recordings(schedules.due(preset.every), preset.epochs, steps)
    recorders = 2 if spec.clipped else 1
    return {
        "training": _seconds(lambda: step(x, y), 20) * steps * preset.epochs,
        "recording": per_recording * len(planned) * recorders,
        "recordings": len(planned),
        "memory": recording.memory_estimate(selections, len(index)) * recorders,
        "selections": selections,
    }


def _seconds(call, most):
    """What a call takes, after the first, which traces: the mean of so many, or of those of one second."""
    call()
    start, spent, done = time.perf_counter(), 0.0, 0
    while done < most and spent < 1:
        keras.tree.map_structure(np.asarray, call())
        spent, done = time.perf_counter() - start, done + 1
    return spent / done
