"""The processes that share one work: each its part, and what all of them found, gathered."""

import contextlib
import dataclasses
import functools
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

PIECE = 2**26  # bytes that a worker sends at a time
Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclasses.dataclass(frozen=True)
class Workers:
    """The processes that share one work, and this one's place among them.

    Every worker has to call :meth:`gather`, :meth:`union`, :meth:`told`, :meth:`any` and what is made of
    them alike, in the same order. Alone, they give back what they are given.

    Attributes:
        strategy: TensorFlow's; its default, for a process alone.
        rank: of this process, from 0, the chief's.
        count: of the processes.
    """

    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)
    rank: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def replicas(self) -> int:
        """Devices of all processes that a batch is divided over."""
        return self.strategy.num_replicas_in_sync

    @property
    def devices(self) -> int:
        """Those of this process, one for each of its replicas."""
        return max(1, self.replicas // self.count)

    def device(self, turn: int) -> contextlib.AbstractContextManager:
        """A context in which TensorFlow computes on the device of this process whose ``turn`` it is; they
        take turns, from 0 on. With one device it is the one that TensorFlow takes by itself."""
        if self.devices == 1:
            return contextlib.nullcontext()
        return tf.device(self.strategy.extended.worker_devices[turn % self.devices])

    def on_devices(self, items: Sequence[Item], make: Callable[[Item], Made], at_once: int = 1) -> list[Made]:
        """``[make(item) for item in items]``, which the devices of this process take turns at, beside each
        other, each at so many ``at_once``, within the scope of the strategy that the caller is in. Where one
        fails, the items that are begun beside it are first ended, and no others begun."""
        rows, failed = max(1, min(self.devices * at_once, len(items))), threading.Event()
        # A thread begins in no scope, and a function that was traced in one would be traced again.
        strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None

        def made(row):
            found = []
            with strategy.scope() if strategy else contextlib.nullcontext(), self.device(row):
                for item in items[row::rows]:
                    if failed.is_set():
                        break
                    try:
                        found.append(make(item))
                    except BaseException:
                        failed.set()
                        raise
            return found

        if rows == 1:
            return made(0)
        with ThreadPoolExecutor(rows) as pool:
            found = list(pool.map(made, range(rows)))
        return [found[turn % rows][turn // rows] for turn in range(len(items))]

    def described(self) -> dict[str, int]:
        """What of this changes the bits of a training: how many replicas and workers, where not one."""
        many = {"replicas": self.replicas, "workers": self.count}
        return many if self.replicas > 1 else {}

    def part(self, total: int) -> slice:
        """This worker's part of so many things: the parts are contiguous, and differ by one at most."""
        return slice(self.rank * total // self.count, (self.rank + 1) * total // self.count)

    def turns(self, items: Sequence[Item]) -> Sequence[Item]:
        """This worker's items, where they are dealt out one by one."""
        return items[self.rank :: self.count]

    def gather(self, data: bytes) -> list[bytes]:
        """What each worker gave, in their order, on all of them."""
        if self.count == 1:
            return [data]
        lengths = _exchange(self.strategy)(tf.constant([len(data)], tf.int64)).numpy().tolist()
        found = [b""] * self.count
        for start in range(0, max(lengths), PIECE):
            sizes = [max(0, min(PIECE, length - start)) for length in lengths]
            words = [-(-size // 8) for size in sizes]
            piece = data[start : start + PIECE].ljust(8 * words[self.rank], b"\0")
            sent = _exchange(self.strategy)(tf.constant(np.frombuffer(piece, np.int64))).numpy()
            places = np.cumsum([0, *words])
            for worker, size in enumerate(sizes):
                found[worker] += sent[places[worker] : places[worker + 1]].tobytes()[:size]
        return found

    def arrays(self, values: np.ndarray) -> list[np.ndarray]:
        """:meth:`gather` of arrays, each of a type and a shape of its own."""
        if self.count == 1:
            return [values]
        heads = self.json([values.dtype.str, values.shape])
        found = self.gather(values.tobytes())
        return [
            np.frombuffer(part, dtype).reshape(shape)
            for part, (dtype, shape) in zip(found, heads, strict=True)
        ]

    def json(self, value: Any) -> list:
        """:meth:`gather` of JSON-able values."""
        return [value] if self.count == 1 else [json.loads(part) for part in self._texts(value)]

    def each(self, items: Sequence[Item], make: Callable[[Item], Any]) -> list:
        """What ``make`` gives for every item, JSON-able, on all workers, who take :meth:`turns` at them."""
        found = self.json([make(item) for item in self.turns(items)])
        return [found[place % self.count][place // self.count] for place in range(len(items))]

    def one_by_one(self, make: Callable[[], Item]) -> Item:
        """What ``make()`` gives each worker, one after the other: what one downloads, the next ones find."""
        found = []
        for rank in range(self.count):
            if rank == self.rank:
                found.append(make())
            self.told()
        return found[0]

    def _texts(self, value):
        return self.gather(json.dumps(value, default=lambda number: number.item()).encode())

    def check_same(self, what: str, given: Mapping[str, Any]) -> None:
        """Raises ``ValueError``, naming what differs, where workers were given something else."""
        mine, *others = self.json(given)
        for rank, found in enumerate(others, start=1):
            differ = [key for key in {**mine, **found} if mine.get(key) != found.get(key)]
            if differ:
                raise ValueError(
                    f"worker {rank} was given another {what} than worker 0; it differs in "
                    f"{', '.join(differ)}. Give all workers the same command, data and versions"
                )

    def told(self, value: Any = None) -> Any:
        """What the chief gave, on all workers; JSON-able. What the others gave counts for nothing."""
        return self.json(value if self.chief else None)[0]

    def told_bytes(self, data: bytes) -> bytes:
        """What the chief gave, on all workers."""
        return self.gather(data if self.chief else b"")[0]

    def told_arrays(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the chief gave, on all workers, by name."""
        if self.count == 1:
            return dict(arrays)
        heads = self.told([(name, values.dtype.str, values.shape) for name, values in arrays.items()])
        found = {}
        for name, dtype, shape in heads:
            data = self.told_bytes(arrays[name].tobytes() if self.chief else b"")
            found[name] = np.frombuffer(data, dtype).reshape(shape)
        return found

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether some worker raised it."""
        if self.count == 1:
            return list(flags)
        raised = _exchange(self.strategy)(tf.constant(flags, tf.int64)).numpy()
        return raised.reshape(self.count, -1).any(axis=0).tolist()

    def union(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """On the chief what all workers have, the names of each beginning with its rank; else nothing."""
        if self.count == 1:
            return dict(arrays)
        kept = {name: np.asarray(values) for name, values in arrays.items()}
        heads = self.json([(name, values.dtype.str, values.shape) for name, values in kept.items()])
        mine, found = list(kept.values()), {}
        for place in range(max(map(len, heads))):
            sent = self.gather(mine[place].tobytes() if place < len(mine) else b"")
            for worker, head in enumerate(heads):
                if self.chief and place < len(head):
                    name, dtype, shape = head[place]
                    found[f"{worker}/{name}"] = np.frombuffer(sent[worker], dtype).reshape(shape)
        return found

    def own(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of what :meth:`union` gave the chief, what this worker had."""
        if self.count == 1:
            return dict(arrays)
        mine = f"{self.rank}/"
        return {name.removeprefix(mine): a for name, a in arrays.items() if name.startswith(mine)}


def of(model: keras.Model) -> Workers:
    """The workers at a model: those of the strategy in whose scope it was made."""
    strategy = getattr(model, "distribute_strategy", None) or tf.distribute.get_strategy()
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return Workers(strategy)
    resolver = strategy.cluster_resolver
    count = len(resolver.cluster_spec().as_dict().get("worker", [])) or 1
    return Workers(strategy, resolver.task_id or 0, count)


def processors() -> int:
    """How many cores TensorFlow may compute on."""
    asked = tf.config.threading.get_intra_op_parallelism_threads()
    asked = asked or int(os.environ.get("TF_NUM_INTRAOP_THREADS") or 0)
    if asked > 0:
        return asked
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _exchange(strategy):
    """The compiled all-gather of vectors, in the order of workers; only the first replica of each gives."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def exchange(values):
        local = strategy.extended._num_replicas_in_sync // max(1, strategy.extended._num_workers)

        def give():
            context = tf.distribute.get_replica_context()
            first = tf.cast(context.replica_id_in_sync_group % local == 0, tf.int32)
            return context.all_gather(values[: first * tf.shape(values)[0]], axis=0)

        return strategy.experimental_local_results(strategy.run(give))[0]

    return exchange
