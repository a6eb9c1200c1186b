"""The Keras callback: a thin shell around one compiled recording."""

import contextlib
import datetime
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_neuronlevel import checkpoints, checks, distribution, resuming
from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.interruption import deferred
from keras_neuronlevel.recording import planning, taking_up
from keras_neuronlevel.recording.accumulators import recording_step
from keras_neuronlevel.recording.derivatives import prepare
from keras_neuronlevel.recording.forward import derivative_function
from keras_neuronlevel.recording.losses import loss_name
from keras_neuronlevel.recording.memory import accumulators_size, at_once, check_memory, pass_size
from keras_neuronlevel.recording.precision import Disagreement, check_precision
from keras_neuronlevel.recording.recordings import Recordings
from keras_neuronlevel.recording.samples import batches, selections_of
from keras_neuronlevel.recording.sharing import NoWriter, WholeSums, part_of
from keras_neuronlevel.recording.sums import MappedSums, Sums
from keras_neuronlevel.recording.verification import verify
from keras_neuronlevel.records import RecordsWriter
from keras_neuronlevel.samples import count, some_of
from keras_neuronlevel.schedules import Every, due
from keras_neuronlevel.selection import Keep, Selection, Snapshots

logger = logging.getLogger(__name__)


class ActivationGradientRecorder(keras.callbacks.Callback):
    """Record the signs of ∂L/∂a of fixed samples during training; write them to ``path`` at its end.

    Works in ``model.fit`` and in ``training.train``. A recording is taken before a batch's update, so the
    first one sees the initial weights; it changes nothing of the training. For every (sample, neuron)
    pair it adds sign(∂L/∂a), and whether that was nonzero, to integer accumulators, so memory does not
    grow with the number of recordings. See ``records.Records`` for reading the file.

    Args:
        x, y: the recorded samples, (N, ...) as the model takes them (a list or dictionary of arrays where it
            takes several), and labels, (N,) integers or whatever the loss takes.
        layers: names of neuron layers as ``neurons.neuron_layers`` gives them; default all. Which ones are
            not recorded, and why, is logged at the start.
        every: record when the batch index within its epoch is divisible by this number, as the papers do;
            or a function of (epoch, batch, step), all counted from 0, that says whether to record. The
            function must depend on nothing else: it is also asked beforehand, to plan the snapshots.
        path: the HDF5 file to be written. It must not exist yet.
        keep: which neurons and positions of each layer, within which memory: :class:`Keep`. Accumulators
            beyond its ``memory_budget`` live in a memory-mapped file in the folder of ``path``, which has no
            name, so that nothing is left of it; how much longer that takes is logged as a warning.
        snapshots: at how many (or which) recordings pre-activations are kept, of which neurons and positions,
            in which dtype: :class:`Snapshots`.
        batch_size: samples that are evaluated together; where there are two cores and memory for it, two
            such batches beside each other. Changes memory and speed, not the result.
        loss, output: what L is; see :func:`~keras_neuronlevel.recording.activation_derivatives`. By default
            what the model was compiled with, or else the cross-entropy of integer labels.
        precision: "float32", or "bfloat16" for a recording pass in that type, which is faster where the
            processor has it (elsewhere slower, which is said), and gives some signs wrong: how many differ
            from float32 is measured at the first and the last recording (at the end, where the last was not
            known to be it), logged as a warning, and kept in the file (``Records.disagreement``). The
            training is not touched.
        sample_index: the samples' places in their data set, kept in the file; default 0 to N - 1.
        provenance: a JSON-able dictionary, kept in the file; ``starts`` is added to it, one entry for every
            time that the training was started or taken up again.
        overwrite: a file that exists is replaced, when the new one is complete.
        resume: for ``model.fit`` beside ``keras.callbacks.BackupAndRestore``, before or after it in the list:
            what was recorded is saved next to ``path`` at the end of every epoch, and taken up where that
            callback takes up the weights. Where Keras restarts an epoch that was interrupted, recordings of
            its first run are lost: a warning says which, and ``starts`` in the file's provenance.
            (``training.train`` needs no ``resume``: its own checkpoints hold the recorder's state.)

    An interrupted recording can be kept: ``finish()`` writes all that was recorded so far. In a loop of
    one's own::

        with recorder.recording(model):
            for epoch in range(epochs):
                for x, y in batches:
                    recorder.step(epoch)  # before the update
                    train_step(x, y)

    Of a model that several processes train (made in the scope of a ``MultiWorkerMirroredStrategy``), each
    records its part of the samples, in the same batches as one process would; :meth:`signs` and ``table`` are
    of that part. All of it is gathered for snapshots, checkpoints and the file, which the first one writes.

    Before anything is recorded, a few samples are held together against each of them alone (see
    :func:`~keras_neuronlevel.recording.verify`). Everything that does not fit is a ``ValueError`` before the
    first epoch: unknown layers, samples and labels that the model cannot take, an estimate above the
    available memory, ``steps_per_execution`` other than 1, a file that exists. ``files.InUseError`` says that
    somebody else writes the file (another process, or a second recorder of this path in this one), and
    ``files.NoRoomError`` that its disk has no room for all of it.
    """

    def __init__(
        self,
        x: Any,
        y: Any,
        *,
        path: Path | str,
        layers: Sequence[str] | None = None,
        every: Every = 10,
        keep: Keep = Keep(),
        snapshots: Snapshots = Snapshots(),
        batch_size: int = 1000,
        loss: Any = None,
        output: str | int | None = None,
        precision: str = "float32",
        sample_index: Sequence[int] | None = None,
        provenance: Mapping | None = None,
        overwrite: bool = False,
        resume: bool = False,
    ):
        super().__init__()
        if not isinstance(snapshots, Snapshots) or not isinstance(keep, Keep):
            raise ValueError(
                f"keep is {keep!r} and snapshots {snapshots!r}; give a Keep(...) and a Snapshots(...), as "
                "snapshots=Snapshots(recordings=12)"
            )
        self._due, self._every = due(every), every
        self._x, self._y = x, y
        self._layers, self._loss, self._output = layers, loss, output
        self._choice, self._snapshots, self._precision = keep, snapshots, precision
        self._batch_size = checks.whole("batch_size", batch_size, least=1)
        self._given_index = sample_index
        self._index = np.arange(0)  # known when it is known what the model makes of x
        self._provenance = dict(provenance or {})
        self._writer = RecordsWriter(path)
        self._overwrite, self._resume = overwrite, resume
        self._recordings: Recordings | None = None
        self.selections: dict[str, Selection] = {}
        self._total_seconds, self._begun = 0.0, False
        self._epoch: int | None = None

    def __repr__(self):
        layers = ", ".join(f"{name}: {chosen}" for name, chosen in self.selections.items())
        state = f"{len(self.table)} recordings of {layers}" if layers else "not begun"
        of = f" of {len(self._index)} samples" if layers else ""
        return f"<ActivationGradientRecorder{of} to {self._writer.path}, {state}>"

    @property
    def table(self) -> list[tuple]:
        """One row (step, epoch, batch, mean loss, accuracy) for every recording so far."""
        return [] if self._recordings is None else self._recordings.table

    @property
    def seconds(self) -> dict[str, float]:
        """What ``recording``, ``writing`` and the whole training (``total``) took so far."""
        parts = {"recording": 0.0, "writing": 0.0} if self._recordings is None else self._recordings.seconds
        return {**parts, "total": self._total_seconds}

    def signs(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What was accumulated so far: {layer: (sign_sum, nonzero)}, integers (N, U) or (N, U, P).

        Raises ``ValueError`` before training has begun.
        """
        return dict(self._taken.sums)

    def preactivations(self) -> dict[str, np.ndarray]:
        """Pre-activations at the newest recording, of the neurons and positions that snapshots keep (see
        ``selections``): {layer: (N, U') or (N, U', P')}, in the snapshots' dtype.

        Empty before the first recording; several workers that go on from a checkpoint hold none until the
        next one. Raises ``ValueError`` before training has begun.
        """
        return self._taken.preactivations()

    @property
    def _taken(self) -> Recordings:
        if self._recordings is None:
            raise ValueError("nothing is recorded: training has not begun")
        return self._recordings

    @contextlib.contextmanager
    def recording(
        self, model: keras.Model, *, epochs: int = 1, steps: int | None = None
    ) -> Iterator["ActivationGradientRecorder"]:
        """Record a training loop of one's own, which calls :meth:`step` before every update.

        ``epochs`` and ``steps`` (batches in an epoch), where they are known beforehand, let snapshots be
        spaced over the whole training. When the context ends, by an exception too, what was recorded is
        written; an interruption is noted in the provenance.
        """
        epochs = checks.whole("epochs", epochs, least=1)
        steps = None if steps is None else checks.whole("steps", steps, least=1)
        self.set_model(model)
        self.set_params({"epochs": epochs, "steps": steps})
        self.on_train_begin()
        try:
            yield self
        except BaseException as error:
            self._starts[-1]["missing"] = f"everything after step {self._step}: {type(error).__name__}"
            if self.table and self._taken.torn:
                logger.error("%s is not written: %s", self._writer.path, self._taken.torn)
            elif self.table:
                self.finish()
            raise
        self._end_batch()
        self.finish()

    def step(self, epoch: int = 0) -> None:
        """In a loop of one's own: the next batch of this epoch is about to update the model."""
        self._end_batch()
        epoch = checks.whole("epoch", epoch, least=0)
        if epoch != self._epoch:
            self.on_epoch_begin(epoch)
            self._batch = 0
        self.on_train_batch_begin(self._batch)
        self._batch += 1

    def _end_batch(self):
        if self._begun:
            self.on_train_batch_end(self._batch)

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self._model is None:
            raise ValueError(
                "the recorder has no model; in a loop of one's own use with recorder.recording(model):"
            )
        if self.params is None:
            self.set_params({})
        self._prepare(self.model)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._writer.check()
        if self._epoch is None:
            self._begin(epoch, _first_step(self.model))
        self._epoch, self._begun = epoch, False

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        if self._epoch is None or self._begun:
            raise ValueError(
                "on_train_batch_begin was called "
                + ("again before on_train_batch_end" if self._begun else "before on_epoch_begin")
                + "; in a loop of one's own use with recorder.recording(model): and recorder.step()"
            )
        self._begun = True
        if self._due(self._epoch, batch, self._step):
            with deferred():  # half a recording would be a wrong one
                self._taken.take(self._epoch, batch, self._step, revocable=self._length_unknown)
                if len(self.table) == 1 or len(self.table) == self._plan.total:
                    self._compare(last=len(self.table) > 1)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        self._step += 1
        self._begun = False
        with deferred():
            self._taken.keep(self._plan.keeps)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if self._taken.pending and self._length_unknown:
            self._taken.withdraw()
        if self._resume:
            with deferred():
                checkpoints.save(self._checkpoint, *self.checkpoint_state())

    def on_train_end(self, logs: dict | None = None) -> None:
        self.finish()

    def _prepare(self, model):
        if getattr(model, "steps_per_execution", 1) != 1:
            raise ValueError(
                f"the model was compiled with steps_per_execution={model.steps_per_execution}, which hides "
                "batches from callbacks; compile it with steps_per_execution=1 to record"
            )
        self._workers = distribution.of(model)
        if not self._workers.chief:
            self._writer = NoWriter(self._writer.path)
        if self._resume and self._workers.count > 1:
            raise ValueError(
                "resume=True keeps what one process records; several workers go on from the checkpoints of "
                "training.train"
            )
        if self._precision != "float32" and self._workers.count > 1:
            raise ValueError(
                f"precision={self._precision!r} is compared with float32 on one process; leave it out, "
                "or record by one process"
            )
        if self._workers.chief and self._writer.path.exists() and not self._overwrite:
            raise ValueError(
                f"{self._writer.path} exists already; give another path, overwrite=True to replace it when "
                "the new one is complete, or delete it to record again"
            )
        names, x, y, self._chosen = prepare(model, self._x, self._y, self._layers, self._loss, self._output)
        self._index = np.arange(count(x)) if self._given_index is None else np.asarray(self._given_index)
        if len(self._index) != count(x):
            raise ValueError(
                f"sample_index has {len(self._index)} entries for {count(x)} samples; give one for each"
            )
        step = derivative_function(model, names, x, y, self._chosen, self._output)
        verify(model, names, x, y, self._chosen, self._output, step)
        check_precision(model, names, x, y, self._chosen, self._output, self._precision)
        self.selections = selections_of(
            model, names, count(x), self._choice, self._snapshots, x=x, output=self._output
        )
        self._step, self._length_unknown = _first_step(model), self.params.get("steps") is None
        self._plan = self._planned()
        self._part, self._batch_size = part_of(self._workers, count(x), self._batch_size)
        mine = self._part.stop - self._part.start
        size = accumulators_size(self.selections, mine, self._plan.recordings)
        found = neuron_tools.find(model, x, self._output)
        shapes = {name: found.shapes[name] for name in self.selections}
        alone = neuron_tools.side_effects(step)
        self._at_once = 0 if alone else at_once(self._workers, pass_size(shapes, self._batch_size))
        together = min(self._batch_size * max(1, self._workers.devices * self._at_once), mine)
        self._held = together if size > self._choice.memory_budget else None
        held = self._held or mine
        taken_back = self._length_unknown and self._held is None  # mapped, the copy is in a file, too
        passing = pass_size(shapes, together)
        check_memory(
            self.selections, x, self._snapshots.dtype, self._plan.recordings, held, taken_back, passing
        )
        if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
            logger.warning(
                "the model computes in float16, in which small derivatives become exact zeros; their signs "
                "are lost, and left out of the averages"
            )
        self._start(model, x, y, shapes)
        planning.announce(
            self.selections,
            count(x),
            self._snapshots.dtype,
            self._plan,
            found,
            chosen=self._layers is not None,
            held=held,
            revocable=taken_back,
        )

    def _start(self, model, x, y, shapes):
        step = recording_step(
            model,
            self.selections,
            loss=self._chosen,
            output=self._output,
            snapshot_dtype=self._snapshots.dtype,
            precision=self._precision,
        )
        mine = batches(some_of(x, self._part), some_of(y, self._part), self._batch_size)
        self._recordings = Recordings(
            step, mine, self.selections, self._writer, self._new_sums, self._workers, self._at_once
        )
        self._disagreement = self._compared(model, x, y, shapes)
        self._epoch, self._batch, self._begun = None, 0, False
        self._writer.create(
            self.selections,
            y,
            self._index,
            self._snapshots.dtype,
            self._provenance,
            attributes={
                "loss": loss_name(self._chosen),
                "dtype": model.compute_dtype if self._precision == "float32" else self._precision,
            },
            functions=neuron_tools.activation_functions(model, self.selections),
            expected=(self._plan.recordings, self._plan.snapshots),
        )
        self._samples_digest = resuming.digest(*keras.tree.flatten((x, y)), self._index)
        self._starts = [self._start_entry()]
        self._total_seconds, self._clock = 0.0, time.perf_counter()

    def _new_sums(self, selections, counts):
        if self._held is None:
            return Sums(selections, counts, self._workers)
        logger.warning(
            "accumulators of %.1f MiB are beyond the memory budget of %.1f MiB and live in a memory-mapped "
            "file beside %s, which takes longer; a larger Keep(memory_budget=...) keeps them in memory",
            accumulators_size(selections, sum(counts), self._plan.recordings) / 2**20,
            self._choice.memory_budget / 2**20,
            self._writer.path,
        )
        return MappedSums(selections, counts, self._writer.path, self._plan.recordings)

    def _compared(self, model, x, y, shapes):
        if self._precision == "float32":
            return None
        return Disagreement(model, shapes, x, y, self._chosen, self._output, self._precision)

    def _compare(self, last):
        """Hold the recording pass against float32: once at the first recording and once at the last."""
        if self._disagreement is None or len(self._disagreement.found) > last:
            return
        self._disagreement.measure(self._step, self._taken.batches)

    def _start_entry(self):
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        known = {key: self._provenance[key] for key in ("created", "commit") if key in self._provenance}
        return {"created": now, **known, "step": self._step}

    def _planned(self, first_epoch=0):
        return planning.plan(self._due, self._snapshots, self.params, first_epoch, self._step)

    def _begin(self, epoch, step):
        """The first epoch is known: go on from what was saved, or say what the file will lack."""
        jumped = step != self._step or epoch != self._plan.first_epoch
        self._step = step
        if jumped:
            self._plan = self._planned(epoch)
        if self._resume:
            self._take_up(step)
        elif epoch:
            logger.warning(
                "the recorded training begins at epoch %d, step %d; what came before is not in the file "
                "(resume=True keeps it beside keras.callbacks.BackupAndRestore)",
                epoch,
                step,
            )
        self._starts[-1]["step"] = step

    @property
    def _checkpoint(self):
        return Path(f"{self._writer.path}.checkpoint")

    def _take_up(self, step):
        """Take up the newest saved state that is not ahead of the weights, and say what is missing."""
        saved = taking_up.fitting(self._checkpoint, step, self.model)
        missing = taking_up.lacking(saved, step)
        if saved is not None:
            self.resume_from(*saved)
        self._step = step
        self._starts[-1] |= {"step": step} | ({"missing": missing} if missing else {})
        if missing:
            logger.warning("the file %s lacks %s", self._writer.path, missing)

    def checkpoint_state(self) -> tuple[dict, dict]:
        """All that the rest of the recording depends on: (JSON-able state, arrays by name)."""
        self._tick()
        self._taken.settle()
        state = {
            "configuration": self._configuration(),
            "epoch": self._epoch,
            "step": self._step,
            "table": self.table,
            "total": self._plan.total,
            "first_epoch": self._plan.first_epoch,
            "seconds": self.seconds,
            "starts": self._starts,
            "disagreement": self._disagreement.found if self._disagreement else [],
            "weights": resuming.weights_digest(self.model) if self._resume else None,
        }
        return state, self._taken.arrays()

    def _configuration(self):
        loss = None if self._chosen is None else loss_name(self._chosen)
        return taking_up.configuration(
            self._samples_digest,
            self.selections,
            self._every,
            self._snapshots,
            self._batch_size,
            loss,
            self._precision,
        )

    def resume_from(self, state: Mapping, arrays: Mapping) -> None:
        """Go on from a :meth:`checkpoint_state`, after ``on_train_begin``.

        Raises ``checkpoints.CheckpointError``, naming what differs, where it was recorded otherwise.
        """
        taking_up.check_same(self._configuration(), state["configuration"])
        self._taken.restore(state["table"], arrays)
        self._epoch, self._step = state["epoch"], state["step"]
        self._plan = planning.planned(self._snapshots, state["first_epoch"], state["total"])
        if self._disagreement:
            self._disagreement.found = list(state["disagreement"])
        self._total_seconds = state["seconds"]["total"]
        self._taken.seconds = {part: state["seconds"][part] for part in ("recording", "writing")}
        self._starts = [*state["starts"], {**self._start_entry(), "step": self._step}]

    def _tick(self):
        """Add the time since the last call to the training's total, which goes on over interruptions."""
        now = time.perf_counter()
        self._total_seconds += now - self._clock
        self._clock = now

    @property
    def provenance(self) -> dict:
        """What was given as provenance, and under ``starts`` when and where the training was started and
        taken up again: created, commit, step, and what is ``missing``, if anything is."""
        return {**self._provenance, "starts": self._starts}

    def finish(self) -> None:
        """Write the last snapshot, the table and the signs; give the file its name.

        Called at the end of training; after an interruption call it to keep all that was recorded so far.
        Raises ``ValueError`` where nothing was recorded, and where a recording ended in an error when a part
        of the samples was counted.
        """
        sums = WholeSums(self._workers, self._taken.sums)
        self._taken.keep(self._plan.keeps)
        if not self.table:
            raise ValueError(
                "training ended without a single recording: 'every' never said yes; record more often"
            )
        self._taken.write_snapshot()
        self._compare(last=True)
        start = time.perf_counter()
        found = {"disagreement": json.dumps(self._disagreement.found)} if self._disagreement else {}
        self._taken.settle()
        self._writer.finish(self.table, sums, self.provenance, found)
        if self._workers.chief:
            checkpoints.remove(self._checkpoint)
        self._taken.seconds["writing"] += time.perf_counter() - start
        self._tick()
        if isinstance(self._taken.sums, MappedSums):
            logger.warning(
                "moving accumulators between memory and their file took %.1f seconds, those of batches "
                "beside each other added up; the recordings took %.1f",
                self._taken.sums.seconds,
                self.seconds["recording"],
            )


def _first_step(model):
    """How many batches the model's optimizer has seen; ``iterations`` are updates, which some gather from
    several batches."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return int(keras.ops.convert_to_numpy(getattr(inner, "_iterations", optimizer.iterations)))
