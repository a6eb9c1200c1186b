"""Find what experiments left below a folder: numbers, figures, videos, single neurons.

Files may come from anyone: what cannot be used is named in ``warnings`` and left out. Nothing from outside
the folder is used, whatever links in it say.
"""

import dataclasses
import glob
import os
import re
import stat
import struct
from pathlib import Path

from keras_neuronlevel import papers, results
from keras_neuronlevel.papers import EXPERIMENTS
from keras_neuronlevel.report.texts import FIGURES
from keras_neuronlevel.results import neurons

INCOMPLETE = "incomplete: the run was interrupted or still runs"
FOLDER = "papers"  # of the report's own pictures, below the results
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclasses.dataclass(frozen=True)
class Picture:
    """One figure: its name in ``texts.FIGURES``, its file, its size in pixels."""

    name: str
    path: Path
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Run:
    """One ``metrics.json`` and what lies beside it.

    ``source`` is its path below the results folder; ``prefix`` what the names of its files begin with
    (a stand-in's).
    """

    source: str
    folder: Path
    prefix: str
    metrics: dict
    pictures: tuple = ()
    videos: tuple = ()
    neurons: dict | None = None

    @property
    def saved_model(self) -> bool:
        """Whether it is an evaluation of a saved model, not an experiment."""
        return self.metrics["experiment"] == results.MODEL

    @property
    def experiment(self) -> str:
        return self.folder.name if self.saved_model else self.metrics["experiment"]

    @property
    def seed(self) -> int:
        return self.metrics["seed"]

    @property
    def stand_in(self) -> str | None:
        return self.metrics["stand_in"]

    @property
    def networks(self) -> dict:
        return self.metrics["networks"]

    @property
    def labels(self) -> list[str]:
        """What a reader must know wherever these numbers are shown: stand-in, scale, incomplete."""
        found = [f"stand-in: {self.stand_in}"] if self.stand_in else []
        preset = self.metrics["preset"]
        if not self.saved_model and not (preset and preset["size"] >= papers.FULL):
            found.append(f"not the papers' scale: {preset['name'] if preset else 'scale not stated'}")
        if not self.metrics["complete"]:
            found.append(INCOMPLETE)
        return found


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one experiment that differ in their seed; ``main`` is the one whose figures are shown."""

    main: Run
    others: tuple = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        return (self.main, *self.others)

    @property
    def comparable(self) -> list[Run]:
        """The runs at the main run's scale and on its data: only these are pooled over seeds."""
        kind = results.same_but_for_seed
        return [run for run in self.runs if kind(run.metrics) == kind(self.main.metrics)]


@dataclasses.dataclass(frozen=True)
class Found:
    """Everything below ``root``: groups in the order of the report, and what could not be used."""

    root: Path
    groups: tuple
    warnings: tuple

    @property
    def missing(self) -> list[str]:
        """The known experiments without numbers of their own data."""
        done = {group.main.experiment for group in self.groups if not group.main.stand_in}
        return [name for name in EXPERIMENTS if name not in done]


def find(folder: Path) -> Found:
    """Load all numbers below a folder. Raises ``ValueError`` where there is no folder or no numbers."""
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(
            f"there is no folder {root}; run an experiment first, or name its folder (--results)"
        )
    warnings: list[str] = []
    paths = sorted(path for path in root.rglob("*metrics.json") if _is_result(path))
    paths = [path for path in paths if _usable(root, path, warnings)]
    if not paths:
        first = next(iter(EXPERIMENTS.values())).command
        raise ValueError(f"{root} holds no metrics.json; run an experiment first: {first}")
    runs = [run for run in (_load(root, path, warnings) for path in paths) if run]
    return Found(root, tuple(_groups(runs)), tuple(warnings))


def _is_result(path):
    return re.fullmatch(r"(standin-.+-)?metrics\.json", path.name) is not None


def _usable(root, path, warnings):
    """Whether a path is an ordinary file below the root that can be read, links followed; if not, a warning
    says why."""
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise OSError("leads out of the folder")
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("is no ordinary file")
        with open(path, "rb") as file:
            file.read(1)
    except (OSError, RuntimeError) as problem:  # RuntimeError: links in a circle
        reason = getattr(problem, "strerror", None)
        words = f"cannot be read ({reason})" if reason else str(problem)
        warnings.append(f"{path.relative_to(root).as_posix()} {words}; it is left out")
        return False
    return True


def _load(root, path, warnings):
    """The run at ``path``, or None with a warning."""
    source = path.relative_to(root).as_posix()
    try:
        metrics = results.read(path, source)
    except ValueError as problem:
        warnings.append(f"{problem}; it is left out")
        return None
    if not metrics["networks"]:
        warnings.append(f"{source} has no network yet; it is left out")
        return None
    prefix = path.name.removesuffix("metrics.json")
    return Run(
        source,
        path.parent,
        prefix,
        metrics,
        tuple(_pictures(root, path.parent, prefix, warnings)),
        tuple(_videos(root, path.parent, prefix, warnings)),
        _neurons(root, path.parent / f"{prefix}neurons.json", warnings),
    )


def _pictures(root, folder, prefix, warnings):
    """Each figure, and its variants: ``window-transfer.png`` is one of ``window``."""
    for name in FIGURES:
        for path in [
            folder / f"{prefix}{name}.png",
            *sorted(folder.glob(f"{glob.escape(prefix)}{name}-*.png")),
        ]:
            if not os.path.lexists(path) or not _usable(root, path, warnings):
                continue
            size = png_size(path)
            if size:
                yield Picture(name, path, *size)
            else:
                warnings.append(f"{path.relative_to(root).as_posix()} is no PNG picture; it is left out")


def picture(root: Path, name: str) -> Picture | None:
    """One of the papers' figures as the report draws them (``pictures.write``), or None."""
    path = root / FOLDER / f"{name}.png"
    size = png_size(path) if _usable(root, path, []) else None
    return Picture(name, path, *size) if size else None


def png_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG picture in pixels, or None for another file."""
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:8] != PNG_SIGNATURE or head[12:16] != b"IHDR":
        return None
    return struct.unpack(">II", head[16:24])


def _videos(root, folder, prefix, warnings):
    """The videos of single neurons, one form of each: MP4 can be paused, a GIF cannot."""
    found = {}
    for path in sorted(folder.glob(f"{glob.escape(prefix)}neuron_*")):
        if path.suffix not in (".gif", ".mp4") or not _usable(root, path, warnings):
            continue
        if is_video(path):
            found[path.stem] = path  # .mp4 comes after .gif
        else:
            warnings.append(f"{path.relative_to(root).as_posix()} is no GIF or MP4 video; it is left out")
    return found.values()


def is_video(path: Path) -> bool:
    """Whether a file begins as a GIF or an MP4 video does, by the ending of its name."""
    with open(path, "rb") as file:
        head = file.read(12)
    return head[:6] in (b"GIF87a", b"GIF89a") if path.suffix == ".gif" else head[4:8] == b"ftyp"


def _neurons(root, path, warnings):
    if not os.path.lexists(path) or not _usable(root, path, warnings):
        return None
    try:
        return neurons.read(path, path.relative_to(root).as_posix())
    except ValueError as problem:
        warnings.append(f"{problem}; it is left out")
        return None


def _groups(runs):
    """Runs by experiment and data; seeds together, known experiments first, stand-ins after the real data."""
    groups = {}
    for run in runs:
        home = run.folder.parent if re.fullmatch(r"seed\d+", run.folder.name) else run.folder
        groups.setdefault((home, run.prefix), []).append(run)
    order = list(EXPERIMENTS)

    def place(key):
        main = groups[key][0]
        known = order.index(main.experiment) if main.experiment in order else len(order)
        return main.saved_model, known, str(key[0]), key[1]

    for key in sorted(groups, key=place):
        main, *others = sorted(groups[key], key=lambda run: (run.folder != key[0], _natural(run.source)))
        yield Group(main, tuple(others))


def _natural(text):
    """A sorting key in which seed2 comes before seed10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]
