"""The recordings of one training: each is taken, and then kept or withdrawn."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.recording.sharing import NoWriter, whole_table
from keras_neuronlevel.recording.sums import Sums, channels_first
from keras_neuronlevel.records import RecordsWriter
from keras_neuronlevel.samples import count

logger = logging.getLogger(__name__)


class Recordings:
    """Table, sums and snapshots, from one compiled recording of each batch of samples.

    ``table`` has a row (step, epoch, batch, mean loss, accuracy) for every recording; ``seconds`` what was
    spent on ``recording`` and ``writing``. A recording is ``pending`` until its batch has ended. Snapshots
    go to the file at once; that of the newest recording is held back, because the last one is always kept.
    """

    def __init__(
        self,
        record_batch: Callable,
        batches: Iterable,
        selections: Mapping,
        writer: RecordsWriter | NoWriter,
        new_sums: Callable = Sums,
        workers: Workers | None = None,
        at_once: int = 1,
    ):
        """``new_sums`` makes the sums of such selections and numbers of samples in each batch. The devices
        of this one of the ``workers`` take turns at the batches, each at so many ``at_once``; where that is
        0, only one batch is recorded at a time on all of them."""
        self._workers, self._settled, self._at_once = workers or Workers(), 0, at_once
        self._traced = False  # for sums of the present width
        self._record_batch = record_batch
        self.batches = []
        for turn, batch in enumerate(batches):
            with self._workers.device(turn):  # in the memory of that device
                self.batches.append(keras.tree.map_structure(tf.identity, batch))
        self._counts = [count(x) for x, _ in self.batches]
        self._selections, self._writer = selections, writer
        self._sums: Sums = new_sums(selections, self._counts)
        self.table: list[tuple] = []
        self._latest: list[dict] = []
        self._snapshot_written = True
        self._former: tuple[Any, ...] = ()
        self.pending, self.torn = False, ""
        self.seconds = {"recording": 0.0, "writing": 0.0}

    @property
    def sums(self) -> Sums:
        """What was counted. Raises ``ValueError`` where it is not of as many recordings for all samples."""
        if self.torn:
            raise ValueError(self.torn)
        return self._sums

    def take(self, epoch: int, batch: int, step: int, *, revocable: bool) -> None:
        """Take one recording with the model's present weights.

        Keras announces a batch that does not exist at the end of data of unknown length: where a recording
        is ``revocable``, the sums from before are held for so long, and :meth:`withdraw` puts them back. An
        error in the middle does so, too, or else leaves nothing that could be read: ``torn`` says why.
        """
        start, sums = time.perf_counter(), self.sums
        if revocable:
            sums.hold()
            self._former = self._latest, self._snapshot_written

        def recorded(number):
            with sums.counting(number) as counts:
                return self._record_batch(*self.batches[number], counts)

        try:
            found = self._of_each_batch(recorded)
            parts = [seen for seen, _, _ in found]
            loss_sum, correct = (sum(float(each[place]) for each in found) for place in (1, 2))
        except BaseException as error:
            if revocable:
                sums.withdraw()
                self._former = ()
            else:
                self.torn = (
                    f"the recording at step {step} ended in an error ({type(error).__name__}) when a part of "
                    "the samples was counted, so that they have different numbers of recordings; record anew"
                )
            raise
        samples = sum(self._counts)
        self.table.append((step, epoch, batch, loss_sum / samples, correct / samples))
        if not np.isfinite(self.table[-1][3]):
            logger.warning("the recorded loss is not finite at step %d: training diverged", step)
        self._latest, self._snapshot_written, self.pending = parts, False, True
        self.seconds["recording"] += time.perf_counter() - start

    def _of_each_batch(self, recorded):
        """What it gives for every batch, beside each other; at first one by one, in the caller's thread: what
        traces a model may depend on settings that are a thread's own."""
        numbers = range(len(self.batches))
        if self._traced and self._at_once:
            return self._workers.on_devices(numbers, recorded, self._at_once)
        found = []
        for number in numbers:
            with self._workers.device(number):
                found.append(recorded(number))
        self._traced = True
        return found

    def keep(self, snapshot_at: Callable[[int], bool]) -> None:
        """The pending recording counts: write its snapshot, where ``snapshot_at`` its number says so."""
        if not self.pending:
            return
        self.pending, self._former = False, ()
        self._sums.release()
        if self._sums.widen(len(self.table)):
            self._traced = False
        if snapshot_at(len(self.table) - 1):
            self.write_snapshot()

    def withdraw(self) -> None:
        """The pending recording was of a batch that does not exist."""
        self._sums.withdraw()
        self._latest, self._snapshot_written = self._former
        self.pending, self._former = False, ()
        self.table.pop()

    def write_snapshot(self) -> None:
        """Write that of the newest recording, where it is not written yet."""
        if self._snapshot_written:
            return
        start = time.perf_counter()
        latest = {name: self._workers.arrays(self._latest_of(name)) for name in self._selections}
        values = {name: channels_first(np.concatenate(parts)) for name, parts in latest.items()}
        for name, p in values.items():
            if not np.isfinite(p).all():
                logger.warning(
                    "pre-activations of %s do not fit %s in the snapshot at recording %d%s",
                    name,
                    p.dtype,
                    len(self.table) - 1,
                    "; give Snapshots(dtype='float32')" if p.dtype == np.float16 else "",
                )
        self._writer.append_snapshot(len(self.table) - 1, values)
        self._snapshot_written = True
        self.seconds["writing"] += time.perf_counter() - start

    def preactivations(self) -> dict[str, np.ndarray]:
        """Those that a snapshot of the newest recording would keep, of this worker's samples; empty where
        none are held."""
        return {name: channels_first(self._latest_of(name)) for name in self._selections if self._latest}

    def _latest_of(self, name):
        return np.concatenate([part[name].numpy() for part in self._latest])

    def settle(self) -> None:
        """Have the table's rows be of all workers' samples."""
        self.table = whole_table(self._workers, self.table, self._settled, sum(self._counts))
        self._settled = len(self.table)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that a checkpoint holds beside the table."""
        recordings, snapshots = self._writer.snapshots()
        found = {"snapshot_recordings": recordings, **self.sums.arrays()}
        found |= {f"snapshots/{name}": values for name, values in snapshots.items()}
        if not self._snapshot_written:
            found |= {f"latest/{name}": self._latest_of(name) for name in self._selections}
        return found

    def restore(self, table: Iterable, arrays: Mapping[str, np.ndarray]) -> None:
        """Take up a ``table`` and what :meth:`arrays` gave, in an object that has recorded nothing."""
        self.table = [tuple(row) for row in table]
        self._settled = len(self.table)
        self._sums.restore(arrays)
        latest = {name: arrays[f"latest/{name}"] for name in self._selections if f"latest/{name}" in arrays}
        self._snapshot_written = not latest
        if not latest and self._workers.count == 1 and len(arrays["snapshot_recordings"]):
            # the last snapshot is that of the newest recording; of several workers it has all samples
            latest = {name: channels_first(arrays[f"snapshots/{name}"][-1]) for name in self._selections}
        self._latest = [{name: tf.constant(values) for name, values in latest.items()}] if latest else []
        for place, recording in enumerate(arrays["snapshot_recordings"]):
            values = {name: arrays[f"snapshots/{name}"][place] for name in self._selections}
            self._writer.append_snapshot(recording, values)
