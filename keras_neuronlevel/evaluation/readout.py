"""The layers after a cut trained anew until they have converged, and whether they did (I §5.2)."""

import functools
import gc
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import checks, neurons, streams, training
from keras_neuronlevel.distribution import processors
from keras_neuronlevel.evaluation.beside import Work
from keras_neuronlevel.evaluation.calibration import FORWARD_BYTES, compiled_prefix, traced
from keras_neuronlevel.evaluation.scoring import ACCURACY, Accuracy, Metric
from keras_neuronlevel.evaluation.sources import Source, Window, sources
from keras_neuronlevel.evaluation.truncation import Truncation
from keras_neuronlevel.samples import slices
from keras_neuronlevel.scores import Answers, Tally, total

Fits = Generator[list[Callable[[int], Work]], None, None]  # for each window, a function seed -> work

EVALUATION_BATCH = 2048
BATCHES_A_CALL = 8  # updates between which nobody can stop a training
INDICES = tf.TensorSpec([None], tf.int32)
WEIGHED = 24  # bytes of a weight: itself, Adam's two moments, the average, and two copies
MUCH = 2**26  # bytes of weights that are not left to Python's own time
LEAST_GAIN = 1e-4  # of a held-out loss, to count as a fall at all


@dataclass(frozen=True)
class Retrain:
    """Reads window bits with the network's layers after the cut, φ first, with fresh weights.

    Where a skip connection passes the layer by, its tensors reach the readout as they are, un-binarized. It
    is trained with Adam until the loss on a held-out part stops falling: a training epoch without a held-out
    loss lower than the last mark by 0.2 % (and by 1e-4: the loss of separable classes falls for ever) is
    stale. After ``patience`` stale epochs the learning rate is multiplied by ``decay``; after ``decays`` such
    steps the next plateau ends the training ("plateau"). ``epochs`` is a mere upper limit ("budget"). A
    readout has converged where a plateau ended it and its loss had fallen below that of its fresh weights.
    The weights of the lowest held-out loss are kept.

    All losses and results are those of the weights' running average (over about ``1 / (1 - average)``
    steps): where dropout is strong and the bits are weak, as in a sigmoid network that sees 0.5 and 0.73,
    the weights of single steps are mostly noise, and so was the curve.
    """

    kind: ClassVar[str] = "retrain"
    classes: ClassVar[None] = None  # those of the network
    epochs: int = 100
    batch_size: int = 512
    learning_rate: float = 3e-3
    patience: int = 3
    decays: int = 2
    decay: float = 0.2
    held_out: float = 0.1
    average: float = 0.99

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("patience", 1), ("decays", 0)):
            object.__setattr__(self, name, checks.whole(name, getattr(self, name), least=least))  # 3.0 as 3
        checks.number("learning_rate", self.learning_rate, above=0)
        checks.number("decay", self.decay, above=0, most=1)
        checks.number("held_out", self.held_out, above=0, below=1)
        checks.number("average", self.average, least=0, below=1)

    def check(self, truncation: Truncation, scored: Accuracy | Metric = ACCURACY) -> None:
        """Raises ``ValueError`` where the network's outputs are not the logits of a cross-entropy and no
        metric is given, and where some are masked."""
        if truncation.masked:
            raise ValueError(
                f"some outputs of {truncation.name!r} are masked, and a retrained readout would learn those "
                "as well; make the model without mask_zero, or use readout=Probe(classes=...)"
            )
        if scored is ACCURACY and truncation.classes is not None and not truncation.is_logits:
            raise ValueError(
                "the network's outputs pass a final activation function other than softmax, so its layers "
                "cannot be retrained with a cross-entropy; use readout=Probe(...), or give metric= to "
                "retrain them with the model's own loss"
            )

    def memory(self, truncation: Truncation) -> int:
        """Bytes that one training takes: what its layers take and make of a batch, with derivatives, or of
        the larger batch of an evaluation, two tensors at a time; and of their weights the two moments of
        Adam, the average, and two copies."""
        read, made = 2 * sum(truncation.entering), truncation.later
        trained = 8 * self.batch_size * (read + sum(made))
        tested = 4 * evaluation_batch(truncation) * (read + 2 * max(made))
        return max(trained, tested) + WEIGHED * truncation.later_weights

    def at_once(self, truncation: Truncation, in_memory: float, scored: Accuracy | Metric = ACCURACY) -> int:
        """How many readouts are trained beside each other: as many as there are cores, while they fit in
        ``in_memory`` bytes. A metric of the user's own may keep something while it measures, so with one it
        is one; and so it is where nobody knows how large the images are, and where the layers before the cut,
        which all readouts may run, do more than compute."""
        if scored is not ACCURACY or not truncation.sized:
            return 1
        if neurons.side_effects(compiled_prefix(truncation).get_concrete_function()):
            return 1
        return int(np.clip(in_memory // self.memory(truncation), 1, processors()))

    def fits(
        self,
        truncation: Truncation,
        train: tuple,
        test: tuple,
        windows: Sequence[Window],
        in_memory: float,
        scored: Accuracy | Metric = ACCURACY,
    ) -> Fits:
        """For each window, a function seed -> the work that trains a fresh suffix on its bits, and says what
        it reached; in groups whose bits are in memory together."""
        targets = [scored.targets(y) for _, y in (train, test)]

        def group_fits(group):
            return [
                functools.partial(_retrain, truncation, pair, targets, test[1], self, scored)
                for pair in group
            ]

        yield from map(group_fits, sources(truncation, (train[0], test[0]), windows, in_memory))


def _retrain(truncation, pair, targets, y_test, settings, scored, seed):
    """The work of training a fresh suffix on the first source and testing it on the second, all of it
    compiled: {accuracy, epochs, ...}."""
    if WEIGHED * truncation.later_weights > MUCH:
        gc.collect()  # readouts before this one, whose compiled functions are in circles
    suffix = truncation.fresh_suffix(seed, own_head=scored is not ACCURACY)
    batch = evaluation_batch(truncation) if truncation.sized else settings.batch_size
    train = readout_training(suffix, pair[0], targets[0], settings, seed, scored, batch)
    evaluate = make_evaluation(suffix, pair[1], tf.constant(targets[1]), scored, batch)

    def work(go_on):
        report = train(go_on)
        tested = evaluate(np.arange(len(y_test)))
        return {scored.key: scored.value(tested, y_test), "loss": tested.mean_loss, **report}

    return work


class PlateauRule:
    """The stopping rule of :class:`Retrain`: fed with held-out losses, says "go", "decay" or "stop"."""

    def __init__(self, patience: int, decays: int, min_gain: float = 2e-3, floor: float = LEAST_GAIN):
        self._patience, self._decays = patience, decays
        self._min_gain, self._floor = min_gain, floor
        self._mark, self._stale = np.inf, 0

    def __call__(self, loss: float) -> str:
        if self._mark == np.inf or loss < self._mark - max(self._min_gain * self._mark, self._floor):
            self._mark, self._stale = loss, 0
        else:
            self._stale += 1
        if self._stale < self._patience:
            return "go"
        self._stale = 0
        self._decays -= 1
        return "decay" if self._decays >= 0 else "stop"


def split_held_out(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices 0..n-1 split at random into (training, held out), at least one sample in each."""
    if n < 2:
        raise ValueError(f"{n} training image(s) are too few to hold a part out; give at least 2")
    order = streams.generator(seed, "readout's held-out samples").permutation(n)
    held = min(max(1, round(n * share)), n - 1)
    return np.sort(order[held:]), np.sort(order[:held])


def readout_training(
    model: keras.Model,
    inputs: Source,
    labels: np.ndarray,
    settings: Retrain,
    seed: int,
    scored: Accuracy | Metric = ACCURACY,
    evaluated: int = EVALUATION_BATCH,
) -> Work:
    """The work, all of it compiled, of training ``model`` (a fresh suffix) on the samples of one source, in
    place.

    ``inputs(indices)`` gives, inside a ``tf.function``, the model's list of inputs for those samples;
    ``labels`` (N, ...); so many samples are ``evaluated`` together. The work reports {epochs, converged,
    stopped_by, best_epoch, untrained_loss, held_out_loss, last_held_out, train_loss, seconds}: mean
    cross-entropies (for a metric, the model's own losses) of the held-out part with fresh weights, with those
    kept, and in the last five epochs, and of the last epoch's training batches; the seconds are those of the
    clock, with what ran beside.
    """
    train, held = split_held_out(len(labels), settings.held_out, seed)
    labels = tf.constant(labels)
    optimizer = keras.optimizers.Adam(settings.learning_rate)
    average = _Average(model.trainable_variables, settings.average)
    steps = _make_steps(model, optimizer, average, inputs, labels, scored)
    evaluate = make_evaluation(model, inputs, labels, scored, evaluated)

    def work(go_on):
        rule = PlateauRule(settings.patience, settings.decays)
        best, weights, history, stopped_by = np.inf, model.get_weights(), [], "budget"
        best_epoch, train_loss, start = 0, np.nan, time.perf_counter()
        untrained = evaluate(held).mean_loss
        for epoch in range(1, settings.epochs + 1):
            train_loss = _epoch(steps, train, settings.batch_size, seed, epoch, go_on)
            with average.in_place():
                history.append(evaluate(held).mean_loss)
                averaged = model.get_weights()
            if not np.isfinite(history[-1]):
                raise ValueError(
                    f"the readout's held-out loss is {history[-1]} in epoch {epoch}; lower the learning rate "
                    f"({settings.learning_rate:g}), or look for pre-activations that are not finite"
                )
            if history[-1] < best:
                best, best_epoch, weights = history[-1], epoch, averaged
            verdict = rule(history[-1])
            if verdict == "stop":
                stopped_by = "plateau"
                break
            if verdict == "decay":
                optimizer.learning_rate.assign(optimizer.learning_rate * settings.decay)
        model.set_weights(weights)
        return {
            "epochs": len(history),
            "converged": stopped_by == "plateau" and best < untrained - LEAST_GAIN,
            "stopped_by": stopped_by,
            "best_epoch": best_epoch,
            "untrained_loss": untrained,
            "held_out_loss": best,
            "last_held_out": history[-5:],
            "train_loss": train_loss,
            "seconds": time.perf_counter() - start,
        }

    return work


def evaluation_batch(truncation: Truncation) -> int:
    """How many samples may be evaluated together, from the network's input on."""
    return int(np.clip(FORWARD_BYTES // (4 * truncation.widest), 1, EVALUATION_BATCH))


def make_evaluation(
    model: keras.Model,
    inputs: Source,
    labels: tf.Tensor,
    scored: Accuracy | Metric = ACCURACY,
    batch: int = EVALUATION_BATCH,
) -> Callable[[np.ndarray], Tally | Answers]:
    """A function indices (n,) -> the :class:`Tally` of the model's answers to those samples, so many in a
    ``batch``."""

    def scores(indices):
        return scored.judge(model(inputs(indices), training=False), tf.gather(labels, indices))

    scores = _compiled(scores, INDICES)

    def evaluate(indices):
        pieces = slices(indices, batch)
        return total(scored.tally, ((len(piece), scores(tf.constant(piece, tf.int32))) for piece in pieces))

    return evaluate


class _Average:
    """The running average of variables: ``update()`` after a step, ``in_place()`` to look at it.

    average += rate · (variable - average) at step t = 1, 2, ..., with rate = max(1 - momentum, 1 / t): the
    plain mean at first, so that the initial weights have no part in it.
    """

    def __init__(self, variables, momentum):
        self._variables, self._momentum = variables, momentum
        self._averages = [tf.Variable(variable) for variable in variables]
        self._steps = tf.Variable(0.0)

    def update(self):
        rate = tf.maximum(1 - self._momentum, 1 / self._steps.assign_add(1.0))
        for variable, average in zip(self._variables, self._averages, strict=True):
            average.assign_add(tf.cast(rate, average.dtype) * (variable - average))

    @contextmanager
    def in_place(self):
        """While the context lasts, the variables hold their averages."""
        raw = [variable.numpy() for variable in self._variables]
        self._assign(self._averages)
        try:
            yield
        finally:
            self._assign(raw)

    def _assign(self, values):
        for variable, value in zip(self._variables, values, strict=True):
            variable.assign(value)


def _make_steps(model, optimizer, average, inputs, labels, scored):
    """The compiled ``steps(order, ends) -> losses``: one update for each of the batches that begin and end in
    ``order`` at two following ``ends``, B + 1 of them; their mean losses (B,) float64."""
    update = training.training_step(model, optimizer, losses=scored.losses)

    def steps(order, ends):
        batches = tf.size(ends) - 1

        def step(number, losses):
            indices = order[ends[number] : ends[number + 1]]
            loss, _ = update(inputs(indices), tf.gather(labels, indices))
            average.update()
            return number + 1, losses.write(number, tf.cast(loss, tf.float64))

        start = 0, tf.TensorArray(tf.float64, batches)
        _, losses = tf.while_loop(lambda number, _: number < batches, step, start, parallel_iterations=1)
        return losses.stack()

    return _compiled(steps, INDICES, INDICES)


def _compiled(function, *specs):
    """``traced``, and that at once: what is called from several threads shall not be traced in them."""
    return traced(function, specs).get_concrete_function()


def _epoch(steps, train, batch_size, seed, epoch, go_on):
    """One pass over the training indices in a new order, in batches of nearly equal size; the mean loss."""
    order = streams.generator(seed, "readout's order", epoch).permutation(train).astype(np.int32)
    sizes = [len(batch) for batch in np.array_split(order, -(-len(order) // batch_size))]
    ends, losses = np.cumsum([0, *sizes], dtype=np.int32), []
    for first in range(0, len(sizes), BATCHES_A_CALL):
        go_on()
        few = ends[first : first + BATCHES_A_CALL + 1]
        losses.append(steps(tf.constant(order[few[0] : few[-1]]), tf.constant(few - few[0])).numpy())
    return float(np.mean(np.concatenate(losses)))
