"""The papers' figures drawn from the numbers at hand: which network, layer and neuron a panel shows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_neuronlevel import files
from keras_neuronlevel.plots import papers as drawing
from keras_neuronlevel.plots.papers import Row
from keras_neuronlevel.plots.style import UndrawableError, drawable
from keras_neuronlevel.report import gather, shown
from keras_neuronlevel.report.gather import Group
from keras_neuronlevel.report.shown import note
from keras_neuronlevel.results import lookup, schema, tables
from keras_neuronlevel.statistics import sign_edges
from keras_neuronlevel.statistics.curves import lowest_center

FULL = "papers' scale"
ENDS = ("below_10_percent", "above_90_percent")
TOO_COARSE = 0.1  # of bins that leave an area under the ROC curve so much in the open, to either side
MOMENTS = 5  # of the snapshots, evenly among those that there are


def write(groups: Sequence[Group], root: Path) -> list[str]:
    """Draw what can be drawn into ``root/papers``, one picture for each figure of the papers and the strip.

    Returns a sentence for each that the numbers at hand do not allow, which may come from anyone.

    Raises:
        OSError: where the pictures cannot be written, or would come to lie outside of ``root``.
    """
    folder = root / gather.FOLDER
    if not folder.resolve().is_relative_to(root.resolve()):
        raise OSError(f"{folder} leads out of {root}; remove that link, so that pictures can be drawn there")
    trained = [group for group in groups if not group.main.saved_model]
    warnings = []
    for place, make in FIGURES.items():
        path = folder / f"{place}.png"
        try:
            figure = make(trained)
            if figure is not None:
                files.save_figure(path, figure)
                continue
        except UndrawableError as problem:  # anything else is a fault of this code
            warnings.append(f"the figure {place} cannot be drawn ({problem})")
        path.unlink(missing_ok=True)  # it was drawn of other numbers
    return warnings


def auc(low: Sequence[int], high: Sequence[int]) -> tuple[float, float]:
    """The area under the ROC curve of 'high' against 'low' as far as counts in common bins tell it.

    Returns it with half of the pairs in a common bin in order, and how much more or less it may be, all or
    none of them in order: half of their share. NaN where a category is empty.
    """
    lows, highs = np.asarray(low, np.float64), np.asarray(high, np.float64)
    below = np.concatenate([[0], np.cumsum(lows)[:-1]])
    pairs = lows.sum() * highs.sum()
    if not pairs:
        return np.nan, np.nan
    return float(highs @ (below + lows / 2) / pairs), float(highs @ lows / 2 / pairs)


def _neurons(run, label, layer):
    return lookup(run.neurons, "networks", label, layer) or []


def _signs(groups):
    def panel(group, label, layer):
        found = _neurons(group.main, label, layer)
        numbers = _measured(group, label, layer, "derivatives")
        if not found or not numbers:
            return None
        text = ", ".join([f"|s|>0.9: {_shares(numbers)}", *_seeds(numbers)])
        text += f"\n|s|=1: {_shares(numbers, 'constant_share')}{_undefined(numbers, 'of pairs ')}"
        return {
            "title": f"{layer}, neuron {found[0]['unit']}",
            "neurons": [one["average_sign"] for one in found],
            "recordings": found[0]["moments"][-1]["recording"] + 1,
            "text": "\n".join([text, *_clipped(group, label, layer)]),
        }

    rows, used = shown.rows(groups, shown.of_layers(panel))
    words = (
        "Bars: one random neuron (orange: high, blue: low); grey lines: further random neurons of that "
        "seed, the first; in words: all neurons of the layer, over all seeds. "
    )
    if any(shown.measured(run, "clipped") for group in used for run in group.comparable):
        words += "Clipped: |s|=1 of the loss as Keras took it then, zeros left out (and counted). "
    return drawing.signs(rows, words + note(used, "derivatives")) if rows else None


def _per_cent(shares):
    """Shares in words, that of a single run or the span over several; a dash where no pair has a sign, as in
    a layer that is dead throughout."""
    known = sorted(share for share in shares if share is not None)
    return tables.span(known, ".0%") if known else tables.NOTHING


def _undefined(derivatives, of=""):
    """The share of pairs without a sign as a line of its own, "" where it rounds to nothing."""
    shares = [found.get("undefined_share") or 0 for found in derivatives]
    return f"\n({_per_cent(shares)} {of}undefined)" if max(shares) >= 0.005 else ""


def _clipped(group, label, layer):
    """[what the signs of the clipped loss say, over the seeds that recorded them], or []."""
    at = (label, "layers", layer)
    runs = [run for run in group.comparable if lookup(run.networks, *at, "clipped")]
    if not runs:
        return []
    left_out, counted, todays = (
        _shares([lookup(run.networks, *at, *path) for run in runs], "constant_share")
        for path in (("clipped", "left_out"), ("clipped", "counted"), ("derivatives",))
    )
    if tables.NOTHING in (left_out, counted):
        return []
    of = tables.seeds([run.seed for run in runs])
    beside = f"{of}: {todays}, " if len(runs) < len(group.comparable) else ""
    return [f"{beside}clipped {left_out} ({counted})"]


def _moments(neuron, count=MOMENTS):
    places = np.unique(np.linspace(0, len(neuron["moments"]) - 1, count).round().astype(int))
    return [neuron["moments"][i] for i in places]


def _pair(neuron, moment, title, text="{auc}"):
    found = {key: moment[key] for key in ("low", "high", "top")}
    found |= {"edges": neuron["edges"], "top_share": neuron.get("top_share")}
    return {**found, "title": title, "text": text.format(auc=_auc(moment))}


def _auc(moment):
    """The area under the ROC curve in words: exact where it was kept, else what the bins tell of it."""
    if moment.get("auc") is not None:
        return f"AUC {moment['auc']:.2f}"
    area, half = auc(moment["low"], moment["high"])
    if not np.isfinite(area):
        return "a category is empty"
    return f"AUC {area:.2f} ± {half:.2f}" if half <= TOO_COARSE else "AUC: bins too coarse"


def _layer_auc(group, label, layer, moment):
    """[The mean area over a layer's neurons at a moment in words, over the seeds with a snapshot there], or
    []."""
    known = []
    for found in _measured(group, label, layer, "dynamics"):
        at = dict(zip(found.get("recordings", ()), found.get("auc", ()), strict=False))
        known.append(lookup(at, moment["recording"], "mean"))
    known = sorted(area for area in known if area is not None)
    return [f"layer: {tables.span(known, '.2f')}"] if known else []


def _dynamics(groups):
    def make(group, label, layers):
        last = [name for name in layers if name in group.main.networks[label]["roles"].get("last", ())]
        found = [(layer, neuron) for layer in last for neuron in _neurons(group.main, label, layer)[:1]]
        return [_through_training(group, label, layer, neuron) for layer, neuron in found]

    rows, used = shown.rows(groups, make)
    words = (
        "Share of samples of one neuron of the first seed; the first panel has a range of its own. AUC: of "
        "the neuron (±: as far as bins tell it), then mean over the layer, of the seeds with that snapshot. "
    )
    return drawing.dynamics(rows, words + note(used, "dynamics")) if rows else None


def _through_training(group, label, layer, neuron):
    panels = []
    for moment in _moments(neuron):
        text = "\n".join(["{auc}", *_layer_auc(group, label, layer, moment)])
        panels.append(_pair(neuron, moment, f"step {moment['step']:,}, epoch {moment['epoch']}", text))
    panels[0]["zoom"] = True
    title = layer.replace("-", "-\n") + f"\nneuron {neuron['unit']}"
    return Row(title, shown.full(group.main), panels)


def _subtasks(groups):
    def make(group, label, layers):
        network = group.main.networks[label]
        if network["family"] != "mlp" or network["activation"] == "linear":
            return []
        panels = [_deciles(group, label, layer, network["activation"]) for layer in layers]
        panels += _at_the_end(group, label, layers[-1], network["activation"])
        return [Row(label, shown.full(group.main), panels)] if any(panels) else []

    rows, used = shown.rows(groups, make)
    neurons = ", ".join(
        f"{tables.span(panel['neurons'], 'd')} of {panel['title']}"
        for row in rows
        for panel in row.panels
        if panel and panel.get("neurons")
    )
    words = (
        "Left: share of the more frequent category in each tenth of p, mean over neurons, a line a seed "
        "(sigmoid: neurons with at most 1 % of p > 0); 50 % says nothing; in words, by how many points "
        "accuracy is higher for p > 0 than for p < 0 (sigmoid: in the upper than in the lower tenths). "
        f"Neurons: {neurons or 'not counted'}. Right: one neuron at the end. "
    )
    return drawing.subtasks(rows, words + note(used, "dynamics")) if rows else None


def _at_the_end(group, label, layer, activation):
    """[One neuron's panel at the end of training], [] where there is none."""
    neurons = _neurons(group.main, label, layer)
    if activation == "sigmoid":  # as the papers' neuron: all pre-activations negative
        neurons = sorted(neurons, key=_above_zero)
    if not neurons:
        return []
    pair = _pair(neurons[0], neurons[0]["moments"][-1], f"{layer}, neuron {neurons[0]['unit']}")
    del pair["top"]
    return [{**pair, "text": _sides(neurons[0]) if activation == "relu" else pair["text"]}]


def _deciles(group, label, layer, activation):
    """A panel of the accuracy by tenth of each seed, with the difference that claim C7 asks for."""
    sigmoid = activation == "sigmoid"
    found = _measured(group, label, layer, "dynamics", "subtask", *(("all_negative",) if sigmoid else ()))
    spreads = [one.get("accuracy_by_decile") or [] for one in found]
    lines = [[spread["mean"] for spread in one] for one in spreads]
    lines = [line for line in lines if line and None not in line]
    if not lines:
        return None
    differences = [lookup(one, "accuracy_difference" if sigmoid else "difference", "mean") for one in found]
    known = sorted(100 * difference for difference in differences if difference is not None)
    text = "upper over lower tenths" if sigmoid else "p > 0 over p < 0"
    return {
        "title": layer,
        "deciles": lines,
        "neurons": sorted(one[0]["neurons"] for one in spreads if one and one[0]["neurons"]),
        "text": f"{text}:\n{tables.span(known, '+.1f')} points" if known else "",
    }


def _above_zero(neuron):
    """The share of a neuron's samples in bins above zero, at the end."""
    moment, edges = neuron["moments"][-1], np.asarray(neuron["edges"])
    counts = np.asarray(moment["low"]) + np.asarray(moment["high"])
    return counts[edges[:-1] >= 0].sum() / max(counts.sum(), 1)


def _sides(neuron):
    """Category accuracy on both sides of zero. The samples of the bin that has zero within it may lie on
    either: with none but the wrong ones of them, and with none but the right ones, it is the least and the
    most that it can be."""
    moment, edges = neuron["moments"][-1], np.asarray(neuron["edges"])
    low, high = np.asarray(moment["low"]), np.asarray(moment["high"])
    left, right = edges[1:] <= 0, edges[:-1] >= 0
    across = ~left & ~right
    words = []
    for side, sign, correct, wrong in ((left, "<", low, high), (right, ">", high, low)):
        hits, total = correct[side].sum(), (low + high)[side].sum()
        if total >= 10:
            least = hits / (total + wrong[across].sum())
            most = (hits + correct[across].sum()) / (total + correct[across].sum())
            spread = f" ± {50 * (most - least):.0f}" if most - least >= 0.01 else ""
            words.append(f"p {sign} 0: {50 * (least + most):.0f}{spread}%")
    return "\n".join(words)


def _all_signs(groups):
    def panel(found, run, label, layer):
        counts = found.get("histogram")
        recordings = lookup(run.networks, label, "training", "recordings")
        if not counts or not recordings:
            return None
        edges = sign_edges(recordings)
        if len(counts) != len(edges) - 1:
            raise UndrawableError(
                f"the average signs of {layer} are counted in {len(counts)} bins, and {recordings} "
                f"recordings have {len(edges) - 1}"
            )
        text = f"|s|>0.9 in {_shares([found])} of {sum(counts):,} pairs{_undefined([found])}"
        return {"neurons": [{"edges": edges, "counts": counts}], "recordings": recordings, "text": text}

    words = "All (sample, neuron) pairs; orange: high, blue: low. "
    return _first_seeds(groups, "average_sign_all_neurons", panel, _shares, drawing.signs, words)


def _shares(derivatives, name="above_0.9_share"):
    """The share of pairs that ``name`` counts, over the runs whose ``derivatives`` these are."""
    return _per_cent(lookup(found, name, "mean") for found in derivatives)


def _class_consistency(groups):
    def panel(found, run, label, layer):
        kept, ends = lookup(found, "class_consistency"), _ends([found])
        counts = lookup(kept, "histogram")
        if not counts or ends == tables.NOTHING:
            return None
        text = f"below 10 %, above 90 %: {ends}"
        if kept.get("undefined"):
            text += f"\n{kept['undefined'] / (kept['pairs'] + kept['undefined']):.1%} undefined"
        return {"counts": counts, "text": text}

    words = "All (neuron, class) pairs; orange, blue: nearly the whole class is high, low. "
    return _first_seeds(groups, "class_consistency", panel, _ends, drawing.class_consistency, words)


def _ends(derivatives):
    """The shares of pairs at both ends, over the runs whose ``derivatives`` these are, or a dash."""
    found = [[lookup(one, "class_consistency", key) for key in ENDS] for one in derivatives]
    found = [ends for ends in found if None not in ends]
    return " + ".join(map(_per_cent, zip(*found, strict=True))) or tables.NOTHING


def _beside(groups, group, run, label, layer, measured):
    """[What is ``measured`` in words, by the runs at the papers' scale where ``run``, which is drawn, is none
    of them, else over its seeds], [] where there is no more than is drawn."""
    largest = shown.largest(groups, group.main.experiment)
    elsewhere = largest is not None and shown.full(largest.main) and not shown.full(run)
    found = _measured(largest if elsewhere else group, label, layer, "derivatives")
    words = measured(found)
    if words == tables.NOTHING or not (elsewhere or found[1:]):
        return []
    return [f"{', '.join([FULL] * elsewhere + _seeds(found))}: {words}"]


def _measured(group, label, layer, *path):
    """The numbers at a path of a layer in the group's comparable runs, those that have them."""
    found = [lookup(run.networks, label, "layers", layer, *path) for run in group.comparable]
    return [one for one in found if one]


def _seeds(found):
    """[How many seeds were found], [] of a single one."""
    return [f"{len(found)} seeds"] if len(found) > 1 else []


def _first_seeds(groups, name, of_run, measured, draw, words):
    """Histograms over all pairs, of a network's first seed that kept them.

    ``of_run(derivatives, run, network, layer)`` gives a panel without its title, or None; below its text
    stands what :func:`_beside` says. None where the first run is older and no seed of it has one: its own
    picture of that ``name`` then stands here.
    """
    drawn: dict[tuple, dict] = {}

    def panel(group, label, layer):
        for run in group.comparable:
            numbers = lookup(run.networks, label, "layers", layer, "derivatives")
            found = of_run(numbers, run, label, layer) if numbers else None
            if found:
                drawn.setdefault((*_place(group), label), {})[run.source] = run
                lines = [found["text"], *_beside(groups, group, run, label, layer, measured)]
                return {"title": f"{layer}, seed {run.seed}", **found, "text": "\n".join(lines)}
        return None

    def of_drawn(group):
        """The group with the runs that are drawn alone."""
        found: dict = {}
        for label in group.main.networks:
            found |= drawn.get((*_place(group), label), {})
        first, *others = found.values()
        return Group(first, tuple(others))

    rows, used = shown.rows(groups, shown.of_layers(panel))
    own = [group for group in groups if any(one.name == name for one in group.main.pictures)]
    if own and not any(_place(group) == _place(own[0]) for group in used):
        return None
    if any(FULL in panel["text"] for row in rows for panel in row.panels if panel):
        words += f"Tinted rows tell the number at the {FULL}, too: no histogram was kept there. "
    return draw(rows, words + note(list(map(of_drawn, used)), "derivatives")) if rows else None


def _place(group):
    return group.main.folder, group.main.prefix


def _ranks_of_zero(group, label, layer):
    """The mean rank of zero in each run that windows were read of; [] where these are ranks among other
    images, those that a probe learns."""
    read = [one for one in _measured(group, label, layer) if one.get("window")]
    found = [lookup(one, "quantization", "zero_rank", "mean") for one in read]
    return [rank for rank in found if rank is not None]


def _best(curve, layer):
    """The highest accuracy of a curve and its rank."""
    known = [(a, r) for a, r in zip(curve["accuracy"], curve["ranks"], strict=True) if a is not None]
    if not known:
        raise UndrawableError(f"no accuracy of {layer} is known")
    return max(known)


def _quantization(groups):
    def panel(group, label, layer):
        curves = _measured(group, label, layer, "quantization")
        if not curves:
            return None
        best = [_best(curve, layer) for curve in curves]
        lost = [100 * (c["baseline_accuracy"] - a) for c, (a, _) in zip(curves, best, strict=True)]
        ranks = sorted({rank for _, rank in best})
        text = f"best: rank {tables.span(ranks, '.0f')},\n{tables.span(sorted(lost), '.1f')} points lost"
        return {"title": layer, "curves": curves, "text": text}

    rows, used = shown.rows(groups, shown.of_layers(panel))
    words = (
        "100 %: the network as it is. A line a seed; hollow: one value for all; triangle: rank of zero ± "
        "std. dev. over neurons. "
    )
    return drawing.quantization(rows, words + note(used, "quantization")) if rows else None


def _window(groups):
    def panel(group, label, layer):
        curves = _measured(group, label, layer, _windows(group))
        if not curves:
            return None
        for curve in curves:
            drawable(f"accuracies of {layer}", curve["accuracy"], 0, 1)
        zeros = _ranks_of_zero(group, label, layer)
        lowest = [lowest_center(curve) for curve in curves]
        text = f"least at {tables.span(sorted(lowest), '.0f')}"
        return {"title": layer, "curves": curves, "zeros": zeros, "text": text}

    rows, used = shown.rows(groups, shown.of_layers(panel))
    words = (
        "100 %: later layers trained anew on p itself, for as long, or a linear probe of p; bits may be "
        "learned better. Each panel has its own range; hollow: not converged; triangle: rank of zero, where "
        "it is one among the same images, one a seed. "
    )
    words += " ".join(note([group], _windows(group)) for group in used)
    return drawing.window(rows, words) if rows else None


def _windows(group):
    """Under which name its window experiment is kept: a probe's of other data where it has no other."""
    return "window" if shown.measured(group.main, "window") else schema.window(transfer=True)


def _learnt(curve):
    """Whether there is something above chance of which a share can be kept."""
    return curve["baseline_accuracy"] > curve["chance"]


def _strip(groups):
    group, chosen = shown.largest(groups, "mnist_mlp"), shown.strip_neuron(groups)
    if not group or not chosen:
        return None
    one = chosen[1]
    curves = {
        layer: _measured(group, label, layer, "quantization")
        for label, layer in (
            ("mlp-relu", "dense2-relu"),
            ("mlp-sigmoid", "dense2-sigmoid"),
            ("mlp-linear", "dense2-linear"),
        )
    }
    windows = {}
    for label in ("mlp-relu", "mlp-sigmoid", "mlp-linear"):
        for layer in (f"dense{i}-{label.removeprefix('mlp-')}" for i in (1, 2)):
            found = list(filter(_learnt, _measured(group, label, layer, "window")))
            zeros = _ranks_of_zero(group, label, layer)
            if found and zeros:
                windows[layer] = (found, zeros)
    curves = {layer: list(filter(_learnt, found)) for layer, found in curves.items()}
    curves = {layer: found for layer, found in curves.items() if found}
    if not curves or not windows:
        return None
    counts, edges = np.asarray(one["average_sign"]["counts"]), np.asarray(one["average_sign"]["edges"])
    far = edges[edges >= 0.9 - 1e-9][0]  # the outermost bins, as far as they hold nothing nearer than 0.9
    outer = counts[(edges[1:] <= -far + 1e-9) | (edges[:-1] >= far - 1e-9)].sum() / max(counts.sum(), 1)
    first, last = one["moments"][0], one["moments"][-1]
    neuron = {
        "title": f"{shown.STRIP[1]} {one['unit']}",
        "average_sign": one["average_sign"],
        "recordings": last["recording"] + 1,
        "text": f"{_per_cent([outer])} of samples\nbeyond ±{far:.3g}",
        "first": _pair(one, first, "", _strip_text(group, "before", first)),
        "last": _pair(one, last, "", _strip_text(group, "after", last)),
    }
    drawn = [curve for found, _ in windows.values() for curve in found]
    words = (
        f"One network of the papers, three activation functions. Left: seed {group.main.seed}, AUC of the "
        "neuron, then mean over its layer, of all seeds. Right: a line and a mark of zero a seed. 100 %: the "
        "network as it is, of windows a readout of p. "
    )
    seeds = tables.seeds([run.seed for run in group.comparable if shown.measured(run, "window")])
    readouts = ", ".join([seeds, *tables.measured_on(drawn)[1:]])
    words += f"{note([group], 'quantization')} Windows: {readouts}."
    return drawing.strip(neuron, curves, windows, words)


def _strip_text(group, words, moment):
    return "\n".join([f"{words}: {{auc}}", *_layer_auc(group, *shown.STRIP, moment)])


FIGURES = {
    "signs": _signs,
    "average_sign_all_neurons": _all_signs,
    "dynamics": _dynamics,
    "subtasks": _subtasks,
    "class_consistency": _class_consistency,
    "quantization": _quantization,
    "window": _window,
    "strip": _strip,
}
