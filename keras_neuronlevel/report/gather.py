"""Find what experiments left below a folder: numbers, figures, videos, single neurons.

Files may come from anyone: what cannot be used is named in ``warnings`` and left out.
"""

import dataclasses
import glob
import json
import re
import struct
from pathlib import Path

from keras_neuronlevel.evidence import lookup
from keras_neuronlevel.report import neurons
from keras_neuronlevel.report.texts import EXPERIMENTS, FIGURES

INCOMPLETE = "incomplete: the run was interrupted or still runs"
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
    (a stand-in's); ``saved_model`` says that it is an evaluation of a saved model, not an experiment.
    """

    source: str
    folder: Path
    prefix: str
    metrics: dict
    saved_model: bool = False
    pictures: tuple = ()
    videos: tuple = ()
    neurons: dict | None = None

    @property
    def experiment(self):
        return str(self.metrics.get("experiment"))

    @property
    def seed(self):
        return self.metrics.get("seed")

    @property
    def stand_in(self):
        return self.metrics.get("stand_in")

    @property
    def preset(self):
        return str(self.metrics.get("preset") or "scale not stated")

    @property
    def networks(self):
        return self.metrics["networks"]

    @property
    def labels(self):
        """What a reader must know wherever these numbers are shown: stand-in, scale, incomplete."""
        found = [f"stand-in: {self.stand_in}"] if self.stand_in else []
        if not self.saved_model and self.preset != "paper":
            found.append(f"not the papers' scale: {self.preset}")
        if self.metrics.get("complete") is False:
            found.append(INCOMPLETE)
        return found


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs of one experiment that differ in their seed; ``main`` is the one whose figures are shown."""

    main: Run
    others: tuple = ()

    @property
    def runs(self):
        return (self.main, *self.others)

    @property
    def comparable(self):
        """The runs at the main run's scale and on its data: only these are pooled over seeds."""
        return [run for run in self.runs if _kind(run) == _kind(self.main)]


def _kind(run):
    return run.metrics.get("scale"), lookup(run.metrics, "provenance", "data", "digest")


@dataclasses.dataclass(frozen=True)
class Findings:
    """Everything below ``root``: groups in the order of the report, and what could not be used."""

    root: Path
    groups: tuple
    warnings: tuple

    @property
    def missing(self):
        """The known experiments without numbers of their own data."""
        done = {group.main.experiment for group in self.groups if not group.main.stand_in}
        return [name for name in EXPERIMENTS if name not in done]


def find(results):
    """Load all numbers below a folder. Raises ``ValueError`` where there is no folder or no numbers."""
    root = Path(results)
    if not root.is_dir():
        raise ValueError(
            f"there is no folder {root}; run an experiment first, or name its folder (--results)"
        )
    paths = sorted(path for path in root.rglob("*metrics.json") if _is_result(path))
    if not paths:
        first = next(iter(EXPERIMENTS.values())).command
        raise ValueError(f"{root} holds no metrics.json; run an experiment first: {first}")
    warnings = []
    runs = [run for run in (_load(root, path, warnings) for path in paths) if run]
    return Findings(root, tuple(_groups(runs)), tuple(warnings))


def _is_result(path):
    return path.is_file() and re.fullmatch(r"(standin-.+-)?metrics\.json", path.name) is not None


def _load(root, path, warnings):
    """The run at ``path``, or None with a warning."""
    source = path.relative_to(root).as_posix()
    value, problem = _read(path)
    problem = problem or _problem(value)
    if problem:
        warnings.append(f"{source} {problem}; it is left out")
        return None
    saved_model = "networks" not in value
    prefix = path.name.removesuffix("metrics.json")
    return Run(
        source,
        path.parent,
        prefix,
        _as_experiment(value, path.parent.name) if saved_model else value,
        saved_model,
        tuple(_pictures(root, path.parent, prefix, warnings)),
        tuple(_videos(path.parent, prefix)),
        _neurons(root, path.parent / f"{prefix}neurons.json", warnings),
    )


def _read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8")), None
    except (OSError, ValueError, RecursionError) as error:
        return None, f"cannot be read ({str(error).splitlines()[0]})"


def _problem(value):
    """What keeps a loaded value from being an experiment's numbers, in words, or None."""
    if not isinstance(value, dict):
        return "holds no object"
    if "networks" not in value:
        return None if isinstance(value.get("settings"), dict) else "has neither networks nor settings"
    networks = value["networks"]
    if not isinstance(networks, dict):
        return "is damaged: its networks are no object"
    for name, network in networks.items():
        layers = lookup(network, "layers")
        if not isinstance(layers, dict) or not all(isinstance(layer, dict) for layer in layers.values()):
            return f"is damaged: network {name!r} has no layers"
    return None


def _as_experiment(value, folder):
    """The numbers of a saved model's evaluation in an experiment's form."""
    layers = {}
    for kind in ("quantization", "window"):
        for curve in value.get(kind) or []:
            if isinstance(lookup(curve, "layer"), str):
                layers.setdefault(curve["layer"], {})[kind] = curve
    settings = value["settings"]
    training = {
        "test_accuracy": value.get("baseline_accuracy"),
        "config": {"dataset": settings.get("dataset")},
    }
    return {
        "experiment": folder,
        "seed": settings.get("seed"),
        "scale": ", ".join(f"{key} {settings[key]}" for key in settings if key not in ("model", "seed")),
        "provenance": {**(value.get("provenance") or {}), "model": value.get("model_sha256")},
        "networks": {str(settings.get("model")): {"training": training, "layers": layers}},
    }


def _pictures(root, folder, prefix, warnings):
    """Each figure, and its variants: ``window-transfer.png`` is one of ``window``."""
    for name in FIGURES:
        for path in [
            folder / f"{prefix}{name}.png",
            *sorted(folder.glob(f"{glob.escape(prefix)}{name}-*.png")),
        ]:
            size = png_size(path) if path.is_file() else None
            if size:
                yield Picture(name, path, *size)
            elif path.exists():
                warnings.append(f"{path.relative_to(root).as_posix()} is no PNG picture; it is left out")


def png_size(path):
    """Width and height of a PNG picture in pixels, or None for another file."""
    with open(path, "rb") as file:
        head = file.read(24)
    if len(head) < 24 or head[:8] != PNG_SIGNATURE or head[12:16] != b"IHDR":
        return None
    return struct.unpack(">II", head[16:24])


def _videos(folder, prefix):
    """The videos of single neurons, one form of each: MP4 can be paused, a GIF cannot."""
    found = {}
    for path in sorted(folder.glob(f"{glob.escape(prefix)}neuron_*")):
        if path.suffix in (".gif", ".mp4"):
            found[path.stem] = path  # .mp4 comes after .gif
    return found.values()


def _neurons(root, path, warnings):
    if not path.is_file():
        return None
    value, problem = _read(path)
    problem = problem or neurons.problem(value)
    if problem:
        warnings.append(f"{path.relative_to(root).as_posix()} {problem}; it is left out")
        return None
    return value


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
