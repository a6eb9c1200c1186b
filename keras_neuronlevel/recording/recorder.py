"""The Keras callback: a thin shell around one compiled recording."""

import contextlib
import datetime
import logging
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import checkpoints, resuming
from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.interruption import deferred
from keras_neuronlevel.recording.accumulators import recording_step, zero_sums
from keras_neuronlevel.recording.derivatives import prepare
from keras_neuronlevel.recording.losses import loss_name
from keras_neuronlevel.recording.memory import check_memory, memory_estimate
from keras_neuronlevel.recording.samples import batches, count, selections_of
from keras_neuronlevel.recording.verification import verify
from keras_neuronlevel.records import RecordsWriter
from keras_neuronlevel.schedules import due, planned_recordings, snapshot_recordings

logger = logging.getLogger(__name__)

SPILL_EVERY = np.iinfo(np.int16).max  # recordings that an int16 accumulator surely holds


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
        neurons, positions, memory_budget: what to keep of each layer; see ``selection.select``.
        snapshots: how many snapshots of pre-activations to keep, spaced evenly in the logarithm of the
            recording's number, or a sequence of recordings. The first and the last are always kept.
        snapshot_neurons, snapshot_positions: of how many (or which) recorded neurons and positions.
        snapshot_dtype: ``"float16"`` or ``"float32"``.
        batch_size: samples that are evaluated together; changes memory and speed, not the result.
        seed: from which random neurons and positions are drawn.
        loss, output: what L is; see :func:`~keras_neuronlevel.recording.activation_derivatives`. By default
            what the model was compiled with, or else the cross-entropy of integer labels.
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

    Before anything is recorded, a few samples are held together against each of them alone (see
    :func:`~keras_neuronlevel.recording.verify`). Everything that does not fit is a ``ValueError`` before the
    first epoch: unknown layers, samples and labels that the model cannot take, an estimate above the
    available memory, ``steps_per_execution`` other than 1, a file that exists.
    """

    def __init__(
        self,
        x,
        y,
        *,
        path,
        layers=None,
        every=10,
        neurons=None,
        positions=None,
        memory_budget=2**31,
        snapshots=12,
        snapshot_neurons=32,
        snapshot_positions=4,
        snapshot_dtype="float16",
        batch_size=1000,
        seed=0,
        loss=None,
        output=None,
        sample_index=None,
        provenance=None,
        overwrite=False,
        resume=False,
    ):
        super().__init__()
        if snapshot_dtype not in ("float16", "float32"):
            raise ValueError(f"snapshot_dtype is {snapshot_dtype!r}; give 'float16' or 'float32'")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self._due, self._every = due(every), every
        self._x, self._y = x, y
        self._layers, self._loss, self._output = layers, loss, output
        self._choice = {
            "neurons": neurons,
            "positions": positions,
            "snapshot_neurons": snapshot_neurons,
            "snapshot_positions": snapshot_positions,
            "memory_budget": memory_budget,
            "seed": seed,
        }
        self._snapshots = snapshots
        self._snapshot_dtype = snapshot_dtype
        self._batch_size = batch_size
        self._index = np.arange(count(x)) if sample_index is None else np.asarray(sample_index)
        self._provenance = dict(provenance or {})
        self._writer = RecordsWriter(path)
        self._overwrite, self._resume = overwrite, resume
        self.table, self.selections, self._epoch, self._begun = [], {}, None, False
        self.seconds = {"recording": 0.0, "writing": 0.0, "total": 0.0}

    def __repr__(self):
        layers = ", ".join(f"{name}: {chosen}" for name, chosen in self.selections.items())
        state = f"{len(self.table)} recordings of {layers}" if layers else "not begun"
        return f"<ActivationGradientRecorder of {len(self._index)} samples to {self._writer.path}, {state}>"

    @contextlib.contextmanager
    def recording(self, model: keras.Model, *, epochs: int = 1, steps: int | None = None):
        """Record a training loop of one's own, which calls :meth:`step` before every update.

        ``epochs`` and ``steps`` (batches in an epoch), where they are known beforehand, let snapshots be
        spaced over the whole training. When the context ends, by an exception too, what was recorded is
        written; an interruption is noted in the provenance.
        """
        self.set_model(model)
        self.set_params({"epochs": epochs, "steps": steps})
        self.on_train_begin()
        try:
            yield self
        except BaseException as error:
            self._starts[-1]["missing"] = f"everything after step {self._step}: {type(error).__name__}"
            if self.table:
                self.finish()
            raise
        self._end_batch()
        self.finish()

    def step(self, epoch: int = 0):
        """In a loop of one's own: the next batch of this epoch is about to update the model."""
        self._end_batch()
        if epoch != self._epoch:
            self.on_epoch_begin(epoch)
            self._batch = 0
        self.on_train_batch_begin(self._batch)
        self._batch += 1

    def _end_batch(self):
        if self._begun:
            self.on_train_batch_end(self._batch)

    def on_train_begin(self, logs=None):
        if self._model is None:
            raise ValueError(
                "the recorder has no model; in a loop of one's own use with recorder.recording(model):"
            )
        if self.params is None:
            self.set_params({})
        self._prepare(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        if self._epoch is None:
            self._begin(epoch, _first_step(self.model))
        self._epoch, self._begun = epoch, False

    def on_train_batch_begin(self, batch, logs=None):
        if self._epoch is None or self._begun:
            raise ValueError(
                "on_train_batch_begin was called "
                + ("again before on_train_batch_end" if self._begun else "before on_epoch_begin")
                + "; in a loop of one's own use with recorder.recording(model): and recorder.step()"
            )
        self._begun = True
        if self._due(self._epoch, batch, self._step):
            with deferred():  # half a recording would be a wrong one
                self._record(self._epoch, batch, self._step)

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        self._begun = False
        with deferred():
            self._keep()

    def on_epoch_end(self, epoch, logs=None):
        if self._pending and self._length_unknown:
            self._withdraw()
        if self._resume:
            with deferred():
                checkpoints.save(self._checkpoint, *self.checkpoint_state())

    def on_train_end(self, logs=None):
        self.finish()

    def _prepare(self, model):
        if getattr(model, "steps_per_execution", 1) != 1:
            raise ValueError(
                f"the model was compiled with steps_per_execution={model.steps_per_execution}, which hides "
                "batches from callbacks; compile it with steps_per_execution=1 to record"
            )
        if self._writer.path.exists() and not self._overwrite:
            raise ValueError(
                f"{self._writer.path} exists already; give another path, overwrite=True to replace it when "
                "the new one is complete, or delete it to record again"
            )
        if len(self._index) != count(self._x):
            raise ValueError(
                f"sample_index has {len(self._index)} entries for {count(self._x)} samples; give one for each"
            )
        names, x, y, self._chosen = prepare(model, self._x, self._y, self._layers, self._loss, self._output)
        verify(model, names, x, y, self._chosen, self._output)
        self.selections = selections_of(model, names, count(x), x=x, output=self._output, **self._choice)
        check_memory(self.selections, x, self._snapshot_dtype)
        if any(layer.compute_dtype == "float16" for layer in model._flatten_layers()):
            logger.warning(
                "the model computes in float16, in which small derivatives become exact zeros; their signs "
                "are lost, and left out of the averages"
            )
        self._batches = list(batches(x, y, self._batch_size))
        self._start(model, x, y)
        self._say(neuron_tools.find(model, x, self._output))

    def _say(self, found):
        """What is recorded, what is not and why, in one line."""
        layers = "; ".join(f"{name}: {chosen}" for name, chosen in self.selections.items())
        needed = memory_estimate(self.selections, len(self._index), self._snapshot_dtype) / 2**20
        times = "an unknown number of" if self._total is None else self._total
        left = [f"{name} ({why})" for name, why in found.left_out.items()]
        unseen = any(found.left_out[name] not in neuron_tools.HARMLESS for name in found.left_out)
        logger.log(
            logging.WARNING if unseen and self._layers is None else logging.INFO,
            "recording %d samples, %s recordings, %.0f MiB: %s%s",
            len(self._index),
            times,
            needed,
            layers,
            f"; not recorded: {'; '.join(left)}" if left else "",
        )

    def _start(self, model, x, y):
        self._record_batch = recording_step(
            model,
            self.selections,
            loss=self._chosen,
            output=self._output,
            snapshot_dtype=self._snapshot_dtype,
        )
        self._sums = self._zeros()
        self._spilled = None
        self.table, self._latest = [], None
        self._epoch, self._step = None, _first_step(self.model)
        self._snapshot_written, self._pending, self._former = True, False, None
        self._length_unknown = self.params.get("steps") is None
        self._batch, self._begun = 0, False
        self._plan()
        self._writer.create(
            self.selections,
            y,
            self._index,
            self._snapshot_dtype,
            self._provenance,
            attributes={"loss": loss_name(self._chosen), "dtype": model.compute_dtype},
            functions=neuron_tools.activation_functions(model, self.selections),
        )
        self._samples_digest = resuming.digest(*keras.tree.flatten((x, y)), self._index)
        self._starts = [self._start_entry()]
        self._clock = time.perf_counter()

    def _start_entry(self):
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        known = {key: self._provenance[key] for key in ("created", "commit") if key in self._provenance}
        return {"created": now, **known, "step": self._step}

    def _plan(self, first_epoch=0):
        """Decide which recordings keep a snapshot; ``every`` must say yes at least once."""
        total = None
        self._first_epoch = first_epoch
        if not self._length_unknown:
            epochs = range(first_epoch, self.params["epochs"])
            total = len(planned_recordings(self._due, epochs, self.params["steps"], self._step))
            if not total:
                raise ValueError(
                    f"every never says yes in {len(epochs)} epochs of {self.params['steps']} batches; "
                    "record more often"
                )
        self._total = total
        self._snapshot_at = snapshot_recordings(self._snapshots, total)

    def _begin(self, epoch, step):
        """The first epoch is known: go on from what was saved, or say what the file will lack."""
        jumped = step != self._step or epoch != self._first_epoch
        self._step = step
        if jumped:
            self._plan(first_epoch=epoch)
        if self._resume:
            self._take_up(epoch, step)
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

    def _take_up(self, epoch, step):
        """Take up the newest saved state that is not ahead of the weights, and say what is missing."""
        saved = checkpoints.generations(self._checkpoint)
        usable = [(state, arrays) for state, arrays in saved if state["step"] <= step]
        if not usable:
            if saved:
                logger.warning(
                    "the training starts again at step %d: what was recorded of it is dropped", step
                )
            missing = f"everything before step {step}" if step else None
        else:
            state, arrays = usable[0]
            if state["step"] == step and state["weights"] != resuming.weights_digest(self.model):
                raise checkpoints.CheckpointError(
                    f"{self._checkpoint} belongs to another training: at step {step} its weights were "
                    "others; delete it, or give another path"
                )
            self.resume_from(state, arrays)
            lost = state["step"] < step
            missing = f"recordings between steps {state['step']} and {step}" if lost else None
        self._step = step
        self._starts[-1] |= {"step": step} | ({"missing": missing} if missing else {})
        if missing:
            logger.warning("the file %s lacks %s", self._writer.path, missing)

    def checkpoint_state(self):
        """All that the rest of the recording depends on: (JSON-able state, arrays by name)."""
        self._tick()
        recordings, snapshots = self._writer.snapshots()
        arrays = {"snapshot_recordings": recordings}
        arrays |= {f"snapshots/{name}": values for name, values in snapshots.items()}
        for number, sums in enumerate(self._sums):
            for name, pair in sums.items():
                arrays |= {f"sums/{number}/{which}/{name}": pair[which].numpy() for which in (0, 1)}
        for name, pair in (self._spilled or {}).items():
            arrays |= {f"spilled/{which}/{name}": pair[which] for which in (0, 1)}
        if not self._snapshot_written:
            arrays |= {f"latest/{name}": self._latest_of(name) for name in self.selections}
        state = {
            "configuration": self._configuration(),
            "epoch": self._epoch,
            "step": self._step,
            "table": self.table,
            "total": self._total,
            "first_epoch": self._first_epoch,
            "seconds": self.seconds,
            "starts": self._starts,
            "weights": resuming.weights_digest(self.model) if self._resume else None,
        }
        return state, arrays

    def _tick(self):
        """Add the time since the last call to the training's total, which goes on over interruptions."""
        now = time.perf_counter()
        self.seconds["total"] += now - self._clock
        self._clock = now

    def _configuration(self):
        """What must be the same for a recording to be taken up again."""
        chosen = [
            values
            for s in self.selections.values()
            for values in (s.neurons, s.positions, s.snapshot_neurons, s.snapshot_positions)
            if values is not None
        ]
        return {
            "samples": self._samples_digest,
            "layers": list(self.selections),
            "neurons and positions": resuming.digest(*chosen),
            "every": "a function" if callable(self._every) else int(self._every),
            "snapshots": np.asarray(self._snapshots).tolist(),
            "snapshot_dtype": self._snapshot_dtype,
            "batch_size": self._batch_size,
        }

    def resume_from(self, state, arrays):
        """Go on from a :meth:`checkpoint_state`, after ``on_train_begin``.

        Raises ``checkpoints.CheckpointError``, naming what differs, where it was recorded otherwise.
        """
        ours = self._configuration()
        changed = [key for key, value in ours.items() if state["configuration"].get(key) != value]
        if changed:
            raise checkpoints.CheckpointError(
                f"the recording that was interrupted differs in {', '.join(changed)} from this one; record "
                "as before, or delete the checkpoint to start from the beginning"
            )
        for number, sums in enumerate(self._sums):
            for name in sums:
                sums[name] = tuple(tf.constant(arrays[f"sums/{number}/{which}/{name}"]) for which in (0, 1))
        if any(name.startswith("spilled/") for name in arrays):
            self._spilled = {
                name: tuple(arrays[f"spilled/{which}/{name}"] for which in (0, 1)) for name in self.selections
            }
        self._snapshot_written = f"latest/{next(iter(self.selections))}" not in arrays
        if not self._snapshot_written:
            self._latest = [{name: tf.constant(arrays[f"latest/{name}"]) for name in self.selections}]
        for place, recording in enumerate(arrays["snapshot_recordings"]):
            values = {name: arrays[f"snapshots/{name}"][place] for name in self.selections}
            self._writer.append_snapshot(recording, values)
        self.table = [tuple(row) for row in state["table"]]
        self._epoch, self._step = state["epoch"], state["step"]
        self._total, self._first_epoch = state["total"], state["first_epoch"]
        self._snapshot_at = snapshot_recordings(self._snapshots, self._total)
        self.seconds = {part: state["seconds"][part] for part in self.seconds}
        self._starts = [*state["starts"], {**self._start_entry(), "step": self._step}]

    @property
    def provenance(self):
        """What was given as provenance, and under ``starts`` when and where the training was started and
        taken up again: created, commit, step, and what is ``missing``, if anything is."""
        return {**self._provenance, "starts": self._starts}

    def _record(self, epoch, batch, step):
        """Take one recording with the model's present weights; it is pending until its batch has ended.

        Keras announces a batch that does not exist at the end of data of unknown length: then the sums
        from before are held for so long, and the recording is withdrawn.
        """
        start = time.perf_counter()
        if self._length_unknown:
            self._former = list(self._sums), self._latest, self._snapshot_written
        parts, loss_sum, correct = [], 0.0, 0
        for number, (x, y) in enumerate(self._batches):
            self._sums[number], seen, losses, hits = self._record_batch(x, y, self._sums[number])
            parts.append(seen)
            loss_sum += losses
            correct += hits
        samples = len(self._index)
        accuracy = float(correct) / samples
        self.table.append((step, epoch, batch, float(loss_sum) / samples, accuracy))
        if not np.isfinite(self.table[-1][3]):
            logger.warning("the recorded loss is not finite at step %d: training diverged", step)
        self._latest, self._snapshot_written, self._pending = parts, False, True
        self.seconds["recording"] += time.perf_counter() - start

    def _keep(self):
        """The pending recording counts: write its snapshot, if one is due."""
        if not self._pending:
            return
        self._pending, self._former = False, None
        if len(self.table) % SPILL_EVERY == 0:
            self._spill()
        if self._snapshot_at(len(self.table) - 1):
            self._write_snapshot()

    def _withdraw(self):
        self._sums, self._latest, self._snapshot_written = self._former
        self._pending, self._former = False, None
        self.table.pop()

    def _write_snapshot(self):
        start = time.perf_counter()
        values = {name: _channels_first(self._latest_of(name)) for name in self.selections}
        for name, p in values.items():
            if not np.isfinite(p).all():
                logger.warning(
                    "pre-activations of %s do not fit %s in the snapshot at recording %d%s",
                    name,
                    self._snapshot_dtype,
                    len(self.table) - 1,
                    "; give snapshot_dtype='float32'" if self._snapshot_dtype == "float16" else "",
                )
        self._writer.append_snapshot(len(self.table) - 1, values)
        self._snapshot_written = True
        self.seconds["writing"] += time.perf_counter() - start

    def _latest_of(self, name):
        return np.concatenate([part[name].numpy() for part in self._latest])

    def _spill(self):
        """Move the int16 sums to int32 arrays in host memory, before one could overflow."""
        self._spilled = self.signs()
        self._sums = self._zeros()

    def _zeros(self):
        return [zero_sums(self.selections, count(x)) for x, _ in self._batches]

    def signs(self):
        """What was accumulated so far: {layer: (sign_sum, nonzero)}, integers (N, U) or (N, U, P)."""
        return {name: self._signs_of(name) for name in self.selections}

    def _signs_of(self, name):
        arrays = [
            _channels_first(np.concatenate([sums[name][which].numpy() for sums in self._sums]))
            for which in (0, 1)
        ]
        if self._spilled is None:
            return tuple(arrays)
        return tuple(old.astype(np.int32) + new for old, new in zip(self._spilled[name], arrays, strict=True))

    def finish(self):
        """Write the last snapshot, the table and the signs; give the file its name.

        Called at the end of training; after an interruption call it to keep all that was recorded so far.
        Raises ``ValueError`` where nothing was recorded.
        """
        self._keep()
        if not self.table:
            raise ValueError(
                "training ended without a single recording: 'every' never said yes; record more often"
            )
        if not self._snapshot_written:
            self._write_snapshot()
        start = time.perf_counter()
        self._writer.finish(self.table, self.signs(), self.provenance)
        checkpoints.remove(self._checkpoint)
        self.seconds["writing"] += time.perf_counter() - start
        self._tick()


def _channels_first(values):
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))


def _first_step(model):
    optimizer = getattr(model, "optimizer", None)
    return 0 if optimizer is None else int(keras.ops.convert_to_numpy(optimizer.iterations.value))
