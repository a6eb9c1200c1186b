"""Numbers of runs as tables of text, the same for the page and for Markdown.

What a ``metrics.json`` lacks is a dash. Each function gives a list of tables, empty without any number.
"""

import dataclasses
import math
import statistics

from keras_neuronlevel.evidence import lookup

NOTHING = "–"


@dataclasses.dataclass(frozen=True)
class Table:
    """``names`` is how many leading columns are words and not numbers."""

    caption: str
    head: tuple
    rows: tuple
    names: int = 2
    note: str = ""


def number(value):
    """Three digits after the point, one from 10 on, none from 1000 on; a dash for no finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return NOTHING
    digits = 3 if abs(value) < 10 else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"


def whole(value):
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else NOTHING


def with_interval(value, interval):
    """``0.605 [0.600, 0.611]``, or the number alone where there is no interval."""
    if (
        number(value) == NOTHING
        or number(lookup(interval, 0)) == NOTHING
        or number(lookup(interval, 1)) == NOTHING
    ):
        return number(value)
    return f"{number(value)} [{number(interval[0])}, {number(interval[1])}]"


def mean(spread):
    """A spread's mean with the interval of that mean."""
    return with_interval(lookup(spread, "mean"), lookup(spread, "interval"))


def mean_and_deviation(spread):
    value, deviation = number(lookup(spread, "mean")), number(lookup(spread, "std"))
    return value if NOTHING in (value, deviation) else f"{value} ± {deviation}"


def duration(seconds):
    if number(seconds) == NOTHING:
        return NOTHING
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _table(caption, head, rows, names=2, note=""):
    rows = tuple(row for row in rows if any(cell not in (NOTHING, "") for cell in row[names:]))
    return [Table(caption, head, rows, names, note)] if rows else []


def _layers(run):
    """(network, layer, numbers) of every measured layer."""
    return [
        (name, layer, numbers)
        for name, network in run.networks.items()
        for layer, numbers in network["layers"].items()
    ]


def training(run):
    head = ("network", "test accuracy", "epochs", "recordings", "recorded samples", "training", "recording")
    rows = []
    for name, network in run.networks.items():
        done = network.get("training")
        rows.append(
            (
                name,
                f"{lookup(done, 'test_accuracy'):.4f}"
                if number(lookup(done, "test_accuracy")) != NOTHING
                else NOTHING,
                whole(lookup(done, "config", "epochs")),
                whole(lookup(done, "recordings")),
                whole(lookup(done, "samples")),
                duration(lookup(done, "seconds", "training")),
                duration(lookup(done, "seconds", "recording")),
            )
        )
    return _table("Networks", head, rows, names=1)


def signs(run):
    head = (
        "network",
        "layer",
        "neurons",
        "|s| = 1",
        "|s| > 0.9",
        "mean |s|",
        "low share ± std. dev.",
        "undefined",
    )
    rows = [
        (
            network,
            layer,
            whole(lookup(numbers, "derivatives", "neurons")),
            mean(lookup(numbers, "derivatives", "constant_share")),
            mean(lookup(numbers, "derivatives", "above_0.9_share")),
            mean(lookup(numbers, "derivatives", "mean_abs")),
            mean_and_deviation(lookup(numbers, "derivatives", "low_share")),
            number(lookup(numbers, "derivatives", "undefined_share")),
        )
        for network, layer, numbers in _layers(run)
    ]
    return _table(
        "Average signs, mean over neurons",
        head,
        rows,
        note="|s| = 1 and |s| > 0.9 are shares of a neuron's samples, low share that of its low category. "
        "Brackets: 95 % bootstrap interval of the mean over neurons.",
    )


def consistency(run):
    head = ("network", "layer", "below 10 %", "above 90 %", "one-sided")
    rows = []
    for network, layer, numbers in _layers(run):
        found = lookup(numbers, "derivatives", "class_consistency")
        below, above = lookup(found, "below_10_percent"), lookup(found, "above_90_percent")
        together = mean(lookup(found, "one_sided"))
        if together == NOTHING and NOTHING not in (number(below), number(above)):
            together = number(below + above)
        rows.append((network, layer, number(below), number(above), together))
    return _table("Share of (neuron, class) pairs", head, rows)


def dynamics(run):
    head = ("network", "layer", "AUC, first", "AUC, last", "rank correlation", "final top, first", "last")
    rows = []
    for network, layer, numbers in _layers(run):
        found = lookup(numbers, "dynamics")
        places = (("auc", 0), ("auc", -1), ("rank_correlation", 0), ("top_of_high", 0), ("top_of_high", -1))
        rows.append((network, layer, *(mean(lookup(found, *place)) for place in places)))
    return _table(
        "Pre-activations of both categories in the first and in the last snapshot",
        head,
        rows,
        note="AUC: chance that a sample of 'high' lies above one of 'low'; 0.5 is not separated. Rank "
        "correlation: of the first snapshot with the last. Final top: mean percentile rank of the tenth of "
        "'high' that ends highest. Brackets: 95 % bootstrap interval of the mean over neurons.",
    )


def subtasks(run):
    head = ("network", "layer", "share p > 0", "accuracy p > 0", "p < 0", "difference", "AUC p > 0", "p < 0")
    parts = (
        "share_above_zero",
        "accuracy_above_zero",
        "accuracy_below_zero",
        "difference",
        "separation_above_zero",
        "separation_below_zero",
    )
    rows = [
        (network, layer, *(mean(lookup(numbers, "dynamics", "subtask", part)) for part in parts))
        for network, layer, numbers in _layers(run)
    ]
    return _table(
        "How well a neuron separates its categories at the end, on either side of zero",
        head,
        rows,
        note="Accuracy: share of the samples with p > 0 that are 'high', and of those with p < 0 that are "
        "'low'. Means over the neurons that have samples enough on that side, with 95 % bootstrap intervals.",
    )


def quantization(run):
    return _curves(
        run, "quantization", "ranks", "Test accuracy by percentile rank of the threshold", "untouched"
    )


def window(run):
    """One table for each kind of window experiment: "window", and what else begins with it."""
    kinds = {kind: None for *_, numbers in _layers(run) for kind in numbers if kind.split("-")[0] == "window"}
    return [
        table
        for kind in kinds
        for table in _curves(
            run, kind, "centers", f"Test accuracy by centre of the window{_variant(kind)}", "readout of p"
        )
    ]


def _variant(kind):
    words = kind.removeprefix("window").replace("-", " ").strip()
    return f", {words}" if words else ""


def _curves(run, kind, places, caption, baseline):
    found = [(network, layer, lookup(numbers, kind)) for network, layer, numbers in _layers(run)]
    curves = [(network, layer, curve, _points(curve, places)) for network, layer, curve in found]
    columns = sorted({place for *_, values in curves for place in values})
    head = ("network", "layer", baseline, *(f"{place:g}" for place in columns))
    rows = [
        (
            network,
            layer,
            number(lookup(curve, "baseline_accuracy")),
            *(number(values.get(c)) for c in columns),
        )
        for network, layer, curve, values in curves
    ]
    chance = {number(lookup(curve, "chance")) for *_, curve, _ in curves} - {NOTHING}
    notes = [f"Chance, the most frequent class: {' or '.join(sorted(chance))}."] if chance else []
    return _table(caption, head, rows, note=" ".join([*notes, *unconverged(run, kind)]))


def unconverged(run, kind):
    """[a sentence that says how many readouts were ended before they had converged], [] where none was."""
    fitted = [lookup(numbers, kind, "fits") for *_, numbers in _layers(run)]
    ended = [
        bool(lookup(fit, "converged"))
        for readouts in fitted
        if isinstance(readouts, dict)
        for fits in readouts.values()
        for fit in _list(fits)
    ]
    if all(ended):
        return []
    return [f"Of {len(ended)} readouts {ended.count(True)} had converged; the others ran into their limit."]


def _points(curve, places):
    """{place: accuracy} of a curve."""
    pairs = zip(_list(lookup(curve, places)), _list(lookup(curve, "accuracy")), strict=False)
    return {place: accuracy for place, accuracy in pairs if number(place) != NOTHING}


def _list(value):
    return value if isinstance(value, list) else []


def zero_rank(run):
    head = ("network", "layer", "mean rank of zero", "std. dev.", "quartiles", "neurons")
    rows = []
    for network, layer, numbers in _layers(run):
        zero = lookup(numbers, "quantization", "zero_rank")
        quartiles = (
            "  ".join(number(lookup(zero, "quartiles", i)) for i in range(3))
            if lookup(zero, "quartiles")
            else NOTHING
        )
        rows.append(
            (
                network,
                layer,
                number(lookup(zero, "mean")),
                number(lookup(zero, "std")),
                quartiles,
                whole(lookup(zero, "neurons")),
            )
        )
    return _table("Average percentile rank of pre-activation zero (I Table 1)", head, rows)


def seeds(group):
    """Mean, standard deviation and range over the seeds of the main run's scale; nothing for one seed."""
    runs = group.comparable
    if len(runs) < 2:
        return []
    head = ("network", "layer", "test accuracy", *LAYER_NUMBERS)
    rows = []
    for network, layers in _all_layers(runs).items():
        accuracy = [lookup(run.networks, network, "training", "test_accuracy") for run in runs]
        rows.append((network, "", _over_seeds(accuracy), *[NOTHING] * len(LAYER_NUMBERS)))
        for layer in layers:
            found = [lookup(run.networks, network, "layers", layer) for run in runs]
            cells = (_over_seeds([read(numbers) for numbers in found]) for read in LAYER_NUMBERS.values())
            rows.append((network, layer, NOTHING, *cells))
    unfinished = [str(run.seed) for run in runs if run.metrics.get("complete") is False]
    note = f"Seeds {', '.join(str(run.seed) for run in runs)}, all at the scale '{group.main.preset}'."
    note += f" Seed {', '.join(unfinished)}: unfinished." if unfinished else ""
    return _table("Over seeds: mean ± standard deviation (least to greatest)", head, rows, note=note)


def _all_layers(runs):
    """{network: {layer: None}} of all runs, in their order."""
    found = {}
    for run in runs:
        for network, layer, _ in _layers(run):
            found.setdefault(network, {})[layer] = None
        for network in run.networks:
            found.setdefault(network, {})
    return found


def _best(numbers):
    accuracy = _list(lookup(numbers, "quantization", "accuracy"))
    return max((value for value in accuracy if number(value) != NOTHING), default=None)


# What is compared of every layer: its words, and how it is found in the layer's numbers.
LAYER_NUMBERS = {
    "|s| > 0.9": lambda numbers: lookup(numbers, "derivatives", "above_0.9_share", "mean"),
    "mean |s|": lambda numbers: lookup(numbers, "derivatives", "mean_abs", "mean"),
    "low share": lambda numbers: lookup(numbers, "derivatives", "low_share", "mean"),
    "best rank's accuracy": _best,
}


def _over_seeds(values):
    """Mean, standard deviation (n - 1) and range of those that have the number, and how many they are where
    some have not."""
    found = [value for value in values if number(value) != NOTHING]
    if not found:
        return NOTHING
    count = f"{len(found)} seed{'s' if len(found) > 1 else ''}"
    if len(found) == 1:
        return f"{number(found[0])} ({count})"
    few = f"; {count}" if len(found) < len(values) else ""
    spread = f"± {number(statistics.stdev(found))} ({number(min(found))} to {number(max(found))}{few})"
    return f"{number(statistics.fmean(found))} {spread}"


def provenance(run):
    """(term, value) of where a run's numbers come from."""
    origin = run.metrics.get("provenance")
    pairs = [
        ("numbers", run.source),
        ("seed", run.seed),
        ("preset", run.metrics.get("preset")),
        ("scale", run.metrics.get("scale")),
        ("data", lookup(origin, "data", "name")),
        ("data source", lookup(origin, "data", "source")),
        ("data digest", lookup(origin, "data", "digest")),
        ("model digest", lookup(origin, "model")),
        ("created", lookup(origin, "created")),
        ("commit", lookup(origin, "commit")),
        ("versions", _versions(lookup(origin, "versions"))),
        ("machine", _machine(origin)),
    ]
    for name, network in run.networks.items():
        pairs += [
            (f"{name}: {key}", lookup(network, "network", key))
            for key in ("title", "preprocessing", "sha256")
        ]
        pairs.append((f"{name}: verification", lookup(network, "network", "verification", "verdict")))
        commit, created = (lookup(network, "training", "provenance", key) for key in ("commit", "created"))
        seconds = duration(lookup(network, "training", "seconds", "total"))
        parts = [lookup(network, "training", "config", "update")]
        parts.append(f"{seconds} in all" if seconds != NOTHING else None)
        parts.append(f"begun {created}" if created else None)
        parts.append(f"commit {commit}" if commit else None)
        pairs.append((f"training of {name}", "; ".join(str(part) for part in parts if part)))
        pairs.append((f"numbers of {name}", _measured(lookup(network, "measured"))))
    return [(term, str(value)) for term, value in pairs if value not in (None, "", {})]


def _measured(stamps):
    """Kinds of numbers and when they were measured, by date and commit."""
    if not isinstance(stamps, dict):
        return None
    kinds = {}
    for kind, stamp in stamps.items():
        kinds.setdefault((lookup(stamp, "created"), lookup(stamp, "commit")), []).append(str(kind))
    return "; ".join(
        f"{', '.join(found)} of {created}, commit {commit}" for (created, commit), found in kinds.items()
    )


def _versions(versions):
    if not isinstance(versions, dict):
        return None
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _machine(origin):
    gpus = lookup(origin, "gpus")
    cpus = lookup(origin, "cpus")
    parts = [lookup(origin, "platform"), f"{cpus} CPU cores" if cpus else None]
    if isinstance(gpus, list):
        parts.append(f"GPU: {', '.join(map(str, gpus))}" if gpus else "no GPU")
    return ", ".join(str(part) for part in parts if part)
