"""A small real MNIST training, killed and starved in every way, and held against one that was not disturbed.

Every training is a process of its own that ends as a script does (``cli.run``). After a kill the same command
goes on, and in the end every array that it left is compared, bit for bit, with those of an undisturbed run.
"""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import keras
import numpy as np

from keras_neuronlevel import checkpoints, files, papers, streams
from keras_neuronlevel.benchmarks import damage
from keras_neuronlevel.protocol import cli, runs

NAME = "faults"
CHECKPOINT_EVERY = 0.4  # seconds


@dataclasses.dataclass
class Fault:
    """One disturbance: what, ``moment`` in words, ``lost`` batches (to be done again), the process's exit
    ``status``, what it said last, and whether the run that followed was ``identical`` (None: none ended
    yet)."""

    what: str
    moment: str
    lost: int | None = None
    status: int | None = None
    said: str = ""
    identical: bool | None = None


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained: MNIST from ``data_dir``, two hidden layers of ``hidden`` neurons, which are recorded
    for ``samples`` samples."""

    data_dir: Path | None = None
    samples: int = 3000
    hidden: int = 512

    def arguments(self):
        return [str(self.data_dir or ""), str(self.samples), str(self.hidden)]


def run(kills: int = 25, *, recipe: Recipe | None = None, seed: int = 0) -> list[Fault]:
    """Kill trainings ``kills`` times with SIGKILL after random batches, every third time while a checkpoint
    is being written; then SIGTERM, Ctrl-C, a second process, a second recorder of one file, and a full disk.
    Returns the faults in their order."""
    rng, recipe = streams.generator(seed, "moments of kills"), recipe or Recipe()
    with tempfile.TemporaryDirectory(prefix="neuronlevel-faults-") as folder:
        top = Path(folder)
        _Training(top / "undisturbed", recipe).wait(0)
        wanted = contents(top / "undisturbed")
        found = _kills(top / "killed", recipe, kills, rng, wanted)
        for signum in (signal.SIGTERM, signal.SIGINT):
            found.append(_signalled(top / signum.name, recipe, signum, wanted))
        found.append(_two_processes(top / "two", recipe, wanted))
        found.append(two_recorders(top / "records.h5"))
        size = sum(path.stat().st_size for path in (top / "undisturbed").rglob("*") if path.is_file())
        found.append(_full_disk(top / "full", recipe, size, wanted))
    return found


def _kills(folder, recipe, kills, rng, wanted):
    """Trainings one after the other, each killed again and again until it comes through."""
    found, open_, number = [], [], 0
    while len(found) < kills or open_:
        training = _Training(folder / f"{number}", recipe)
        if len(found) < kills:
            writing = len(found) % 3 == 2
            step = int(rng.uniform(0, 0.9) * EPOCHS * STEPS)
            moment = training.until_writing() if writing else training.until_step(step)
            if training.running():
                training.kill()
                found.append(Fault("SIGKILL", moment, training.lost(), -signal.SIGKILL))
                open_.append(found[-1])
                continue
        training.wait(0)
        same = contents(folder / f"{number}") == wanted
        for fault in open_:
            fault.identical = same
        open_, number = [], number + 1
    return found


def _signalled(folder, recipe, signum, wanted):
    training = _Training(folder, recipe)
    training.until_step(200)
    training.process.send_signal(signum)
    status, said = training.end()
    if status == 0:
        raise RuntimeError(f"a training went on to its end although {signum.name} was sent to it")
    fault = Fault(signum.name, training.place(), training.lost(), status, said)
    _Training(folder, recipe).wait(0)
    return dataclasses.replace(fault, identical=contents(folder) == wanted)


def _two_processes(folder, recipe, wanted):
    first = _Training(folder, recipe)
    first.until_step(100)
    first.process.send_signal(signal.SIGSTOP)  # or it may have ended before the second one has begun
    second = _Training(folder, recipe)
    status, said = second.end()
    named = str(first.process.pid) in said
    first.process.send_signal(signal.SIGCONT)
    first.wait(0)
    moment = "while the first one trains" + ("" if named else "; the first one is not named")
    return Fault("second process", moment, 0, status, said, contents(folder) == wanted)


def two_recorders(path):
    """A process begins to write the records file that this one is writing."""
    writer = damage.begun(path)
    status, said = damage.refused(path)
    named = str(os.getpid()) in said
    moment = "while another records to the same file" + ("" if named else "; the other one is not named")
    del writer
    done, _ = damage.refused(path)
    return Fault("second recorder", moment, 0, status, said, status == 1 and named and done == 0)


def _full_disk(folder, recipe, size, wanted):
    """A disk with room for two checkpoints and not for a third; then there is room again."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={int(1.6 * size)}", "none", folder]).returncode:
        return Fault("full disk", "not tried: it takes the right to mount a small file system")
    try:
        training = _Training(folder, recipe)
        status, said = training.end()
        fault = Fault("full disk", training.place(), training.lost(), status, said)
        subprocess.run(["mount", "-o", "remount,size=2g", folder], check=True)
        _Training(folder, recipe).wait(0)
        return dataclasses.replace(fault, identical=contents(folder) == wanted)
    finally:
        subprocess.run(["umount", folder], check=False)


class _Training:
    """The process of one training, and how far it has come by its own account."""

    def __init__(self, folder, recipe):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"log-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", __name__, str(folder), *recipe.arguments()]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def running(self):
        return self.process.poll() is None

    def end(self):
        """Exit status, and the last line that it said."""
        status = self.process.wait()
        lines = [line for line in self._lines() if not line.startswith("at ")]
        return status, lines[-1] if lines else ""

    def wait(self, status):
        found, said = self.end()
        if found != status:
            raise RuntimeError(f"a training ended with exit status {found}: {said}")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def _lines(self):
        return self._log.read_text(errors="replace").splitlines()

    def step(self):
        """The last batch that it said it had done, counted from the training's beginning; 0 before."""
        done = re.findall(r"^at (\d+)$", self._log.read_text(errors="replace"), re.MULTILINE)
        return int(done[-1]) if done else 0

    def place(self):
        return f"after {self.step()} batches"

    def lost(self):
        """Batches done and not in the checkpoint."""
        found = checkpoints.load(self.folder / f"{NAME}.checkpoint")
        saved = found[0]["place"] if found else {"epoch": 0, "batch": 0}
        return max(self.step() - (saved["epoch"] * STEPS + saved["batch"]), 0)

    def until_step(self, step):
        while self.step() < step and self.running():
            time.sleep(0.01)
        return self.place()

    def until_writing(self):
        """Wait until a checkpoint is being written, but not the first one; whether it was is in the words."""
        path = self.folder / f"{NAME}.checkpoint"
        while self.running():
            partial = next(self.folder.glob(f".{NAME}.*.partial.checkpoint"), None)
            if partial and path.exists():
                return f"{self.place()}, while a checkpoint was written"
        return self.place()


def contents(folder: Path) -> dict:
    """All numbers that a finished training left: {what: bytes}; durations and times aside."""
    found = {}
    with h5py.File(folder / f"{NAME}.h5") as file:
        file.visititems(
            lambda name, item: (
                found.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
            )
        )
    model = keras.models.load_model(folder / f"{NAME}.keras", compile=False)
    found |= {f"variable {i}": np.asarray(v.numpy()).tobytes() for i, v in enumerate(model.variables)}
    summary = files.read_json(folder / f"{NAME}.json")
    return found | {key: str(summary[key]) for key in ("config", "history", "test_accuracy", "recordings")}


# What a training's process does -----------------------------------------------------------------------

EPOCHS, BATCH, EVERY = 2, 128, 10
STEPS = -(-60_000 // BATCH)


def _train(folder, recipe):
    from keras_neuronlevel import data, networks, resuming

    after_batch = resuming.Keeper.after_batch

    def telling(keeper, place):
        print(f"at {place.epoch * STEPS + place.batch}", flush=True)
        after_batch(keeper, place)

    resuming.Keeper.after_batch = telling
    preset = papers.Preset("faults", epochs=EPOCHS, every=EVERY, samples=recipe.samples, batch_size=BATCH)
    spec = runs.Spec(
        name=NAME,
        label="mlp-relu",
        known=papers.EXPERIMENTS["mnist_mlp"].network("relu"),
        build=lambda: networks.mlp("relu", hidden=(recipe.hidden,) * 2, seed=0),
        optimizer=lambda: keras.optimizers.SGD(0.1, momentum=0.9),
        preset=preset,
        config={"preset": str(preset)},
        seed=0,
    )
    loaded = data.load("mnist", recipe.data_dir)
    with files.locked(folder):
        runs.train_and_record(spec, loaded, folder, progress=False, checkpoint_every=CHECKPOINT_EVERY)


def table(faults: list[Fault]) -> str:
    """The faults as lines of text, and how many of them ended bit-identical."""
    lines = [f"{'fault':15} {'identical':10} {'lost':>5} {'status':>6}  moment; what was said"]
    for fault in faults:
        identical = {True: "yes", False: "NO", None: "-"}[fault.identical]
        lost = "-" if fault.lost is None else fault.lost
        status = "-" if fault.status is None else fault.status
        said = f"; {fault.said}" if fault.said else ""
        lines.append(f"{fault.what:15} {identical:10} {lost:>5} {status:>6}  {fault.moment}{said}")
    tried = [fault for fault in faults if fault.identical is not None]
    same = sum(bool(fault.identical) for fault in tried)
    most = max((fault.lost or 0 for fault in tried), default=0)
    lines.append(f"{same} of {len(tried)} ended bit-identical; at most {most} batches were done again")
    return "\n".join(lines)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore Ctrl-C
    place, source, samples, hidden = sys.argv[1:]
    cli.run(lambda: _train(Path(place), Recipe(Path(source) if source else None, int(samples), int(hidden))))
