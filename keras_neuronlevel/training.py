"""Train a classifier with a ``GradientTape`` loop that any Keras callback can watch."""

import sys

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm


def train(
    model,
    data,
    *,
    optimizer,
    epochs,
    batch_size=128,
    callbacks=(),
    seed=0,
    jit_compile=False,
    progress=True,
):
    """Minimize the mean cross-entropy of a model that ends in logits; returns ``keras.callbacks.History``.

    ``data`` has ``x_train, y_train, x_test, y_test`` (see ``data.load``). Every epoch visits the training
    images once, in an order drawn from (seed, epoch), in ``ceil(N / batch_size)`` batches, the last of
    which may be smaller; then the test images give ``val_loss`` and ``val_accuracy``. The callbacks see
    what they see in ``model.fit``. The same seed on the same initial weights gives the same weights,
    dropout included, on the same machine. ``callback.model.stop_training = True`` ends after the epoch.

    Raises ``ValueError`` for an empty or mismatched training set and for epochs or batch_size below 1.
    """
    _check(data, epochs, batch_size)
    model.compile(optimizer=optimizer, jit_compile=jit_compile)
    optimizer = model.optimizer  # it scales the loss, where the model computes in float16
    reseed(model, seed)
    step, validate = training_step(model, optimizer, jit_compile), evaluation_step(model)
    steps = -(-len(data.x_train) // batch_size)
    watchers = keras.callbacks.CallbackList(list(callbacks), add_history=True, model=model)
    watchers.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
    model.stop_training = False
    watchers.on_train_begin()
    with _bar(epochs * steps, model.name, progress) as bar:
        for epoch in range(epochs):
            watchers.on_epoch_begin(epoch)
            logs = _epoch(step, data, batch_size, np.random.default_rng([seed, epoch]), watchers, bar)
            logs |= _validation(model, data, validate)
            bar.set_postfix({name: f"{value:.4f}" for name, value in logs.items()})
            watchers.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
    watchers.on_train_end()
    return model.history


def _check(data, epochs, batch_size):
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs is {epochs} and batch_size {batch_size}; both must be at least 1")
    if not len(data.x_train) or len(data.x_train) != len(data.y_train):
        raise ValueError(
            f"there are {len(data.x_train)} training images and {len(data.y_train)} labels; give the same "
            "number of both, at least one"
        )


def reseed(model, seed):
    """Set the state of every random layer (dropout, noise) of a model from one seed."""
    states = [v for v in model.variables if v.name == "seed_generator_state"]
    for index, state in enumerate(states):
        drawn = np.random.default_rng([seed, index]).integers(2**31, size=state.shape)
        state.assign(drawn.astype(state.dtype))


def cross_entropy(labels, logits):
    """Each sample's own cross-entropy, (N,), from integer labels (N,) and logits (N, K)."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.cast(logits, tf.float32))


def count_correct(labels, logits):
    """How many of the labels (N,) are the largest of their logits (N, K); an int32 scalar."""
    hits = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.cast(labels, tf.int32))
    return tf.reduce_sum(tf.cast(hits, tf.int32))


def training_step(model, optimizer, jit_compile=False):
    """The compiled ``step(x, y) -> (mean loss, number correct)`` that updates the model once."""
    optimizer.build(model.trainable_variables)

    @tf.function(jit_compile=jit_compile, reduce_retracing=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            logits = model(x, training=True)
            loss = tf.reduce_mean(cross_entropy(y, logits))
            total = tf.add_n([loss, *model.losses]) if model.losses else loss
            total = optimizer.scale_loss(total)
        gradients = tape.gradient(total, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss, count_correct(y, logits)

    return step


def _epoch(step, data, batch_size, rng, watchers, bar):
    """One pass over the training images; returns the mean loss and accuracy that training saw."""
    order = rng.permutation(len(data.x_train))
    loss_sum, correct = 0.0, 0
    for batch, start in enumerate(range(0, len(order), batch_size)):
        index = np.sort(order[start : start + batch_size])
        watchers.on_train_batch_begin(batch)
        loss, hits = step(data.x_train[index], data.y_train[index])
        loss = float(loss)
        loss_sum += loss * len(index)
        correct += int(hits)
        watchers.on_train_batch_end(batch, {"loss": loss})
        bar.update()
    return {"loss": loss_sum / len(order), "accuracy": correct / len(order)}


def evaluation_step(model):
    """The compiled ``step(x, y) -> (summed loss, number correct)`` of a model in inference mode."""

    @tf.function(reduce_retracing=True)
    def step(x, y):
        logits = model(x, training=False)
        return tf.reduce_sum(cross_entropy(y, logits)), count_correct(y, logits)

    return step


def evaluate(model, x, y, batch_size=1000, step=None):
    """Mean cross-entropy and accuracy of a model that ends in logits, in inference mode.

    ``step`` is the model's :func:`evaluation_step`, for those who evaluate it again and again.
    """
    step = step or evaluation_step(model)
    loss_sum, correct = 0.0, 0
    for start in range(0, len(x), batch_size):
        loss, hits = step(x[start : start + batch_size], y[start : start + batch_size])
        loss_sum += float(loss)
        correct += int(hits)
    return loss_sum / len(x), correct / len(x)


def _validation(model, data, step):
    if not len(data.x_test):
        return {}
    loss, accuracy = evaluate(model, data.x_test, data.y_test, step=step)
    return {"val_loss": loss, "val_accuracy": accuracy}


def _bar(total, title, progress):
    """A progress bar with the remaining time; in a log file, a line every half a minute."""
    interval = 0.2 if sys.stderr.isatty() else 30.0
    return tqdm(
        total=total,
        desc=title,
        unit="batch",
        disable=not progress,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=True,
    )
