"""Begin a strategy, and say what is wrong with what it was given, or that another worker ended."""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from keras_neuronlevel.distribution.workers import Workers

# What TensorFlow raises where a worker that takes part is no more.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class WorkerLostError(ConnectionError):
    """Another worker ended, so that this one cannot go on."""


@contextlib.contextmanager
def begun(name: str) -> Iterator[Workers]:
    """The workers of a strategy, before TensorFlow has done anything else.

    Args:
        name: "none", "mirrored" or "multiworker".

    Raises:
        ValueError: fewer than two devices to mirror on; a TF_CONFIG that is missing, or wrong.
        WorkerLostError: in the block, where another worker ended.
    """
    if name == "none":
        yield Workers()
        return
    if name == "mirrored":
        yield Workers(_mirrored())
        return
    count, rank = cluster(os.environ.get("TF_CONFIG"))
    try:
        yield Workers(tf.distribute.MultiWorkerMirroredStrategy(), rank, count)
    except _LOST as error:
        raise WorkerLostError(
            f"this is worker {rank} of {count}, and another one ended, so it cannot go on; see what that one "
            "said, then start all of them again with the same command: they go on from the last checkpoint"
        ) from error


def _mirrored():
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        raise ValueError(
            f"mirrored divides the work over the devices of one process, and TensorFlow sees {len(devices)} "
            f"({devices[0].name}); give --strategy none, or multiworker for several processes"
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def cluster(config: str | None) -> tuple[int, int]:
    """(number of workers, rank of this one) that a TF_CONFIG names. Raises ``ValueError`` for a wrong one."""
    example = '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        found = json.loads(config or "")
        workers, task = found["cluster"]["worker"], found["task"]
        jobs, kind, index = set(found["cluster"]), task["type"], task["index"]
    except (ValueError, KeyError, TypeError):
        given = "not set" if config is None else f"{config!r}"
        raise ValueError(
            f"multiworker needs the environment variable TF_CONFIG, which is {given}; give it as {example}, "
            "or start local processes with experiments/workers.py"
        ) from None
    fits = isinstance(workers, list) and all(isinstance(address, str) for address in workers)
    if not fits or jobs != {"worker"} or kind != "worker" or index not in range(len(workers)):
        raise ValueError(
            f"TF_CONFIG is {config!r}; the cluster must have addresses of workers alone, and the task be "
            f"one of them, as in {example}"
        )
    if len(set(workers)) < len(workers):
        raise ValueError(f"TF_CONFIG is {config!r}; give every worker an address of its own")
    return len(workers), index
