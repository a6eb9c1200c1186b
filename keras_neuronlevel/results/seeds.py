"""The same experiment with several seeds: where each run's numbers lie, and what they say together.

``seeds.json`` has the head of its runs (experiment, preset, stand_in), their ``seeds``, and ``networks``:
{network: {"test_accuracy": summary, "layers": {layer: {number in words: summary}}}}.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from keras_neuronlevel import files, tabular
from keras_neuronlevel.results import metrics, schema
from keras_neuronlevel.results.schema import lookup
from keras_neuronlevel.results.tables import NOTHING, Table, number

if TYPE_CHECKING:
    import pandas

# {words: (path in a layer's numbers, which of its values)} of everything that is compared over seeds.
COMPARED = {
    view.words: (schema.path(kind, row.name), view.take)
    for kind, rows in schema.NUMBERS.items()
    for row in rows
    for view in row.seeds
}
# {short words: words} of those that the report's table has.
BRIEF = {row.brief: row.seeds[0].words for rows in schema.NUMBERS.values() for row in rows if row.brief}


def folder(root: Path, seed: int) -> Path:
    """Where the run of a seed is kept: ``root`` itself for seed 0, ``root/seed{k}`` for the others."""
    return Path(root) if seed == 0 else Path(root) / f"seed{seed}"


def found(root: Path, name: str = "metrics.json") -> list[int]:
    """The seeds whose run has left such a file, in order."""
    numbers = [path.name.removeprefix("seed") for path in Path(root).glob("seed*")]
    seeds = sorted({0, *(int(number) for number in numbers if number.isdecimal())})
    return [seed for seed in seeds if (folder(root, seed) / name).exists()]


def load(root: Path, seeds: list[int], name: str = "metrics.json") -> list[dict]:
    """The ``metrics.json`` of every seed.

    Raises:
        ValueError: for one that is missing, damaged, or of another seed.
    """
    found = []
    for seed in seeds:
        path = folder(root, seed) / name
        try:
            found.append(metrics.read(path))
        except ValueError as error:
            raise ValueError(f"{error}; run the experiment with that seed") from None
        if found[-1]["seed"] != seed:
            raise ValueError(f"{path} is of seed {found[-1]['seed']}; run the experiment with seed {seed}")
    return found


def aggregate(results: list[dict]) -> dict:
    """Mean, standard deviation and range over seeds of every network's and layer's main numbers.

    Args:
        results: one read ``metrics.json`` a seed, of one experiment.

    Returns:
        {network: {"test_accuracy": summary, "layers": {layer: {words: summary}}}}, a summary being {"seeds"
        (those that have the number), "values" (theirs), "mean", "std" (of the sample, None for one value),
        "min", "max"}, or None for a test accuracy that none has. Other numbers that none has are left out.

    Raises:
        ValueError: for results of different experiments, presets, scales or data, and for a seed given
            twice.
    """
    _check(results)
    networks = {}
    for label in _all(result["networks"] for result in results):
        known = [(result["seed"], result["networks"].get(label, {})) for result in results]
        layers: dict[str, dict] = {
            layer: {} for layer in _all(lookup(network, "layers") or {} for _, network in known)
        }
        for layer, numbers in layers.items():
            for words, (path, take) in COMPARED.items():
                found = [(seed, _value(lookup(one, "layers", layer, *path), take)) for seed, one in known]
                summary = over_seeds(found)
                numbers |= {words: summary} if summary else {}
        accuracy = over_seeds([(seed, lookup(one, "training", "test_accuracy")) for seed, one in known])
        networks[label] = {"test_accuracy": accuracy, "layers": layers}
    return networks


def _check(results):
    seeds = [result["seed"] for result in results]
    if len(set(seeds)) < len(seeds) or not seeds:
        raise ValueError(f"the seeds are {', '.join(map(str, seeds)) or 'none'}; give each once")
    for name, *values in zip(metrics.HEAD[:-1], *map(metrics.same_but_for_seed, results), strict=True):
        if len(set(values)) > 1:
            raise ValueError(
                f"the results differ in {name}: {'; '.join(map(str, dict.fromkeys(values)))}; take together "
                "only runs that differ in their seed"
            )
    metrics.check_alike(results)


def _all(dictionaries):
    """The keys that any has, in the order of the first to have them."""
    return list(dict.fromkeys(key for dictionary in dictionaries for key in dictionary))


def _value(found, take):
    """The number itself, of a spread over neurons its mean."""
    found = None if found is None else take(found)
    return found.get("mean") if isinstance(found, dict) else found


def over_seeds(found: list[tuple[int, float | None]]) -> dict | None:
    """The summary, see :func:`aggregate`, of one number of several (seed, value); None where none has it."""
    found = [(seed, value) for seed, value in found if number(value) != NOTHING]
    if not found:
        return None
    seeds, values = zip(*found, strict=True)
    return {
        "seeds": list(seeds),
        "values": list(values),
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def write(root: Path, results: list[dict], name: str = "seeds.json") -> dict:
    """Aggregate, write ``root/seeds.json``, and return what :func:`aggregate` found."""
    networks = aggregate(results)
    head = {key: results[0][key] for key in ("experiment", "preset", "stand_in")}
    seeds = [result["seed"] for result in results]
    files.write_json(Path(root) / name, {**head, "seeds": seeds, "networks": networks})
    return networks


def to_dataframe(networks: dict) -> pandas.DataFrame:
    """What :func:`aggregate` found, in long form: one row for every network, layer, number and seed.

    The columns are network, layer (None for the network's test accuracy), quantity, seed and value. Mean and
    range over seeds are ``frame.groupby(["network", "layer", "quantity"], dropna=False).value.describe()``.

    Raises:
        ImportError: where pandas is not installed.
    """
    rows = [
        (network, layer, quantity, seed, value)
        for network, found in networks.items()
        for layer, numbers in {None: {"test accuracy": found["test_accuracy"]}, **found["layers"]}.items()
        for quantity, summary in numbers.items()
        if summary
        for seed, value in zip(summary["seeds"], summary["values"], strict=True)
    ]
    return tabular.pandas().DataFrame(rows, columns=["network", "layer", "quantity", "seed", "value"])


# As tables --------------------------------------------------------------------------------------------


def brief(results: list[dict]) -> list[Table]:
    """The main numbers over seeds, one line a layer; nothing for one seed."""
    if len(results) < 2:
        return []
    seeds = [result["seed"] for result in results]
    rows = []
    for label, found in aggregate(results).items():
        accuracy = _cell(found["test_accuracy"], len(seeds))
        rows.append((label, "", accuracy, *[NOTHING] * len(BRIEF)))
        for layer, numbers in found["layers"].items():
            cells = (_cell(numbers.get(words), len(seeds)) for words in BRIEF.values())
            rows.append((label, layer, NOTHING, *cells))
    known = tuple(row for row in rows if any(cell != NOTHING for cell in row[2:]))
    unfinished = [str(result["seed"]) for result in results if not result["complete"]]
    note = f"Seeds {', '.join(map(str, seeds))}, all at the scale '{metrics.preset(results[0])}'."
    note += f" Seed {', '.join(unfinished)}: unfinished." if unfinished else ""
    return [Table(_CAPTION, ("network", "layer", "test accuracy", *BRIEF), known, note=note)] if known else []


_CAPTION = "Over seeds: mean ± standard deviation (least to greatest)"


def _cell(summary, expected=0):
    """A summary as text; how many seeds it has, where that is one or fewer than ``expected``."""
    if summary is None:
        return NOTHING
    count = len(summary["seeds"])
    seeds = f"{count} seed{'s' if count > 1 else ''}"
    if count == 1:
        return f"{number(summary['mean'])} ({seeds})"
    few = f"; {seeds}" if count < expected else ""
    ends = f"{number(summary['min'])} to {number(summary['max'])}"
    return f"{number(summary['mean'])} ± {number(summary['std'])} ({ends}{few})"
