"""Train a fresh suffix until it has converged, and say whether it did."""

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.evaluation.quantization import score

logger = logging.getLogger(__name__)

EVALUATION_BATCH = 2048


@dataclass(frozen=True)
class Budget:
    """How a readout is trained: Adam, until the loss on a held-out part stops falling.

    A training epoch without a held-out loss lower than the last mark by 0.2 % (and by
    1e-4: the loss of separable classes falls for ever) is stale. After
    ``patience`` stale epochs the learning rate is multiplied by ``decay``; after ``decays`` such steps
    the next plateau ends the training ("plateau", converged). ``epochs`` is a mere upper limit ("budget",
    not converged). The weights of the lowest held-out loss are kept.

    All losses and results are those of the weights' running average (over about ``1 / (1 - average)``
    steps): where dropout is strong and the bits are weak, as in a sigmoid network that sees 0.5 and 0.73,
    the weights of single steps are mostly noise, and so was the curve.
    """

    epochs: int = 100
    batch_size: int = 512
    learning_rate: float = 3e-3
    patience: int = 3
    decays: int = 2
    decay: float = 0.2
    held_out: float = 0.1
    average: float = 0.99

    def __post_init__(self):
        for name in ("epochs", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; give at least 1")
        if not 0 < self.held_out < 1:
            raise ValueError(
                f"held_out is {self.held_out}; give the share of the training images that is held out to "
                "decide when to stop, between 0 and 1"
            )


class PlateauRule:
    """The stopping rule of :class:`Budget`: fed with held-out losses, says "go", "decay" or "stop"."""

    def __init__(self, patience, decays, min_gain=2e-3, floor=1e-4):
        self._patience, self._decays = patience, decays
        self._min_gain, self._floor = min_gain, floor
        self._mark, self._stale = np.inf, 0

    def __call__(self, loss):
        if self._mark == np.inf or loss < self._mark - max(self._min_gain * self._mark, self._floor):
            self._mark, self._stale = loss, 0
        else:
            self._stale += 1
        if self._stale < self._patience:
            return "go"
        self._stale = 0
        self._decays -= 1
        return "decay" if self._decays >= 0 else "stop"


def split_held_out(n, share, seed):
    """Indices 0..n-1 split at random into (training, held out), at least one sample in each."""
    if n < 2:
        raise ValueError(f"{n} training image(s) are too few to hold a part out; give at least 2")
    order = np.random.default_rng(seed).permutation(n)
    held = min(max(1, round(n * share)), n - 1)
    return np.sort(order[held:]), np.sort(order[:held])


def train_readout(model, inputs, labels, budget, seed):
    """Train ``model`` (a fresh suffix) on the samples of one source, in place, and report.

    ``inputs(indices)`` gives, inside a ``tf.function``, the model's list of inputs for those samples;
    ``labels`` (N,). Returns {epochs, converged, stopped_by, best_epoch, held_out_loss, last_held_out,
    train_loss, seconds}, where ``last_held_out`` are the last five epochs' held-out losses.
    """
    train, held = split_held_out(len(labels), budget.held_out, seed)
    labels = tf.constant(labels, tf.int64)
    optimizer = keras.optimizers.Adam(budget.learning_rate)
    average = _Average(model.trainable_variables, budget.average)
    step = _make_step(model, optimizer, average, inputs, labels)
    rule = PlateauRule(budget.patience, budget.decays)
    evaluate = make_evaluation(model, inputs, labels)
    best, weights, history, stopped_by = np.inf, model.get_weights(), [], "budget"
    best_epoch, train_loss, start = 0, np.nan, time.perf_counter()
    for epoch in range(1, budget.epochs + 1):
        train_loss = _epoch(step, train, budget.batch_size, [seed, epoch])
        with average.in_place():
            history.append(evaluate(held)[1])
            averaged = model.get_weights()
        if not np.isfinite(history[-1]):
            raise ValueError(
                f"the readout's held-out loss is {history[-1]} in epoch {epoch}; lower the learning rate "
                f"({budget.learning_rate:g}), or look for pre-activations that are not finite"
            )
        if history[-1] < best:
            best, best_epoch, weights = history[-1], epoch, averaged
        verdict = rule(history[-1])
        if verdict == "stop":
            stopped_by = "plateau"
            break
        if verdict == "decay":
            optimizer.learning_rate.assign(optimizer.learning_rate * budget.decay)
    model.set_weights(weights)
    return {
        "epochs": len(history),
        "converged": stopped_by == "plateau",
        "stopped_by": stopped_by,
        "best_epoch": best_epoch,
        "held_out_loss": best,
        "last_held_out": history[-5:],
        "train_loss": train_loss,
        "seconds": time.perf_counter() - start,
    }


def make_evaluation(model, inputs, labels):
    """A function indices (n,) -> (accuracy, mean loss) of the model on those samples."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def scores(indices):
        logits = model(inputs(indices), training=False)
        return score(logits, tf.gather(labels, indices))

    def evaluate(indices):
        pieces = [
            scores(tf.constant(indices[i : i + EVALUATION_BATCH], tf.int32))
            for i in range(0, len(indices), EVALUATION_BATCH)
        ]
        correct, loss = (sum(float(piece[k]) for piece in pieces) for k in (0, 1))
        return correct / len(indices), loss / len(indices)

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


def _make_step(model, optimizer, average, inputs, labels):
    optimizer.build(model.trainable_variables)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def step(indices):
        with tf.GradientTape() as tape:
            logits = tf.cast(model(inputs(indices), training=True), tf.float32)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.gather(labels, indices), logits)
            loss = tf.reduce_mean(losses) + sum(model.losses)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        average.update()
        return loss

    return step


def _epoch(step, train, batch_size, seed):
    """One pass over the training indices in a new order, in batches of nearly equal size."""
    order = np.random.default_rng(seed).permutation(train).astype(np.int32)
    batches = np.array_split(order, -(-len(order) // batch_size))
    losses = [step(tf.constant(batch)) for batch in batches]
    return float(np.mean([float(loss) for loss in losses]))
