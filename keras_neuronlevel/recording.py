"""Record ∂L/∂a of every sample and neuron while a network trains, in constant memory (E §3, I §4.1).

L is a sample's own cross-entropy, taken from logits; regularization terms are left out. The model runs in
inference mode, so that batch normalization lets no other sample into a sample's derivative and dropout
drops nothing.
"""

import logging
import time

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.records import RecordsWriter
from keras_neuronlevel.schedules import due, planned_recordings, snapshot_recordings
from keras_neuronlevel.selection import BYTES_A_PAIR, select
from keras_neuronlevel.training import count_correct, cross_entropy

logger = logging.getLogger(__name__)

_SPILL_EVERY = np.iinfo(np.int16).max  # recordings that an int16 accumulator surely holds


def forward_and_derivatives(model, layers, x, y, loss=None):
    """One traceable pass: (derivatives, pre-activations, losses (N,), logits (N, K)).

    The first two are {layer: tensor (N, U) or (N, ..., U)}: ∂L_n/∂a and p. ``tape.watch`` is set on each
    activation the moment its layer returns it. ``loss(y, logits)`` gives the samples' own losses;
    the default is cross-entropy of integer labels. The sum over samples is differentiated: as no sample
    meets another in inference mode, that gives every sample the derivative of its own loss.
    """
    wanted = [neuron_tools.neuron_layer(model, name) for name in layers]
    softmax = neuron_tools.output_softmax(model)
    taps = {}
    with tf.GradientTape(watch_accessed_variables=False) as tape:

        def on_call(layer, p, a):
            tape.watch(a)
            taps[layer.name] = p, a

        with neuron_tools.tapped([*wanted, *([softmax] if softmax else [])], on_call):
            output = model(x, training=False)
        logits = taps.pop(softmax.name)[0] if softmax else output
        losses = (loss or cross_entropy)(y, logits)
        if losses.shape.rank != 1:
            raise ValueError(
                f"the loss gave shape {losses.shape}; it must give one value for each sample, shape (N,)"
            )
        total = tf.reduce_sum(losses)
    activations = {name: taps[name][1] for name in layers}
    derivatives = tape.gradient(total, activations)
    for name, derivative in derivatives.items():
        if derivative is None:
            raise ValueError(
                f"the loss does not depend on the activations of {name!r}, so they have no derivative; "
                "leave that layer out"
            )
    return derivatives, {name: taps[name][0] for name in layers}, losses, logits


def activation_derivatives(model, x, y, layers=None, *, loss=None, batch_size=1000):
    """∂L_n/∂a of every sample and neuron: {layer: float32 (N, U) or (N, H, W, U)}.

    ``layers`` are neuron layers (default: all); those of a model with fused layers are named as
    ``neurons.split_fused`` does. ``loss(y, logits) -> (N,)`` replaces the cross-entropy of integer labels.
    Raises ``ValueError`` for unknown layers, samples of the wrong shape or not finite, labels outside
    [0, K), and a layer on which the loss does not depend.
    """
    model = neuron_tools.split_fused(model)
    layers = neuron_tools.choose_layers(model, layers)
    x, y = check_samples(model, x, y, loss)

    @tf.function(reduce_retracing=True)
    def step(x, y):
        return forward_and_derivatives(model, layers, x, y, loss)[0]

    parts = [step(*batch) for batch in _batches(x, y, batch_size)]
    return {
        name: np.concatenate([part[name].numpy() for part in parts]).astype(np.float32, copy=False)
        for name in layers
    }


def check_samples(model, x, y, loss=None):
    """The samples and labels as arrays, float32 and int32 where the loss is the default. ``ValueError``
    says what does not fit: shape, number, NaN or infinity, label range."""
    x, y = np.asarray(x), np.asarray(y)
    if len(neuron_tools.functional(model).inputs) != 1:
        raise ValueError(f"the model {model.name!r} has several inputs; the recorder takes one")
    expected = model.inputs[0].shape[1:]
    fits = x.ndim == len(expected) + 1 and all(
        e in (None, s) for e, s in zip(expected, x.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"the samples have shape {x.shape}; the model takes (N, {', '.join(map(str, expected))})"
        )
    if not len(x) or len(x) != len(y):
        raise ValueError(f"there are {len(x)} samples and {len(y)} labels; give as many of both, 1 or more")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        bad = int((~np.isfinite(x.reshape(len(x), -1)).all(axis=1)).argmax())
        raise ValueError(f"sample {bad} holds NaN or infinite values; clean the samples first")
    if loss is None:
        y = _check_labels(model, y)
    return x.astype(model.inputs[0].dtype, copy=False), y


def _check_labels(model, y):
    classes = model.outputs[0].shape[-1]
    if classes < 2:
        raise ValueError(
            f"the model has {classes} output; cross-entropy of integer labels needs one a class: give "
            "loss=, a function of (y, output) -> (N,)"
        )
    if y.ndim != 1 or y.dtype.kind not in "iu":
        raise ValueError(
            f"the labels have shape {y.shape} and type {y.dtype}; they must be integers of shape (N,): "
            "class indices, not one-hot"
        )
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels lie in [{y.min()}, {y.max()}]; with {classes} outputs they must lie in "
            f"[0, {classes - 1}]"
        )
    return y.astype(np.int32)


def _batches(x, y, batch_size):
    for start in range(0, len(x), batch_size):
        part = slice(start, start + batch_size)
        yield tf.constant(x[part]), tf.constant(y[part])


@tf.function(jit_compile=True)
def accumulate(sums, derivatives):
    """Add sign(d) and d != 0 to integer accumulators: {layer: (sign_sum, nonzero)} -> the same.

    A NaN has no sign and counts as zero. Compiled as one fused pass over each derivative, which costs
    about a tenth of computing the derivative.
    """
    added = {}
    for name, d in derivatives.items():
        sign_sum, nonzero = sums[name]
        rises, falls = tf.cast(d > 0, sign_sum.dtype), tf.cast(d < 0, sign_sum.dtype)
        added[name] = sign_sum + rises - falls, nonzero + rises + falls
    return added


def pick(values, neurons, positions, units):
    """The chosen neurons and positions: (N, U) -> (N, U'), and a map (N, ..., U) -> (N, P', U')."""
    if positions is not None:
        values = tf.reshape(values, (tf.shape(values)[0], -1, units))
        if len(positions) < values.shape[1]:
            values = tf.gather(values, positions, axis=1)
    return values if len(neurons) == units else tf.gather(values, neurons, axis=-1)


def recording_step(model, selections, *, loss=None, snapshot_dtype=tf.float16):
    """The compiled work of one recording on one batch.

    Returns ``step(x, y, sums) -> (sums, snapshot, loss_sum, correct)``, which adds to the accumulators and
    picks the pre-activations that a snapshot would keep.
    """
    layers = list(selections)

    @tf.function
    def step(x, y, sums):
        d, p, losses, logits = forward_and_derivatives(model, layers, x, y, loss)
        kept, seen = {}, {}
        for name, s in selections.items():
            kept[name] = pick(d[name], s.neurons, s.positions, s.units)
            some = pick(p[name], s.snapshot_neurons, s.snapshot_positions, s.units)
            seen[name] = tf.cast(some, snapshot_dtype)
        correct = count_correct(y, logits) if loss is None else tf.constant(-1)
        return accumulate(sums, kept), seen, tf.reduce_sum(losses), correct

    return step


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
            or a function of (epoch, batch, step), all counted from 0, that says whether to record.
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
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self._due(self._epoch, batch, self._step):
            self.record(self._epoch, batch, self._step)
        self._step += 1

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
        _check_memory(self.selections, x, self._snapshot_dtype)
        if split.compute_dtype == "float16":
            logger.warning(
                "the model computes in float16, in which small derivatives become exact zeros; their signs "
                "are lost, and left out of the averages"
            )
        self._batches = list(_batches(x, y, self._batch_size))
        self._start(split, y)

    def _start(self, split, y):
        self._record_batch = recording_step(
            split, self.selections, loss=self._loss, snapshot_dtype=self._snapshot_dtype
        )
        self._sums = [zero_sums(self.selections, len(labels)) for _, labels in self._batches]
        self._spilled = None
        self.table = []
        self._epoch, self._step = 0, _first_step(self.model)
        steps, epochs = self.params.get("steps"), self.params.get("epochs")
        total = len(planned_recordings(self._due, epochs, steps, self._step)) if steps else None
        self._snapshot_at = snapshot_recordings(self._snapshots, total)
        self._snapshot_written = True
        self._writer.create(self.selections, y, self._index, self._snapshot_dtype, self._provenance)

    def record(self, epoch, batch, step):
        """Take one recording with the model's present weights."""
        start = time.perf_counter()
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
        self._latest = parts
        if len(self.table) % _SPILL_EVERY == 0:
            self._spill()
        self.seconds["recording"] += time.perf_counter() - start
        self._snapshot_written = False
        if self._snapshot_at(len(self.table) - 1):
            self._write_snapshot()

    def _write_snapshot(self):
        start = time.perf_counter()
        values = {
            name: _channels_first(np.concatenate([part[name].numpy() for part in self._latest]))
            for name in self.selections
        }
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
        if not self.table:
            raise ValueError(
                "training ended without a single recording: 'every' never said yes; record more often"
            )
        if not self._snapshot_written:
            self._write_snapshot()
        start = time.perf_counter()
        self._writer.finish(self.table, self.signs())
        self.seconds["writing"] += time.perf_counter() - start


def selections_of(model, layers, samples, **choice):
    """What is recorded of each layer, {layer: Selection}; ``choice`` as in ``selection.select``."""
    return select(_shapes(model, layers), samples, **choice)


def _shapes(model, names):
    """{layer: shape of a sample's activation}; raises ``ValueError`` where it is not fully known."""
    shapes = {name: tuple(neuron_tools.activation(model, name).shape[1:]) for name in names}
    for name, shape in shapes.items():
        if None in shape:
            raise ValueError(
                f"the activations of {name!r} have shape {shape}, not fully known; build the model with a "
                "fixed input shape to record it"
            )
        if len(shape) > 1 and keras.config.image_data_format() != "channels_last":
            raise ValueError(
                f"{name!r} is a feature map and Keras is set to 'channels_first'; channels must come last "
                "(keras.config.set_image_data_format('channels_last'))"
            )
    return shapes


def zero_sums(selections, samples):
    """Empty accumulators, {layer: (sign_sum, nonzero)}, int16 (N, U') or (N, P', U')."""
    zeros = {}
    for name, s in selections.items():
        places = () if s.positions is None else (len(s.positions),)
        shape = (samples, *places, len(s.neurons))
        zeros[name] = tf.zeros(shape, tf.int16), tf.zeros(shape, tf.int16)
    return zeros


def _channels_first(values):
    """(N, P, U) as the file keeps it, (N, U, P); (N, U) as it is."""
    return values if values.ndim == 2 else np.ascontiguousarray(np.moveaxis(values, 1, 2))


def _first_step(model):
    optimizer = getattr(model, "optimizer", None)
    return 0 if optimizer is None else int(optimizer.iterations)


def memory_estimate(selections, samples, snapshot_dtype="float16"):
    """Bytes that the recorder holds: accumulators, their copy when written, and two snapshots."""
    pairs = sum(s.pairs for s in selections.values())
    largest = max(s.pairs for s in selections.values())
    kept = sum(s.snapshot_values for s in selections.values()) * np.dtype(snapshot_dtype).itemsize
    return samples * (BYTES_A_PAIR * (pairs + 2 * largest) + 2 * kept)


def _check_memory(selections, x, snapshot_dtype):
    needed = memory_estimate(selections, len(x), snapshot_dtype) + x.nbytes
    available = available_memory()
    if available is not None and needed > available:
        raise ValueError(
            f"recording {len(x)} samples needs about {needed / 2**30:.1f} GiB and {available / 2**30:.1f} "
            "GiB are available; give fewer samples, or a number of neurons= or positions= to draw"
        )


def available_memory():
    """Bytes of memory that can still be taken, or None where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
