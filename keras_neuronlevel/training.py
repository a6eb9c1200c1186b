"""Train a classifier with a ``GradientTape`` loop that any Keras callback can watch."""

import os
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from keras_neuronlevel import checks, distribution, divergence, normalization, resuming, streams
from keras_neuronlevel.neurons import check_logits, class_logits, find, put_back, side_effects
from keras_neuronlevel.samples import check_images, check_labels, check_parts, slices
from keras_neuronlevel.scores import Tally, count_correct, cross_entropy, merged, score, total

__all__ = ["evaluate", "evaluation_step", "reseed", "train", "training_step"]


def train(
    model: keras.Model,
    data: Any,
    *,
    optimizer: keras.optimizers.Optimizer,
    epochs: int,
    batch_size: int = 128,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    jit_compile: bool = False,
    progress: bool = True,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: float = 600,
) -> keras.callbacks.History:
    """Minimize the mean cross-entropy of a classifier; returns ``keras.callbacks.History``.

    Computed from logits: the model's output, or what goes into its last softmax.

    ``data`` has ``x_train, y_train, x_test, y_test`` (see ``data.load``). Every epoch visits the training
    images once, in an order drawn from (seed, epoch), in ``ceil(N / batch_size)`` batches, the last of
    which may be smaller; then the test images give ``val_loss`` and ``val_accuracy``. The callbacks see
    what they see in ``model.fit``. The same seed on the same initial weights and with a new optimizer gives
    the same weights on the same machine, with dropout and all that draws from seed generators of the model's
    (not what layers of one's own draw without one). ``callback.model.stop_training = True`` ends after the
    epoch. Batch normalization of feature maps is computed by one operation (:func:`normalization.fused`):
    what Keras gives, up to rounding. Where the optimizer averages weights (``use_ema``), the averages are the
    model's weights in the end.

    With ``checkpoint``, a path, the training survives an interruption: the same call goes on where it was and
    ends bit-identical to one that was never interrupted. All that the rest depends on is saved at the end of
    the batch in which ``checkpoint_every`` seconds have passed, on SIGTERM and Ctrl-C, and when the training
    has ended; see :mod:`~keras_neuronlevel.resuming`. The file stays: remove it (``checkpoints.remove``) when
    what came of the training is saved.

    A model made in the scope of a ``tf.distribute`` strategy, with its optimizer, is trained by all its
    replicas: each takes its share of every batch, and gradients and the statistics of batch normalization are
    those of the whole batch, up to rounding. Random layers draw from a stream of their own on every replica.
    Where the replicas are of several processes, all of them call this alike; see
    :mod:`~keras_neuronlevel.distribution`.

    Raises:
        ValueError: images that the model cannot take, labels that are not the numbers of its classes, no
            training images, epochs or batch_size below 1, a learning rate that is not above 0, a model whose
            logits cannot be had; with ``checkpoint`` a callback whose state it cannot hold, and a model that
            draws from, or writes, what is none of its variables; with a strategy a batch with fewer images
            than replicas, an optimizer that was made outside of its scope or that clips gradients, float16,
            or layers whose state comes apart between the replicas.
        divergence.DivergedError: the loss of a batch, or weights at the end of an epoch or before they are
            saved, are not finite.
        checkpoints.CheckpointError: the checkpoint is damaged, or belongs to another training.
        interruption.Interrupted: SIGTERM or Ctrl-C, after the checkpoint was saved.
        OSError: the checkpoint cannot be written.
    """
    epochs = checks.whole("epochs", epochs, least=1)
    batch_size = checks.whole("batch_size", batch_size, least=1)
    checks.number("checkpoint_every", checkpoint_every, least=0)
    data = _checked(model, data)
    if optimizer is None:
        raise ValueError("optimizer is None; give one of keras.optimizers, or its name")
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    optimizer = model.optimizer  # it scales the loss, where the model computes in float16
    _check_rate(optimizer)
    reseed(model, seed)
    workers = distribution.of(model)
    distribution.check(workers, model, optimizer, len(data.x_train), batch_size, jit_compile)
    step, validate = training_step(model, optimizer, jit_compile), evaluation_step(model)
    steps = -(-len(data.x_train) // batch_size)
    if checkpoint is not None and workers.replicas == 1:
        _check_draws(model, data.x_train[:1])
    keeper = resuming.keeper(checkpoint, checkpoint_every, model, callbacks, lambda: _order(data, seed, 0))
    watchers = keras.callbacks.CallbackList(list(callbacks), add_history=True, model=model)
    watchers.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
    model.stop_training = False
    with keeper:
        watchers.on_train_begin()
        settings = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "jit_compile": jit_compile}
        place = keeper.restore({**settings, **workers.described()}, data)
        distribution.draw_apart(workers, _random_states(model), seed)
        done = place.epoch * steps + place.batch
        with (
            distribution.whole_batches(workers, model),
            _bar(epochs * steps, done, model.name, progress and workers.chief) as bar,
        ):
            while place.epoch < epochs and (place.batch or not model.stop_training):
                # Where an epoch goes on in its middle, what its beginning does to them was done already.
                with put_back([*model.variables, *optimizer.variables] if place.batch else []):
                    watchers.on_epoch_begin(place.epoch)
                logs = _epoch(
                    step, data, batch_size, _order(data, seed, place.epoch), place, watchers, keeper, bar
                )
                distribution.check_alike(workers, model)
                logs |= _validation(model, data, validate, workers)
                bar.set_postfix({name: f"{value:.4f}" for name, value in logs.items()})
                watchers.on_epoch_end(place.epoch, logs)
                place = resuming.Place(place.epoch + 1)
                keeper.after_batch(place)
        optimizer.finalize_variable_values(model.trainable_variables)  # averages of weights, as in ``fit``
        keeper.save(place)
        watchers.on_train_end()
    return model.history


def _order(data, seed, epoch):
    """The order in which an epoch visits the training images, (N,)."""
    return streams.generator(seed, "training order", epoch).permutation(len(data.x_train))


def _checked(model, data):
    """The images and labels, held against the model; labels in a form that its loss takes."""
    check_parts(data)
    shape = model.inputs[0].shape[1:] if getattr(model, "inputs", None) else np.shape(data.x_train)[1:]
    first = check_images(data.x_train, shape, "x_train")[:3]
    # Without autograph, which would wrap the sentence of an error in many lines of its own.
    logits = tf.function(lambda x: class_logits(model(x, training=False)), autograph=False)(first)
    check_logits(model.name, find(model, first).head, model(first, training=False))
    images = {"x_train": data.x_train, "x_test": data.x_test}
    if len(data.x_test):
        check_images(data.x_test, shape, "x_test")
    classes = logits.shape[-1]
    y_train = _labels(data.y_train, len(data.x_train), classes, "y_train")
    y_test = _labels(data.y_test, len(data.x_test), classes, "y_test")
    return SimpleNamespace(**images, y_train=y_train, y_test=y_test)


def _labels(y, count, classes, what):
    """The checked labels; the given array itself, where the loss can take it."""
    found, given = check_labels(y, count, classes, what), np.asarray(y)
    return given if given.shape == found.shape and given.dtype in (np.int32, np.int64) else found


def _check_rate(optimizer):
    """Raises ``ValueError`` for a learning rate with which nothing is learned, or away from the minimum."""
    rate = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_learning_rate", None)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        checks.number("the learning rate at the first step", float(rate(0)), least=0)  # it may warm up
    elif rate is not None:
        checks.number("the learning rate", float(np.asarray(rate)), above=0)


def _check_draws(model, x):
    """Raises ``ValueError`` for a model that draws from, or writes, what is none of its variables, so that a
    checkpoint does not hold it."""
    traced = tf.function(lambda x: model(x, training=True), autograph=False).get_concrete_function(x)
    own = {id(variable.value.handle) for variable in model.variables if hasattr(variable.value, "handle")}
    inner = {id(inside): outside for outside, inside in traced.graph.captures}
    written = [
        inner.get(id(operation.inputs[0]))
        for operation in traced.graph.get_operations()
        if operation.type.startswith("Assign") and operation.inputs
    ]
    draws = sorted(name for name in side_effects(traced) if "Random" in name or name == "TruncatedNormal")
    if draws or any(id(handle) not in own for handle in written if handle is not None):
        raise ValueError(
            f"the model {model.name!r} draws random numbers without a seed generator of its own, or writes "
            "variables that Keras does not know, which a checkpoint cannot hold; give its layers a "
            "keras.random.SeedGenerator as an attribute and add_weight() for their variables, or train "
            "without checkpoint="
        )


def reseed(model: keras.Model, seed: int) -> None:
    """Set the state of every random layer (dropout, noise) of a model from one seed."""
    for index, state in enumerate(_random_states(model)):
        drawn = streams.generator(seed, "random layers", index).integers(2**31, size=state.shape)
        state.assign(drawn.astype(state.dtype))


def _random_states(model):
    return [v for v in model.variables if v.name == "seed_generator_state"]


def training_step(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    jit_compile: bool = False,
    losses: Callable | None = None,
) -> Callable:
    """The compiled ``step(x, y) -> (mean loss, number correct)`` that updates the model once.

    ``losses(y, output) -> (N,)`` is minimized in place of the cross-entropy; then nothing is counted (None).
    A model made in a strategy's scope is updated by all replicas, each on its share of x and y.
    """
    workers = distribution.of(model)
    with workers.strategy.scope():
        optimizer.build(model.trainable_variables)

    def update(x, y, share=None):
        with tf.GradientTape() as tape:
            with normalization.fused(model):
                output = model(x, training=True)
            output = output if losses else class_logits(output)
            loss = tf.reduce_mean((losses or cross_entropy)(y, output))
            total = tf.add_n([loss, *model.losses]) if model.losses else loss
            if share is not None:  # of the batch; those of all replicas add up to 1
                loss, total = loss * share, total * share
            total = optimizer.scale_loss(total)
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss, None if losses else count_correct(y, output)

    if workers.replicas > 1:
        return distribution.shared_step(workers, update)
    # Without autograph, as in ``fit``. One trace a shape: which came first must not matter.
    return tf.function(update, autograph=False, jit_compile=jit_compile)


def _epoch(step, data, batch_size, order, place, watchers, keeper, bar):
    """The rest of one pass over the training images; the mean loss and accuracy that all of it saw."""
    steps = -(-len(order) // batch_size)
    for batch in range(place.batch, steps):
        index = np.sort(order[batch * batch_size : (batch + 1) * batch_size])
        watchers.on_train_batch_begin(batch)
        loss, hits = step(data.x_train[index], data.y_train[index])
        loss = float(loss)
        divergence.check(watchers.model, place.epoch * steps + batch, keeper.kept, loss)
        place.batch, place.loss_sum = batch + 1, place.loss_sum + loss * len(index)
        place.correct += int(hits)
        watchers.on_train_batch_end(batch, {"loss": loss})
        bar.update()
        keeper.after_batch(place)
    divergence.check(watchers.model, (place.epoch + 1) * steps - 1, keeper.kept)
    return {"loss": place.loss_sum / len(order), "accuracy": place.correct / len(order)}


def evaluation_step(model: keras.Model) -> Callable:
    """The compiled ``step(x, y) -> (number correct, summed loss)`` of a classifier in inference mode."""
    return tf.function(lambda x, y: score(class_logits(model(x, training=False)), y), autograph=False)


def evaluate(
    model: keras.Model, x: np.ndarray, y: np.ndarray, batch_size: int = 1000, step: Callable | None = None
) -> Tally:
    """How a classifier answers, from its logits, in inference mode: ``accuracy`` and ``mean_loss``, the mean
    cross-entropy.

    ``step`` is the model's :func:`evaluation_step`, for those who evaluate it again and again, on labels that
    are checked already. Raises ``ValueError`` for no sample, and for labels that are not the numbers of the
    model's classes.
    """
    if not len(x):
        raise ValueError("x is empty; give at least one image")
    if step is None:
        y = _labels(y, len(x), model(x[:1], training=False).shape[-1], "y")
        step = evaluation_step(model)
    pieces = zip(slices(x, batch_size), slices(y, batch_size), strict=True)
    return total(Tally, ((len(labels), step(images, labels)) for images, labels in pieces))


def _validation(model, data, step, workers):
    if not len(data.x_test):
        return {}
    part = workers.part(len(data.x_test))
    x, y = data.x_test[part], data.y_test[part]
    mine = evaluate(model, x, y, step=step) if len(y) else Tally()
    tally = merged(workers.json(mine.to_dict()))
    return {"val_loss": tally.mean_loss, "val_accuracy": tally.accuracy}


def _bar(total, done, title, progress):
    """A progress bar with the remaining time, in a notebook too; in a log file, a line every half a
    minute."""
    interval = 0.2 if sys.stderr.isatty() or "ipykernel" in sys.modules else 30.0
    return tqdm(
        total=total,
        initial=done,
        desc=title,
        unit="batch",
        disable=not progress,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=True,
    )
