"""The Keras callback: a thin shell around one compiled recording."""

import logging
import time

import keras
import numpy as np

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.accumulators import recording_step, zero_sums
from keras_neuronlevel.recording.memory import check_memory
from keras_neuronlevel.recording.samples import batches, check_samples, selections_of
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
        x, y: the recorded samples, (N, ...) as the model takes them, and labels, (N,) integers.
        layers: names of neuron layers; default all (of the split model, where layers are fused).
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
        loss: a function (y, logits) -> (N,) in place of the cross-entropy of integer labels.
        sample_index: the samples' places in their data set, kept in the file; default 0 to N - 1.
        provenance: a JSON-able dictionary, kept in the file.

    Everything that does not fit is a ``ValueError`` before the first epoch: unknown layers, samples and
    labels that the model cannot take, an estimate above the available memory, ``steps_per_execution``
    other than 1, a file that exists.
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
        sample_index=None,
        provenance=None,
    ):
        super().__init__()
        if snapshot_dtype not in ("float16", "float32"):
            raise ValueError(f"snapshot_dtype is {snapshot_dtype!r}; give 'float16' or 'float32'")
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self._due = due(every)
        self._x, self._y = x, y
        self._layers, self._loss = layers, loss
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
        self._index = np.arange(len(x)) if sample_index is None else np.asarray(sample_index)
        self._provenance = provenance or {}
        self._writer = RecordsWriter(path)
        self.seconds = {"recording": 0.0, "writing": 0.0}

    def on_train_begin(self, logs=None):
        self._prepare(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        if self._epoch is None and epoch:
            self._plan(first_epoch=epoch)  # training goes on where an earlier fit stopped
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self._due(self._epoch, batch, self._step):
            self._record(self._epoch, batch, self._step)

    def on_train_batch_end(self, batch, logs=None):
        self._step += 1
        self._keep()

    def on_epoch_end(self, epoch, logs=None):
        if self._pending and self._length_unknown:
            self._withdraw()

    def on_train_end(self, logs=None):
        self.finish()

    def _prepare(self, model):
        if getattr(model, "steps_per_execution", 1) != 1:
            raise ValueError(
                f"the model was compiled with steps_per_execution={model.steps_per_execution}, which hides "
                "batches from callbacks; compile it with steps_per_execution=1 to record"
            )
        if self._writer.path.exists():
            raise ValueError(
                f"{self._writer.path} exists already; give another path, or delete it to record again"
            )
        if len(self._index) != len(self._x):
            raise ValueError(
                f"sample_index has {len(self._index)} entries for {len(self._x)} samples; give one for each"
            )
        split = neuron_tools.split_fused(model)
        names = neuron_tools.choose_layers(split, self._layers)
        x, y = check_samples(split, self._x, self._y, self._loss)
        self.selections = selections_of(split, names, len(x), **self._choice)
        check_memory(self.selections, x, self._snapshot_dtype)
        if any(layer.compute_dtype == "float16" for layer in split.layers):
            logger.warning(
                "the model computes in float16, in which small derivatives become exact zeros; their signs "
                "are lost, and left out of the averages"
            )
        self._batches = list(batches(x, y, self._batch_size))
        self._start(split, y)

    def _start(self, split, y):
        self._record_batch = recording_step(
            split, self.selections, loss=self._loss, snapshot_dtype=self._snapshot_dtype
        )
        self._sums = [zero_sums(self.selections, len(labels)) for _, labels in self._batches]
        self._spilled = None
        self.table, self._latest = [], None
        self._epoch, self._step = None, _first_step(self.model)
        self._snapshot_written, self._pending, self._former = True, False, None
        self._length_unknown = self.params.get("steps") is None
        self._plan()
        self._writer.create(self.selections, y, self._index, self._snapshot_dtype, self._provenance)

    def _plan(self, first_epoch=0):
        """Decide which recordings keep a snapshot; ``every`` must say yes at least once."""
        total = None
        if not self._length_unknown:
            epochs = range(first_epoch, self.params["epochs"])
            total = len(planned_recordings(self._due, epochs, self.params["steps"], self._step))
            if not total:
                raise ValueError(
                    f"every never says yes in {len(epochs)} epochs of {self.params['steps']} batches; "
                    "record more often"
                )
        self._snapshot_at = snapshot_recordings(self._snapshots, total)

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
        count = len(self._index)
        accuracy = float(correct) / count if self._loss is None else np.nan
        self.table.append((step, epoch, batch, float(loss_sum) / count, accuracy))
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
        values = {
            name: _channels_first(np.concatenate([part[name].numpy() for part in self._latest]))
            for name in self.selections
        }
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

    def _spill(self):
        """Move the int16 sums to int32 arrays in host memory, before one could overflow."""
        self._spilled = self.signs()
        self._sums = [zero_sums(self.selections, len(labels)) for _, labels in self._batches]

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
        """Write the last snapshot, the table and the signs; give the file its name."""
        self._keep()
        if not self.table:
            raise ValueError(
                "training ended without a single recording: 'every' never said yes; record more often"
            )
        if not self._snapshot_written:
            self._write_snapshot()
        start = time.perf_counter()
        self._writer.finish(self.table, self.signs())
        self.seconds["writing"] += time.perf_counter() - start


def _channels_first(values):
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))


def _first_step(model):
    optimizer = getattr(model, "optimizer", None)
    return 0 if optimizer is None else int(optimizer.iterations)
