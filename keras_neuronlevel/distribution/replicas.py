"""One training by several replicas: what each does of a batch, and what must be the same on all of them."""

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import streams
from keras_neuronlevel.distribution.workers import Workers


def check(
    workers: Workers,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    images: int,
    batch_size: int,
    jit_compile: bool,
) -> None:
    """Raises ``ValueError`` for a training that several replicas would do otherwise than one."""
    if workers.replicas == 1:
        return
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    least = min(batch_size, images, images % batch_size or images)
    problems = {
        f"the smallest batch has {least} images; give a batch_size that leaves more": least
        < workers.replicas,
        "the optimizer was made outside of the strategy's scope; make it in there": (
            inner._distribution_strategy is not workers.strategy
        ),
        "the optimizer clips gradients, which Keras does on each replica alone; leave the clipping out": any(
            getattr(inner, name, None) for name in ("clipnorm", "global_clipnorm", "clipvalue")
        ),
        "the model computes in float16, whose losses are scaled on each replica alone; use float32": (
            inner is not optimizer
        ),
        "jit_compile=True compiles no communication; leave it out": jit_compile,
    }
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise ValueError(f"{workers.replicas} replicas cannot train {model.name!r}: {'; '.join(found)}")


@contextlib.contextmanager
def whole_batches(workers: Workers, model: keras.Model) -> Iterator[None]:
    """While the block runs, batch normalization takes the statistics of the whole batch, not of a share."""
    layers = [
        layer
        for layer in model._flatten_layers()
        if workers.replicas > 1 and isinstance(layer, keras.layers.BatchNormalization)
    ]
    before = [layer.synchronized for layer in layers]
    try:
        for layer in layers:
            layer.synchronized = True
        yield
    finally:
        for layer, synchronized in zip(layers, before, strict=True):
            layer.synchronized = synchronized


def draw_apart(workers: Workers, states: Sequence, seed: int) -> None:
    """Random layers draw something else on each replica, on the first what they draw on one alone.

    Args:
        workers: those who train the model.
        states: those of the random layers, (2,), the same on all replicas.
        seed: of the training.
    """
    if workers.replicas == 1 or not states:
        return
    drawn = streams.generator(seed, "replicas").integers(2**31, size=workers.replicas)
    drawn[0] = 0
    offsets = np.stack([drawn, 0 * drawn], axis=1)
    rows = [np.asarray(state.numpy())[None] + offsets.astype(state.dtype) for state in states]

    def assign():
        rank = tf.distribute.get_replica_context().replica_id_in_sync_group
        for state, values in zip(states, rows, strict=True):
            state.assign(tf.constant(values)[rank])

    tf.function(lambda: workers.strategy.run(assign), autograph=False)()


def check_alike(workers: Workers, model: keras.Model) -> None:
    """Raises ``ValueError`` where a variable that is not random came apart between the replicas."""
    if workers.replicas == 1:
        return
    mine = {}
    for variable in model.variables:
        if variable.name != "seed_generator_state":
            local = workers.strategy.experimental_local_results(variable.value)
            mine[variable.path] = [hashlib.sha256(value.numpy().tobytes()).hexdigest() for value in local]
    for path in mine:
        mine[path] = sorted(set(mine[path]))
    others = workers.json(mine)
    apart = [path for path in mine if len({each for found in others for each in found[path]}) > 1]
    if apart:
        raise ValueError(
            f"{', '.join(apart)} of {model.name!r} came apart between the {workers.replicas} replicas; the "
            "layer computes something of its own share of a batch, and can be trained by one replica only"
        )


def shared_step(workers: Workers, update: Callable) -> Callable:
    """``step(x, y) -> (loss, hits)`` that has every replica ``update(x, y, share)``, and adds up."""
    strategy, replicas = workers.strategy, workers.replicas

    @tf.function(autograph=False)
    def together(x, y, share):
        losses, hits = strategy.run(update, (x, y, share))
        return strategy.reduce("SUM", losses, axis=None), strategy.reduce("SUM", hits, axis=None)

    def step(x, y):
        def dealt(values):
            def pick(context):
                rank = context.replica_id_in_sync_group
                return tf.constant(values(slice(len(y) * rank // replicas, len(y) * (rank + 1) // replicas)))

            return strategy.experimental_distribute_values_from_function(pick)

        share = dealt(lambda part: np.float32((part.stop - part.start) / len(y)))
        return together(dealt(x.__getitem__), dealt(y.__getitem__), share)

    return step
