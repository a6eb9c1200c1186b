"""``metrics.json``, the contract between runs and everything that reads them.

    schema, version     "keras_neuronlevel/metrics", 2
    experiment          a name of ``papers.EXPERIMENTS``, or another
    preset, scale       {"name", "size", "decides"} (see ``papers``), or None; the scale in words
    stand_in            None, or what data or network this is in place of the papers'
    seed, complete      a whole number; whether the run came to its end
    provenance          created, commit, versions, platform, ..., data {name, source, digest}
    seconds             of a command that did all of its work itself, at once: total, {part: seconds}
    networks            {network: {
        activation, family, owner, roles    see ``papers.Experiment.network``
        training                            of a trained one: config, history, test_accuracy, ...
        network, pictures                   of a given one: title, digest, ...; which pictures it read
        measured                            {kind: {created, commit}}
        layers                              {layer: {kind: numbers}}, see ``schema``
    }}

A run writes it through :class:`Metrics`, everything else reads it with :func:`read`, which also understands
version 1.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_neuronlevel import files, papers
from keras_neuronlevel.results import schema
from keras_neuronlevel.results.forms import ANY, COUNT, FLAG, MORE, NUMBER, REAL, SHARE, TEXT, problems
from keras_neuronlevel.results.schema import lookup

SCHEMA, VERSION = "keras_neuronlevel/metrics", 2
MODEL = "evaluate_model"  # the experiment of a saved model, which is none of the papers'

_ANY = {MORE: ANY}
_NETWORK = {
    "activation": ANY,
    "family": ANY,
    "owner": TEXT,
    "roles": {MORE: [TEXT]},
    "layers": {MORE: _ANY},
    **_ANY,
}
_HEAD = {
    "experiment": TEXT,
    "preset": ANY,
    "scale": TEXT,
    "stand_in": ANY,
    "seed": COUNT,
    "complete": FLAG,
    "provenance": _ANY,
    "networks": {MORE: _NETWORK},
    **_ANY,
}
# What a training leaves, see ``protocol.runs``; a saved model has a part of it.
TRAINING = {
    "history": {"accuracy": [SHARE], "val_accuracy": [SHARE], MORE: [NUMBER]},
    "test_accuracy": SHARE,
    "recordings": COUNT,
    "samples": COUNT,
    "selections": {MORE: TEXT},
    "seconds": {MORE: REAL},
    "provenance": _ANY,
    **_ANY,
}
_PRESET = {"name": TEXT, "size": COUNT, "decides": FLAG}


def same_but_for_seed(metrics: dict) -> tuple:
    """What runs have in common that can be taken together over seeds: experiment, preset, scale, stand-in,
    name and digest of the data."""
    data = lookup(metrics, "provenance", "data")
    return (
        metrics.get("experiment"),
        preset(metrics),
        metrics.get("scale"),
        metrics.get("stand_in"),
        lookup(data, "name"),
        lookup(data, "digest"),
    )


def check_alike(metrics: Sequence[dict]) -> None:
    """Raises ``ValueError`` where runs that are taken together over seeds trained a network in different
    ways, or measured one of its layers on different numbers of images or with different readouts."""
    known: dict[tuple, str] = {}
    for one in metrics:
        for label, network in one["networks"].items():
            for what, value in _ways(network):
                text = json.dumps(value, sort_keys=True)
                if known.setdefault((label, what), text) != text:
                    raise ValueError(
                        f"the runs of {one['experiment']} with several seeds differ in {label}, {what}: "
                        f"{known[label, what]} and {text}; take together only runs that differ in their seed"
                    )


_WAY = ("ranks", "centers", "width", "readout", "budget", "n_train", "n_test", "n_calibration")


def _ways(network):
    config = lookup(network, "training", "config") or {}
    yield "training", {key: value for key, value in config.items() if key != "seed"}
    for layer, measured in (lookup(network, "layers") or {}).items():
        for kind, found in measured.items():
            if isinstance(found, dict) and "n_test" in found:
                yield f"{kind} of {layer}", {key: found.get(key) for key in _WAY}


# The words for these, and the seed.
HEAD = ("experiment", "preset", "scale", "stand-in", "data", "data's digest", "seed")


def _settings(metrics):
    return (*same_but_for_seed(metrics), metrics.get("seed"))


def preset(metrics: dict) -> str | None:
    """The name of the preset, None where none is stated."""
    return lookup(metrics, "preset", "name")


def file_name(stand_in: str | None, name: str = "metrics.json") -> str:
    """What a run's file is called: with the stand-in's short name before it, where there is one."""
    return f"standin-{stand_in}-{name}" if stand_in else name


# Writing ----------------------------------------------------------------------------------------------


_ELSEWHERE = "give another --output-dir, or move that file away"


class Metrics:
    """The ``metrics.json`` of a run, as it grows.

    Networks that the file has already stay in it, and of each the numbers that are not measured again, as
    long as :meth:`begin` says the same of it.

    Args:
        path: of the file; its folder is made with the first write.
        experiment, preset, scale, stand_in, seed, provenance: the head, see above.

    Raises:
        ValueError: where the file is of another experiment, scale, seed or data, or cannot be read.
    """

    def __init__(self, path: Path, **head: Any):
        self.path = Path(path)
        self.value = {"schema": SCHEMA, "version": VERSION, **head, "complete": False, "networks": {}}
        self.value["networks"] = self._earlier = _earlier(self.path, self.value)

    @property
    def networks(self) -> dict:
        """{network: what is known of it}."""
        return self.value["networks"]

    def begin(self, label: str, known: dict, **origin: object) -> None:
        """Enter a network.

        Args:
            label: its name.
            known: its activation, family, owner and roles, see ``papers.Experiment.network``.
            origin: ``training``, or ``network`` and ``pictures``. Numbers of another origin are dropped.

        Raises:
            ValueError: for a given network, where the file has numbers of another one of this name, or of
                the same with other preprocessing or other code of its layers.
        """
        described = files.as_written({**known, **origin})
        found = self._earlier.get(label, {})
        self._refuse_another(label, found, described)
        same = all(found.get(key) == value for key, value in described.items())
        kept = {key: found[key] for key in ("measured", "layers") if same and key in found}
        self.networks[label] = {**described, "measured": {}, "layers": {}, **kept}

    def _refuse_another(self, label, found, described):
        for key in ("sha256", "preprocessing", "code") if found.get("layers") else ():
            before, now = (lookup(network, "network", key) for network in (found, described))
            if before != now:
                raise ValueError(
                    f"{self.path} holds numbers of {label} with {key} {before}, and now it has {key} {now}; "
                    f"{_ELSEWHERE}"
                )

    def claim(self) -> None:
        """Write the file where there is none: the folder is this run's from the start."""
        if not self.path.exists():
            self.write()

    def keep(self, label: str, layer: str, kind: str, numbers: dict) -> None:
        """Put one kind of numbers of a layer among the network's, and when and at which commit that was,
        unless the same are there already.

        Raises:
            ValueError: for numbers that are not those of the schema, complete.
        """
        numbers = files.as_written(numbers)
        schema.check(kind, numbers)
        network = self.networks[label]
        place = network["layers"].setdefault(layer, {})
        if place.get(kind) == numbers and kind in network["measured"]:
            return
        place[kind] = numbers
        origin = self.value["provenance"]
        network["measured"][kind] = {key: origin.get(key) for key in ("created", "commit")}

    def write(self, complete: bool = False) -> None:
        """Write the file; ``complete`` says that the run has come to its end."""
        self.value["complete"] = complete
        files.write_json(self.path, self.value)


def _earlier(path, head):
    """The networks in the file of the same experiment, scale, seed and data; {} where there is none."""
    if not path.exists():
        return {}
    try:
        found = read(path)
    except ValueError as error:
        raise ValueError(f"{error}; {_ELSEWHERE}") from None
    now = files.as_written(head)
    for name, *values in zip(HEAD, *(_settings(one) for one in (found, now)), strict=True):
        if values[0] != values[1]:
            raise ValueError(
                f"{path} holds a run of {name} {values[0]}, and this one is of {name} {values[1]}; "
                f"{_ELSEWHERE}"
            )
    origin = {key: lookup(found, "provenance", key) for key in ("created", "commit")}
    for network in found["networks"].values():
        kinds = (kind for numbers in network["layers"].values() for kind in numbers)
        network["measured"] = dict.fromkeys(kinds, origin) | network.get("measured", {})
    return found["networks"]


# Reading ----------------------------------------------------------------------------------------------


def read(path: Path, name: str | None = None) -> dict:
    """A ``metrics.json`` of any version, in the form of the newest.

    Args:
        path: of the file.
        name: what messages call it; its path, unless given.

    Raises:
        ValueError: where it cannot be read, or is damaged; names it, and says what is wrong.
    """
    value = files.read_json(path, name)
    try:
        return of_value(value)
    except ValueError as error:
        raise ValueError(f"{name or path} {error}") from None


def of_value(value: Any) -> dict:
    """As :func:`read`, of a loaded value.

    Raises:
        ValueError: where it is damaged; says what is wrong, without a subject.
    """
    try:
        value = _upgraded(value)
    except (TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"is damaged ({type(error).__name__}: {error})") from None
    problem = next(_problems(value), None)
    if problem:
        raise ValueError(f"is damaged: {problem}")
    return value


def head_problem(value: Any) -> str | None:
    """What is wrong with the keys that every ``metrics.json`` has at its top, None where nothing is."""
    return next(problems(value, _HEAD, "it", True), None)


def _problems(value):
    yield from problems(value, _HEAD, "it", True)
    if value["preset"] is not None:
        yield from problems(value["preset"], _PRESET, "it/preset", True)
    yield from problems(value.get("seconds", {}), {MORE: REAL}, "it/seconds", False)
    for label, network in value["networks"].items():
        if network.get("training") is not None:
            yield from problems(network["training"], TRAINING, f"it/networks/{label}/training", False)
        for layer, numbers in network["layers"].items():
            for kind, found in numbers.items():
                try:  # numbers over neurons may be fewer in an older file, a curve is whole
                    whole = MORE in schema.form(schema.kind_of(kind))
                    schema.check(kind, found, complete=whole)
                except ValueError as error:
                    yield f"layer {layer!r} of {label}: {error}"


# Version 1 --------------------------------------------------------------------------------------------

_SIZES = {"quick": papers.QUICK, "reduced": papers.REDUCED, "paper": papers.FULL}


def _upgraded(value):
    """A value of version 1 in the form of version 2: what labels and names said is said in fields."""
    if not isinstance(value, dict):
        raise ValueError("holds no object")
    if value.get("version") == VERSION:
        return value
    if "version" in value:
        raise ValueError(f"is of version {value['version']!r}; this release reads up to {VERSION}")
    if "networks" not in value:
        if not isinstance(value.get("settings"), dict):
            raise ValueError("has neither networks nor settings")
        value = _of_a_saved_model(value)
    name = value.get("preset")
    known = (
        {"name": name, "size": _SIZES.get(name, papers.REDUCED), "decides": name != "quick"} if name else None
    )
    networks = {label: {**_known(value, label), **network} for label, network in value["networks"].items()}
    head = {"schema": SCHEMA, "version": VERSION, "stand_in": None, "scale": "", "complete": True}
    return {**head, **value, "preset": known, "networks": networks}


def _known(value, label):
    """Activation, family, owner and roles, which stood in a network's label."""
    if value["experiment"] == "imagenet_resnet50":
        return {
            "activation": None,
            "family": "resnet50",
            "owner": papers.STAND_IN if value.get("stand_in") else papers.PAPERS,
            "roles": {"stem": ["conv1_relu"]} if label.startswith("resnet50") else {},
        }
    row = papers.EXPERIMENTS.get(value["experiment"])
    activation = label.rsplit("-", 1)[-1]
    if row is None:
        return {"activation": activation, "family": None, "owner": papers.OURS, "roles": {}}
    return row.network(activation)


def _of_a_saved_model(value):
    """The evaluation of a saved model, which had a form of its own."""
    settings = value["settings"]
    layers = {}
    for kind in ("quantization", "window"):
        for curve in value.get(kind) or []:
            layers.setdefault(curve["layer"], {})[kind] = curve
    training = {
        "test_accuracy": value.get("baseline_accuracy"),
        "config": {"dataset": settings.get("dataset")},
    }
    return {
        "experiment": MODEL,
        "seed": settings.get("seed"),
        "scale": ", ".join(f"{key} {settings[key]}" for key in settings if key not in ("model", "seed")),
        "provenance": {**(value.get("provenance") or {}), "model": value.get("model_sha256")},
        "networks": {str(settings.get("model")): {"training": training, "layers": layers}},
    }
