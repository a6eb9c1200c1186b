"""A small records file, damaged in every way, and what its reader makes of it.

A process of its own reads the files, and is given up after a time limit, because HDF5 may hang or end a
process on what is tried here.
"""

import collections
import contextlib
import multiprocessing
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from keras_neuronlevel import files, selection, streams
from keras_neuronlevel.records import Records, RecordsError, RecordsWriter

OUTCOMES = ("harmless", "RecordsError", "other error", "silent", "hang", "crash")
LIMIT = 20  # seconds for one trial
LAYERS = {"dense": (3,), "map": (2, 3, 4)}
SAMPLES, RECORDINGS = 5, 6


def write(path: Path) -> None:
    """A whole records file with a dense layer, a feature map, and snapshots."""
    rng = streams.generator(0, "made up records")
    writer = begun(path)
    for recording in (0, RECORDINGS - 1):
        shapes = {"dense": (SAMPLES, 2), "map": (SAMPLES, 2, 3)}
        writer.append_snapshot(recording, {name: rng.normal(size=shape) for name, shape in shapes.items()})
    nonzero = {
        name: rng.integers(0, RECORDINGS + 1, shape)
        for name, shape in {"dense": (SAMPLES, 3), "map": (SAMPLES, 4, 6)}.items()
    }
    table = [(10 * t, 0, 10 * t, 1.0 / (t + 1), 0.5) for t in range(RECORDINGS)]
    writer.finish(table, {name: (n - 2 * (n // 2), n) for name, n in nonzero.items()})


def begun(path: Path) -> RecordsWriter:
    """The writer of such a file, which nothing was recorded to yet."""
    chosen = selection.select(LAYERS, SAMPLES, snapshots=selection.Snapshots(neurons=2, positions=3))
    writer = RecordsWriter(path)
    labels = streams.generator(0, "made up labels").integers(0, 3, SAMPLES)
    writer.create(chosen, labels, np.arange(SAMPLES) * 7, "float32", {"commit": "abc"})
    return writer


def refused(path: Path) -> tuple[int, str]:
    """Exit status and last words of a process that begins to write the records file at ``path``."""
    command = [sys.executable, "-m", __name__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, (done.stderr.strip().splitlines() or [""])[-1]


def everything(path: Path) -> list:
    """All that can be read of a records file, as bytes and texts that compare."""
    with Records(path) as records:
        found = [records.layers, records.provenance]
        arrays = [records.labels, records.sample_index, records.recordings, records.snapshot_recordings]
        for layer in records.layers:
            for part in ("neurons", "positions", "sign_sum", "nonzero", "average_sign", "snapshots"):
                arrays.append(getattr(records, part)(layer))
            arrays += [records.snapshot_neurons(layer), records.snapshot_positions(layer)]
    return found + [(str(a.dtype), a.shape, a.tobytes()) for a in arrays if a is not None]


def outcome(path: Path, wanted: list) -> str:
    """What reading comes to, of ``OUTCOMES``; ``wanted`` is what the undamaged file holds."""
    try:
        return "harmless" if everything(path) == wanted else "silent"
    except RecordsError:
        return "RecordsError"
    except Exception:
        return "other error"


def trials(whole: bytes, step: int = 1) -> Iterator[tuple[str, bytes]]:
    """(kind of damage, damaged bytes): one bit of every ``step``-th byte, the rest in proportion."""
    for place in range(0, len(whole), step):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place // step) % 8
        yield "one bit of a byte", bytes(flipped)
    for place in range(0, len(whole), 8 * step):
        yield (
            "zeroed, 713 bytes",
            whole[:place] + bytes(len(whole[place : place + 713])) + whole[place + 713 :],
        )
        yield "truncated", whole[:place]
    for more in (b"\0", b"x", bytes(4096), whole):
        yield "bytes appended", whole + more


def run(step: int = 1, *, limit: float = LIMIT) -> dict:
    """Read the damaged files of :func:`trials`.

    Returns {kind of damage: {outcome: count}} under ``counts``, with the file's size in ``bytes``.
    """
    with tempfile.TemporaryDirectory(prefix="neuronlevel-damage-") as folder, _Reader(Path(folder)) as reader:
        path = Path(folder) / "whole.h5"
        write(path)
        whole, wanted = path.read_bytes(), everything(path)
        counts = count(trials(whole, step), lambda damaged: reader.read(damaged, wanted, limit))
    return {"bytes": len(whole), "step": step, "counts": counts}


def count(tried: Iterable[tuple[str, bytes]], read) -> dict:
    """{kind: {outcome: count}} of trials, by ``read(bytes) -> outcome``."""
    found: dict = {}
    for kind, damaged in tried:
        found.setdefault(kind, collections.Counter(dict.fromkeys(OUTCOMES, 0)))[read(damaged)] += 1
    return {kind: dict(counts) for kind, counts in found.items()}


class _Reader:
    """A process that reads files, and is replaced where it hangs or ends."""

    def __init__(self, folder, read=outcome):
        self._path, self._read, self._process, self._pipe = folder / "damaged.h5", read, None, None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._stop()

    def read(self, damaged, wanted, limit):
        self._path.write_bytes(damaged)
        fresh = self._process is None
        if fresh:
            self._start()
        try:
            self._pipe.send((self._path, wanted))
            if self._pipe.poll(limit + 60 * fresh):  # a fresh one has to import first
                return self._pipe.recv()
            found = "hang"
        except (EOFError, OSError):
            found = "crash"
        self._stop()
        return found

    def _start(self):
        spawning = multiprocessing.get_context("spawn")
        self._pipe, other = spawning.Pipe()
        self._process = spawning.Process(target=_serve, args=(other, self._read), daemon=True)
        self._process.start()
        other.close()

    def _stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe, read):
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(read(*pipe.recv()))


def table(result: dict) -> str:
    """The counts as lines of text."""
    lines = [f"{'damage':20} {'trials':>8} " + " ".join(f"{name:>12}" for name in OUTCOMES)]
    for kind, counts in result["counts"].items():
        total = sum(counts.values())
        lines.append(f"{kind:20} {total:>8} " + " ".join(f"{counts[name]:>12}" for name in OUTCOMES))
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        write(Path(sys.argv[1]))
    except files.InUseError as error:
        sys.exit(f"error: {error}")
