"""The report: what it finds, what it says is missing, what it escapes, and that it is always the same."""

import base64
import csv
import dataclasses
import hashlib
import html.parser
import io
import itertools
import json
import math
import os
import re
import runpy
import shutil
import struct
import sys
import zlib
from pathlib import Path
from urllib.parse import unquote

import made
import numpy as np
import pytest

from keras_neuronlevel import claims, dynamics, papers, report, selection
from keras_neuronlevel.claims import Evidence
from keras_neuronlevel.protocol import panels
from keras_neuronlevel.records import Records, RecordsWriter
from keras_neuronlevel.report import claims_table, document, gather, markdown, pictures, provenance, texts
from keras_neuronlevel.report import html as page
from keras_neuronlevel.report.elements import embedded_json
from keras_neuronlevel.results import neurons, seeds, tables

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("derivatives", "quantization")  # what the made-up layers have
FILM = b"\0\0\0\x18ftypmp42"  # as an .mp4 file begins
HOSTILE = "<script>alert('x')</script>|`*_\"&</td>"


# Results made by hand -------------------------------------------------------------------------------


def png(width=30, height=20):
    """A white PNG picture."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\xff" * width) * height)
    return gather.PNG_SIGNATURE + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def metrics(experiment="mnist_mlp", *, mean=0.7, accuracy=0.98, **more):
    shares = {"above_0.9_share": made.spread(mean)}
    curve = {"ranks": [0, 50, 100], "accuracy": [0.1, 0.9, 0.1]}

    def layer():
        numbers = made.layer(derivatives=shares, quantization=curve)
        return {kind: numbers[kind] for kind in KINDS}

    layers = {name: layer() for name in ("dense1-relu", "dense2-relu")}
    networks = {"mlp-relu": {"training": made.trained(accuracy=accuracy), "layers": layers}}
    return made.metrics(experiment, networks, **more)


def panel(unit=3, layer="dense1-relu"):
    def moment(step, low, high):
        return {"recording": step, "step": step, "epoch": 0, "low": low, "high": high, "top": [0, 0, 1]}

    return {
        "layer": layer,
        "unit": unit,
        "edges": [-1.0, 0.0, 1.0, 2.0],
        "moments": [moment(0, [5, 5, 0], [0, 6, 4]), moment(90, [9, 1, 0], [0, 2, 8])],
        "undefined": 0,
        "low_share": 0.5,
        "average_sign": {"edges": [-1.0, 0.0, 1.0], "counts": [10, 10], "undefined": 0},
    }


def put(folder, value, *figures, prefix="", panels=None):
    """Write an experiment's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}metrics.json").write_text(json.dumps(value), encoding="utf-8")
    for name in figures:
        (folder / f"{prefix}{name}.png").write_bytes(png())
    if panels is not None:
        contents = {"schema": neurons.SCHEMA, "networks": panels}
        (folder / f"{prefix}neurons.json").write_text(json.dumps(contents), encoding="utf-8")


def written(results):
    page, text, *_ = report.write(results)
    return page.read_text(encoding="utf-8"), text.read_text(encoding="utf-8")


class Tree(html.parser.HTMLParser):
    """Checks that elements are balanced, and keeps [(tag, attributes)] and the words of the page."""

    EMPTY = frozenset({"meta", "img", "input", "br", "path", "circle"})

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.words, self.raw = [], [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.raw.setdefault(self.open[-1], []).append(data)
        else:
            self.words.append(data)

    def all(self, tag):
        return [attributes for found, attributes in self.found if found == tag]

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


# What is found --------------------------------------------------------------------------------------


def test_no_folder_and_no_numbers_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere; run an experiment first"):
        report.write(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds no metrics.json; .*python experiments/mnist_mlp.py"):
        report.write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_script_says_so_too(tmp_path, monkeypatch, capsys):
    script = str(ROOT / "experiments" / "report.py")
    monkeypatch.setattr(sys, "argv", [script, "--results", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="error: there is no folder"):
        runpy.run_path(script, run_name="__main__")
    put(tmp_path / "mnist_mlp", metrics())
    monkeypatch.setattr(sys, "argv", [script, "--results", str(tmp_path)])
    runpy.run_path(script, run_name="__main__")
    assert str(tmp_path / "report.html") in capsys.readouterr().out
    assert (tmp_path / "REPORT.md").exists()


def test_damaged_numbers_are_named_and_left_out(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    damaged = {
        "a": "{",
        "b": "[1]",
        "c": '{"networks": []}',
        "d": '{"networks": {"x": {"layers": {"l": 3}}}}',
        "e": '{"something": 1}',
        "f": "[" * 100_000,
    }
    for name, text in damaged.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text)
    (tmp_path / "mnist_mlp" / "window.png").write_text("no picture")
    (tmp_path / "mnist_mlp" / "neurons.json").write_text('{"schema": "another"}')
    wrong = {"ranks": 5, "accuracy": "x"}
    at = ("networks", "mlp-relu", "layers", "dense1-relu", "quantization")
    put(tmp_path / "cifar10_cnn", made.put(metrics("cifar10_cnn"), at, wrong))
    put(tmp_path / "no_seed", metrics() | {"seed": "1"})
    found = gather.find(tmp_path)
    named = [f"{name}/metrics.json" for name in (*damaged, "cifar10_cnn", "no_seed")]
    named += ["mnist_mlp/window.png", "mnist_mlp/neurons.json"]
    assert sorted(warning.split()[0] for warning in found.warnings) == sorted(named)
    html_text, md_text = written(tmp_path)
    for name in named:
        assert name in Tree(html_text).text
        assert markdown.escape(f"{name} ") in md_text


def test_numbers_of_two_scales_are_told_apart(tmp_path):
    for preset in ("paper", "reduced"):
        put(tmp_path / preset, metrics(preset=made.preset(preset)))
    captions = [
        table.caption
        for figure in document.build(gather.find(tmp_path), claims.assess).figures
        for table in figure.tables
    ]
    assert len(set(captions)) == len(captions) > 1


def test_partial_results_say_what_is_missing(tmp_path):
    value = metrics(preset=made.preset("reduced"), scale="reduced: 5 epochs", complete=False)
    put(tmp_path / "mnist_mlp", value, "training_curves", "quantization")
    html_text, md_text = written(tmp_path)
    for text in (Tree(html_text).text, md_text.replace("\\", "")):
        assert "cifar10_resnet: not run yet: python experiments/cifar10_resnet.py" in text
        assert "mnist_mlp: not run yet" not in text
        assert "mnist_mlp: at the papers' scale: python experiments/mnist_mlp.py --preset paper" in text
        assert "incomplete: the run was interrupted or still runs" in text
        assert "not the papers' scale: reduced" in text
        assert "0.9800" in text
        assert "2,350" in text
        assert "3 min" in text
        assert "2.0 h" in text
    assert "pick-network" not in html_text.split("<script")[0]  # no neurons, no browser


def test_the_time_of_a_whole_command_is_told(tmp_path):
    spent = {"first figures after": 480.0, "training": 2100.0, "windows": 900.0}
    value = metrics(seconds={"total": 3000.0, **spent})
    value["provenance"]["cpus"] = 2
    put(tmp_path / "mnist_mlp", value)
    (section,) = document.build(gather.find(tmp_path), claims.assess).sections
    told = "took 50 min on 2 cores, the first figures after 8 min (training 70 %, windows 30 %)."
    assert section.lead.endswith(f" The whole command {told}")
    put(tmp_path / "mnist_mlp", metrics())
    (section,) = document.build(gather.find(tmp_path), claims.assess).sections
    assert "whole command" not in section.lead
    put(tmp_path / "mnist_mlp", {**metrics(), "seconds": {"total": "long"}})
    (warning,) = gather.find(tmp_path).warnings
    assert "seconds/total should be a number" in warning


def test_a_second_seed_is_missed_where_there_is_one(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    command = "python experiments/mnist_mlp.py --preset paper --seed 1"
    missed = f"mnist_mlp: a second seed at the papers' scale: {command}"
    assert missed in document.build(gather.find(tmp_path), claims.assess).missing
    put(tmp_path / "mnist_mlp" / "seed1", {**metrics(), "seed": 1})
    contents = document.build(gather.find(tmp_path), claims.assess)
    assert not any(line.startswith("mnist_mlp") for line in contents.missing)


def test_a_single_experiments_folder_will_do(tmp_path):
    put(tmp_path / "mnist_mlp", metrics(), "window")
    html_text, md_text = written(tmp_path / "mnist_mlp")
    assert "(window.png)" in (tmp_path / "mnist_mlp" / "README.md").read_text()
    assert "MNIST multi-layer perceptron" in html_text and "MNIST multi-layer perceptron" in md_text


def test_a_saved_models_evaluation_is_shown_and_not_assessed(tmp_path, monkeypatch):
    curve = {**made.layer()["quantization"], "layer": "conv-relu"}
    window = made.numbers("window", {"centers": [5, 50], "accuracy": [0.7, 0.625], "readout": "probe"})
    window["layer"] = "conv-relu"
    settings = {"model": "mine.keras", "dataset": "mnist", "seed": 3}
    value = {"settings": settings, "baseline_accuracy": 0.5, "quantization": [curve], "window": [window]}
    put(tmp_path / "mine", {**value, "model_sha256": "s1"}, "window")
    seen = []
    monkeypatch.setattr(claims, "assess", lambda results: seen.append(results) or [])
    text = Tree(written(tmp_path)[0]).text
    assert seen == [[]]
    assert "mine: a saved model" in text
    assert "0.625" in text


# Stand-ins and seeds --------------------------------------------------------------------------------


def piece(**more):
    value = {"experiment": "mnist_mlp", "network": "mlp-relu", "layer": "dense1-relu", "seeds": (0,)}
    value |= {
        "preset": "paper",
        "quantity": "a share",
        "unit": "share",
        "effect": 0.5,
        "interval": (0.4, 0.6),
        "over": "512 neurons",
    }
    value |= {"setting": "papers' scale", "by_seed": (), "rule": "above 0.3", "limits": (0.3,)}
    return Evidence(**{**value, "verdict": "holds", **more})


def assessed(*evidence, label="reproduced"):
    words = ("C1", "So", "It is so.", "E §3", "A share.", "Above 0.3.", "a share", "{} of it", ".1%")
    return claims.Assessment(claims.Claim(*words, figure="signs"), label, evidence)


def test_stand_ins_decide_nothing_and_have_their_own_column(tmp_path):
    put(tmp_path / "mnist_mlp", metrics(), "window")
    put(tmp_path / "mnist_mlp", metrics(stand_in="shirts", mean=0.2), "window", prefix="standin-shirts-")
    contents = document.build(gather.find(tmp_path), claims.assess)
    alone = claims.assess([metrics()])
    assert [one.label for one in contents.findings] == [one.label for one in alone]
    first = contents.findings[0]
    assert (first.effect(), first.effect("stand-ins")) == ("70 %", "20 %")
    row = contents.table().rows[0]
    assert contents.table().head[2:] == ("reduced scale", "own networks", "stand-ins", "result")
    assert row[1:5] == ("70 % of pairs have abs(s) > 0.9", "–", "–", "20 %")
    assert [section.labels for section in contents.sections] == [(), ("stand-in: shirts",)]
    assert "stand-in: shirts" in Tree(page.render(contents)).text


def test_only_a_stand_in_leaves_the_experiment_to_do(tmp_path):
    put(tmp_path / "mnist_mlp", metrics(stand_in="shirts"), prefix="standin-shirts-")
    assert (
        "mnist_mlp: run on a stand-in only: python experiments/mnist_mlp.py"
        in Tree(written(tmp_path)[0]).text
    )


def test_seeds_are_pooled_at_the_same_scale_only(tmp_path):
    accuracies, shares = [0.98, 0.97, 0.9875], [0.7, 0.75, 0.61]
    for seed, accuracy, share in zip(range(3), accuracies, shares, strict=True):
        folder = tmp_path / "mnist_mlp" / (f"seed{seed}" if seed else "")
        put(folder, metrics(seed=seed, accuracy=accuracy, mean=share), "window")
    other = metrics(seed=10, accuracy=0.1, scale="quick: 2 epochs", preset=made.preset("quick"))
    put(tmp_path / "mnist_mlp" / "seed10", other)
    found = gather.find(tmp_path)
    (group,) = found.groups
    assert [run.seed for run in group.runs] == [0, 1, 2, 10]
    assert [run.seed for run in group.comparable] == [0, 1, 2]
    (table,) = seeds.brief([run.metrics for run in group.comparable])
    rows = {(row[0], row[1]): dict(zip(table.head, row, strict=True)) for row in table.rows}
    for key, column, values in (
        (("mlp-relu", ""), "test accuracy", accuracies),
        (("mlp-relu", "dense2-relu"), "|s| > 0.9", shares),
    ):
        mean = sum(values) / 3
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / 2)
        expected = f"{mean:.3f} ± {deviation:.3f} ({min(values):.3f} to {max(values):.3f})"
        assert rows[key][column] == expected


def test_numbers_that_some_seeds_lack_say_how_many_have_them(tmp_path):
    put(tmp_path / "mnist_mlp", metrics(mean=0.5))
    second, third = metrics(seed=1, mean=0.75), metrics(seed=2, complete=False)
    del second["networks"]["mlp-relu"]["layers"]["dense2-relu"]["quantization"]
    for name in ("derivatives", "dynamics", "quantization"):
        third["networks"]["mlp-relu"]["layers"]["dense2-relu"].pop(name, None)
    third["networks"]["mlp-new"] = metrics()["networks"]["mlp-relu"]
    put(tmp_path / "mnist_mlp" / "seed1", second)
    put(tmp_path / "mnist_mlp" / "seed2", third)
    (table,) = seeds.brief([run.metrics for run in gather.find(tmp_path).groups[0].runs])
    rows = {(row[0], row[1]): dict(zip(table.head, row, strict=True)) for row in table.rows}
    found = rows["mlp-relu", "dense2-relu"]
    assert found["|s| > 0.9"].startswith("0.625 ± ") and found["|s| > 0.9"].endswith("; 2 seeds)")
    assert found["best rank's accuracy"].endswith(" (1 seed)")
    assert rows["mlp-new", "dense2-relu"]["|s| > 0.9"].endswith(" (1 seed)")
    assert "Seed 2: unfinished." in table.note


def test_one_seed_has_no_spread():
    assert seeds.brief([metrics()]) == []


def test_the_same_run_twice_counts_once(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    put(tmp_path / "mnist_mlp_again", metrics())
    contents = document.build(gather.find(tmp_path), claims.assess)
    assert contents.warnings == (
        "mnist_mlp_again/metrics.json has the experiment, preset and seed of mnist_mlp/metrics.json; the "
        "claims rest on the latter",
    )
    assert len(contents.sections) == 2


# What is said ---------------------------------------------------------------------------------------


def test_the_claims_and_their_evidence_are_all_there(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    html_text, md_text = written(tmp_path)
    plain = md_text.replace("\\", "").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    text = Tree(html_text).text
    assessments = claims.assess([metrics()])
    assert any(assessment.evidence for assessment in assessments)
    for assessment in assessments:
        for part in (assessment.claim.statement, assessment.claim.where, assessment.claim.criterion):
            assert part in text
            assert part in plain
        for found in assessment.evidence:
            assert tables.with_interval(found.effect, found.interval) in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "evidence.csv").read_text())))
    pieces = [(one.claim.id, piece) for one in assessments for piece in one.evidence]
    assert len(rows) == len(pieces)
    for row, (claim, one) in zip(rows, pieces, strict=True):
        assert (row["claim"], row["quantity"], row["verdict"]) == (claim, one.quantity, one.verdict)
        assert float(row["effect"]) == pytest.approx(one.effect, rel=1e-5)
        assert [float(end) for end in row["interval"].split()] == pytest.approx(one.interval, rel=1e-5)


def test_a_claim_of_ours_is_shown_and_not_counted_among_the_papers(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    ours = dataclasses.replace(claims.CLAIMS[0], id="C99", owner=papers.OURS, statement="Stated by us.")
    found = claims.assess([metrics()], (*claims.CLAIMS, ours))
    contents = document.build(gather.find(tmp_path), lambda results: found)
    assert contents.result.startswith(f"Of {len(claims.CLAIMS)} claims") and "C99" not in contents.result
    assert contents.table().rows[-1][0] == f"C99 {ours.short} (ours)"
    assert [row[0] for row in contents.table(papers.PAPERS).rows] == [
        r[0] for r in contents.table().rows[:-1]
    ]
    assert "Stated by us." in Tree(page.render(contents)).text and "C99" in markdown.report(contents)


def finding(*pieces, label="reproduced"):
    return document.Finding(assessed(*pieces, label=label))


def test_a_finding_is_one_sentence():
    good, bad = piece(effect=0.5), piece(effect=0.61, layer="dense2-relu", verdict="does not hold")
    open_ = piece(layer="third", verdict="undecided")
    letter = piece(quantity="letter", wording=True, verdict="does not hold")
    assert finding(good).sentence == "50.0 % of it."
    some = finding(good, bad, open_, letter, label="only in some layers")
    expected = "50.0 to 61.0 % of it; not in dense2-relu; open in third; read strictly: letter, above 0.3, "
    assert some.sentence == expected + "in 0 of 1."
    assert some.which == "only in some layers (1 of 3: not in dense2-relu; open in third)"
    slight = piece(effect=0.1, layer="fourth", verdict="does not hold", slight=True)
    more = finding(good, bad, slight, label="only in some layers")
    assert more.which == "only in some layers (1 of 3: not in dense2-relu; slight in fourth)"
    none = dataclasses.replace(slight, slight=False)
    assert finding(good, slight, none, label="only in some layers").which.endswith(" (1 of 2: not in fourth)")
    small = piece(setting="reduced scale", decides=False)
    aside = finding(small, label="not testable here")
    assert aside.sentence == "50.0 % of it, but only at reduced scale, which decides nothing."
    assert (aside.effect(), aside.effect("reduced scale")) == ("–", "50.0 %")
    assert finding(label="not testable here").sentence == "Not measured."
    unasked = dataclasses.replace(small, asked=False)
    assert finding(unasked, label="not testable here").sentence == "Asked of no layer that was measured."
    other = dataclasses.replace(bad, quantity="another number")
    assert finding(unasked, other, label="not reproduced").sentence == "Not in dense2-relu."


def test_the_dip_is_told_where_it_is_asked_and_zero_beside_it(tmp_path):
    result = made.mnist(("relu",))
    layers = result["networks"]["mlp-relu"]["layers"]
    layers["dense2-relu"]["quantization"]["zero_rank"]["mean"] = 52.0  # near 50, so not asked
    put(tmp_path / "mnist_mlp", result)
    contents = document.build(gather.find(tmp_path), claims.assess)
    (item,) = (found for found in contents.findings if found.claim.id == "C11")
    (dip,) = {p.effect for p in item.deciding if "minimum" in p.quantity}
    told = f"The dip is {dip:.0f} ranks nearer to 50 than to zero (0: no dip); not in "
    assert item.sentence.startswith(told)
    assert item.context.startswith("Zero is at rank 52 to 80;")


def test_the_clipped_loss_is_told_where_it_was_measured_and_nowhere_else(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    told = "that share differs by +0.10 to +0.20 with zeros left out, by +0.05 with zeros counted, "
    told += "and that of abs(s) &gt; 0.9 by +0.04 and by -0.03."

    def texts_with():
        contents = document.build(gather.find(tmp_path), claims.assess)
        return [
            page.render(contents),
            markdown.report(contents),
            contents.evidence(),
            markdown.figures(contents),
        ]

    assert not any("clipped" in text or "1e-7" in text for text in texts_with())
    value = metrics()
    for more, layer in zip((0.1, 0.2), value["networks"]["mlp-relu"]["layers"].values(), strict=True):
        todays = layer["derivatives"]["constant_share"]["mean"]
        near = layer["derivatives"]["above_0.9_share"]["mean"]
        changes = {"left_out/constant_share": todays + more, "counted/constant_share": todays + 0.05}
        changes |= {"left_out/above_0.9_share": near + 0.04, "counted/above_0.9_share": near - 0.03}
        spreads = {name: made.spread(mean) for name, mean in changes.items()}
        layer["clipped"] = made.numbers("clipped", spreads)
    put(tmp_path / "mnist_mlp", value)
    shown, report_page, evidence, numbers = texts_with()
    assert told in shown and told in report_page and "decides" in evidence.splitlines()[0]
    assert "zeros left out" in evidence and "Average signs of the clipped loss" not in report_page
    assert "average signs of the clipped loss, mean over neurons" in numbers


def test_what_fewer_seeds_measured_says_which():
    words = ("C1", "So", "It is so.", "E §3", "A share.", "Above 0.3.", "a share", "{} of it", ".1%")
    beside = (claims.claim.Context("Then {}.", ("another",)),)
    claim = claims.Claim(*words, contexts=beside, figure="signs")
    headline = [piece(seeds=(0, 3, 4)), piece(experiment="cifar10_cnn", network="cnn-relu")]

    def told(*seeds, **more):
        others = [dataclasses.replace(one, quantity="another") for one in headline]
        others[0] = dataclasses.replace(others[0], seeds=seeds, **more)
        return document.Finding(claims.Assessment(claim, "reproduced", (*headline, *others))).context

    assert told(0, 3, 4) == told(0, 1, 3, 4) == "Then 50.0 %."
    assert told(3, 4) == "Then 50.0 %. (Seeds 3, 4 on MNIST.)"
    assert told(4, layer="third") == "Then 50.0 %. (Of third, dense1-relu; seed 4 on MNIST.)"


def test_two_seeds_are_both_shown():
    two = piece(interval=None, by_seed=((0.5, (0.4, 0.6)), (0.7, (0.6, 0.8))), seeds=(0, 1))
    assert document.measured(two) == "0.500 [0.400, 0.600] and 0.700 [0.600, 0.800]"
    assert document.place(two) == "mlp-relu dense1-relu, seeds 0, 1"
    assert claims_table.strip(two).count("<circle") == 2


def test_strips_draw_limits_and_say_where_an_interval_leaves_the_axis():
    inside = claims_table.strip(piece())
    assert inside.count('class="limit"') == 1 and 'class="arrow' not in inside
    beyond = claims_table.strip(piece(interval=(-0.1, 1.2)))
    assert beyond.count('class="arrow') == 2
    assert claims_table.strip(piece(interval=(-0.1, 0.5))).count('class="arrow') == 1
    far = claims_table.strip(piece(effect=1.2, interval=None))
    assert far.count('class="arrow') == 1 and "<circle" not in far
    middle = claims_table.MARGIN + (claims_table.WIDTH - 2 * claims_table.MARGIN) * 0.3
    assert f'class="limit" d="M{middle:.1f} 1V17"' in inside


def test_one_length_means_the_same_in_all_claims():
    """The page draws a unit on one axis, whatever the values; limits and the committed effects fit it."""
    found = gather.find(ROOT / "figures")
    runs = [run.metrics for group in found.groups for run in group.runs if not run.saved_model]
    pieces = [piece for item in claims.assess(runs) for piece in item.evidence]
    assert {piece.unit for piece in pieces} == set(claims_table.AXES)
    by_quantity: dict = {}
    for one in pieces:
        by_quantity.setdefault(one.quantity, set()).add(one.unit)
        low, high = claims_table.AXES[one.unit]
        assert all(low <= value <= high for value in (one.effect, *one.limits)), one
    assert {len(names) for names in by_quantity.values()} == {1}
    small, large = (claims_table.strip(piece(effect=effect, interval=None)) for effect in (0.01, 0.9))
    texts_of = [re.findall(r"<text[^>]*>([^<]*)", strip) for strip in (small, large)]
    assert texts_of == [["0", "1"]] * 2


def test_how_strongly_by_data(tmp_path):
    first, second = metrics(), {**metrics(), "seed": 1}
    del second["networks"]["mlp-relu"]["layers"]["dense1-relu"]["quantization"]
    put(tmp_path / "mnist_mlp", first)
    put(tmp_path / "mnist_mlp" / "seed1", second)
    contents = document.build(gather.find(tmp_path), claims.assess)
    assert " tested at the papers' scale on MNIST, we find " in contents.result
    assert contents.seeds == "MNIST: 1 to 2 seeds" and contents.tally.endswith("; MNIST: 1 to 2 seeds.")
    only_told = next(iter(second["networks"]["mlp-relu"]["layers"].values()))
    spreads = {f"{zeros}/constant_share": made.spread(0.2) for zeros in ("left_out", "counted")}
    only_told["clipped"] = made.numbers("clipped", spreads)
    one_curve = first["networks"]["mlp-relu"]["layers"]["dense1-relu"].pop("quantization")
    put(tmp_path / "mnist_mlp", first)
    put(tmp_path / "mnist_mlp" / "seed1", second)
    both = document.build(gather.find(tmp_path), claims.assess)  # what decides has two seeds throughout
    assert both.seeds == "MNIST: 2 seeds"
    first["networks"]["mlp-relu"]["layers"]["dense1-relu"]["quantization"] = one_curve
    put(tmp_path / "mnist_mlp", first)
    there: dict = {}
    for finding in contents.findings:
        if finding.claim.owner == papers.PAPERS:
            for p in finding.deciding:
                if not p.wording:
                    place = there.setdefault((finding.claim.id, p.network, p.layer), [])
                    place.append(p.verdict == "holds")
    told = f"; layer by layer, they hold in {sum(map(all, there.values()))} of {len(there)} cases on MNIST"
    assert contents.result.endswith(f"{told}.")


def test_what_came_out_is_one_plain_sentence(tmp_path):
    nothing = document.Document(tmp_path, (), None, None, (), (), (), (), ())
    assert (nothing.result, nothing.tally) == ("Of 0 claims we find nothing.", "")
    put(tmp_path / "mnist_mlp", made.mnist())
    put(tmp_path / "cifar10_cnn", made.cifar(preset=made.preset("reduced")))
    contents = document.build(gather.find(tmp_path), claims.assess)
    labels = [item.label for item in contents.findings if item.claim.owner == papers.PAPERS]
    counts = [f"{labels.count(label)} {label}" for label in claims.LABELS if label in labels]
    told = f"Of {len(labels)} claims tested at the papers' scale on MNIST, we find {' and '.join(counts)}; "
    assert contents.result.startswith(told)
    assert contents.result.endswith(" cases on MNIST (CIFAR-10: reduced scale only).")
    committed = document.build(gather.find(ROOT / "figures"), claims.assess)
    assert len(committed.result.split()) <= 50 and committed.result.count(". ") == 0
    assert not re.search(r"\bC\d", committed.result) and "C1" in committed.tally
    row = next(row for row in committed.table().rows if row[0].startswith("C9"))
    assert re.match(r"[\d.]+ to [\d.]+ % on MNIST and [\d.]+ to [\d.]+ % on CIFAR-10 of the accuracy", row[1])


def test_a_table_says_whose_numbers_it_holds(tmp_path):
    put(tmp_path / "mnist_mlp" / "seed3", {**metrics(), "seed": 3})
    contents = document.build(gather.find(tmp_path), claims.assess)
    captions = [table.caption for figure in contents.figures for table in figure.tables]
    assert captions and all(", seed 3: " in caption for caption in captions)


def test_a_table_is_of_the_first_seed_that_has_its_numbers(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    later = [{**metrics(), "seed": seed} for seed in (2, 3)]
    smaller = {**metrics(preset=made.preset("reduced")), "seed": 1}
    for value in (smaller, *later):
        value["networks"]["mlp-relu"]["layers"]["dense2-relu"]["clipped"] = made.numbers("clipped")
        put(tmp_path / "mnist_mlp" / f"seed{value['seed']}", value)
    (figure,) = (f for f in document.build(gather.find(tmp_path), claims.assess).figures if f.name == "signs")
    captions = [table.caption for table in figure.tables]
    assert [caption.split(": ")[0].rpartition(", ")[2] for caption in captions] == ["seed 0", "seed 2"]
    assert captions[1].endswith(": average signs of the clipped loss, mean over neurons")


def test_the_readme_is_made_of_the_same(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    contents = document.build(gather.find(tmp_path), claims.assess)
    text = f"# mine\n\n{markdown.BEGIN}\nstale words\n{markdown.END}\n\nrest\n"
    made_anew = markdown.readme(text, contents, tmp_path)
    assert made_anew.startswith("# mine") and made_anew.endswith("rest\n") and "stale" not in made_anew
    assert markdown.readme(made_anew, contents, tmp_path) == made_anew
    assert f"**{contents.result}**" in made_anew and "(MNIST: 1 seed) | result |" in made_anew
    assert contents.result in markdown.report(contents) and contents.tally in markdown.report(contents)
    assert sum(line.startswith("| C") for line in made_anew.splitlines()) == len(contents.findings)
    with pytest.raises(ValueError, match="the README has no lines"):
        markdown.readme("# mine\n", contents, tmp_path)


def test_documents_are_up_to_date_with_the_committed_numbers():
    """README, figures/README.md, REPORT.md and evidence.csv: `python experiments/report.py` makes them."""
    results, readme = ROOT / "figures", ROOT / "README.md"
    found = gather.find(results)
    for path, text in report.texts_of(found, readme).items():
        if path.name != "report.html":
            assert path.read_text(encoding="utf-8") == text, f"{path.name} is out of date"
    assert len((results / "REPORT.md").read_text(encoding="utf-8").splitlines()) < 250


def test_the_words_of_results_are_explained_wherever_they_stand(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    contents = document.build(gather.find(tmp_path), claims.assess)
    readme = markdown.readme(f"{markdown.BEGIN}{markdown.END}", contents, tmp_path)
    for text in (readme, markdown.report(contents), Tree(page.render(contents)).text):
        told = text.replace("&gt;", ">").replace("&lt;", "<")
        assert told.count(texts.TERMS) == 1
    for words in ("Reproduced: ", "weaker than worded: ", "only in some layers: ", "Slight in ", "Open in "):
        assert texts.TERMS.count(words) == 1 and words not in texts.READING


def test_the_film_says_what_it_shows(tmp_path):
    panels = {"mlp-relu": {"dense2-relu": [panel(unit=7, layer="dense2-relu")]}}
    put(tmp_path / "mnist_mlp", metrics(), panels=panels)
    put(tmp_path / "mnist_mlp" / "seed4", {**metrics(), "seed": 4})
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "strip.png").write_bytes(png())

    def told(name):
        for path in (tmp_path / "mnist_mlp").glob("neuron_*"):
            path.unlink()
        (tmp_path / "mnist_mlp" / name).write_bytes(b"GIF89a")
        contents = document.build(gather.find(tmp_path), claims.assess)
        (line,) = re.findall(
            r"!\[.*gif\).*", markdown.readme(markdown.BEGIN + markdown.END, contents, tmp_path)
        )
        return line

    film = "one neuron of dense2-relu in mlp-relu, seed 4"
    line = told("neuron_mlp-relu_dense2-relu_seed4.gif")
    assert line.startswith(f"![The pre-activations through training of {film}](mnist_mlp/neuron_")
    another = "neuron 7 of dense2-relu in mlp-relu, seed 0."
    expected = (
        f"<br>The film: {film} (its number stands in it); the strip's first two panels: another, {another}"
    )
    assert line.endswith(expected)
    assert told("neuron_mlp-relu_dense2-relu_seed0.gif").endswith("seed 0 (its number stands in it).")
    assert told("neuron_mlp-relu_dense9-relu_seed4.gif").endswith(
        "The film: one neuron (its number stands in it)."
    )


def test_anothers_readme_is_left_alone(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    (tmp_path / "README.md").write_text("# Mine")
    report.write(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# Mine"


def test_a_figure_that_cannot_be_drawn_is_named(tmp_path):
    value = metrics()
    value["networks"]["mlp-relu"]["layers"]["dense1-relu"]["quantization"]["accuracy"] = [None] * 3
    put(tmp_path / "mnist_mlp", value)
    words = "the figure quantization cannot be drawn (no accuracy of dense1-relu is known)"
    assert words in Tree(written(tmp_path)[0]).text


def test_a_fault_in_drawing_is_no_warning(tmp_path, monkeypatch):
    def faulty(groups):
        raise ValueError("a fault")

    put(tmp_path / "mnist_mlp", metrics())
    monkeypatch.setitem(pictures.FIGURES, "signs", faulty)
    with pytest.raises(ValueError, match="^a fault$"):
        report.write(tmp_path)


def test_a_picture_of_other_numbers_is_not_shown(tmp_path):
    put(tmp_path / "mnist_mlp", metrics())
    report.write(tmp_path)
    drawn = tmp_path / "papers" / "quantization.png"
    assert drawn.exists()
    value = metrics()
    for layer in value["networks"]["mlp-relu"]["layers"].values():
        del layer["quantization"]
    put(tmp_path / "mnist_mlp", value)
    report.write(tmp_path)
    assert not drawn.exists()


def test_a_mistake_in_drawing_is_no_warning(tmp_path, monkeypatch):
    def mistaken(groups):
        return {}["curves"]

    put(tmp_path / "mnist_mlp", metrics())
    monkeypatch.setattr(report.pictures, "FIGURES", {"quantization": mistaken})
    with pytest.raises(KeyError):
        report.write(tmp_path)


@pytest.fixture
def beside(tmp_path):
    """A folder of results beside which something lies that must not be published."""
    (tmp_path / "secret").mkdir()
    for name in ("neuron_a.gif", "window.png", "metrics.json", "neurons.json", "README.md"):
        (tmp_path / "secret" / name).write_bytes(b"GIF89a a secret")
    (tmp_path / "secret" / "window.png").write_bytes(png(1234))
    put(tmp_path / "results" / "mnist_mlp", metrics())
    return tmp_path / "results"


@pytest.mark.parametrize("name", ["neuron_a.gif", "window.png", "neurons.json", "metrics.json"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("link out", "leads out of the folder"),
        ("pipe", "is no ordinary file"),
        ("folder", "is no ordinary file"),
        ("dangling", "cannot be read (No such file or directory)"),
        ("circle", "cannot be read (Symlink loop"),
    ],
)
def test_what_is_no_file_below_the_folder_is_named_and_left_out(name, kind, words, beside, caplog):
    folder = beside / "mnist_mlp" if name != "metrics.json" else beside / "another"
    folder.mkdir(exist_ok=True)
    path = folder / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        targets = {"link out": beside.parent / "secret" / name, "dangling": "nowhere", "circle": path}
        path.symlink_to(targets[kind])
    html_text, md_text = written(beside)
    named = f"{path.relative_to(beside)} "
    assert named in Tree(html_text).text and markdown.escape(named) in md_text
    (logged,) = [record.getMessage() for record in caplog.records]
    assert logged.startswith(f"warning: {named}") and (words in logged or kind == "circle")
    assert base64.b64encode(b"GIF89a a secret").decode() not in html_text and 'width="1234"' not in html_text


def test_a_link_within_the_folder_is_followed(beside):
    (beside / "mnist_mlp" / "neuron_a.gif").write_bytes(b"GIF89a")
    (beside / "mnist_mlp" / "neuron_b.gif").symlink_to("neuron_a.gif")
    assert written(beside)[0].count(base64.b64encode(b"GIF89a").decode()) == 2


@pytest.mark.parametrize(("name", "head"), [("neuron_a.gif", b"GIF90a"), ("neuron_a.mp4", b"\0\0\0\x18free")])
def test_what_is_no_video_is_named_and_left_out(name, head, beside):
    (beside / "mnist_mlp" / name).write_bytes(head)
    text = Tree(written(beside)[0]).text
    assert f"mnist_mlp/{name} is no GIF or MP4 video; it is left out" in text


def test_nothing_is_written_or_read_through_links_that_lead_out(beside):
    page = beside / "README.md"
    page.symlink_to(beside.parent / "secret" / "README.md")
    report.write(beside)
    assert page.is_symlink() and page.read_bytes() == b"GIF89a a secret"
    page.unlink()
    os.mkfifo(page)
    report.write(beside)
    shutil.rmtree(beside / "papers", ignore_errors=True)
    (beside / "papers").symlink_to(beside.parent / "secret")
    with pytest.raises(OSError, match="papers leads out of .*; remove that link"):
        report.write(beside)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("networks", "mlp-relu", "layers", "dense1-relu", "quantization"), 3),
        (("networks", "mlp-relu", "layers", "dense1-relu", "quantization", "n_test"), 10**400),
        (("networks", "mlp-relu", "layers", "dense1-relu", "quantization", "accuracy"), [0.5]),
        (("networks", "mlp-relu", "layers", "dense1-relu", "derivatives", "neurons"), 10**90),
        (("networks", "mlp-relu", "training", "recordings"), 10**60),
        (("networks", "mlp-relu", "training"), 3),
        (("networks", "mlp-relu", "layers"), None),
        (("networks",), {}),
        (("seed",), -1),
    ],
)
def test_a_folder_of_absurd_numbers_does_not_stop_the_report(path, value, beside):
    sound = metrics("cifar10_cnn")
    put(beside / "cifar10_cnn", made.put(sound, path, value))
    (beside / "no_folder").mkdir()
    text = Tree(written(beside)[0]).text
    assert "cifar10_cnn/metrics.json" in text and "it is left out" in text
    assert "0.9800" in text, "the sound folder is shown"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"schema": 1' + "0" * 400 + "}", '{"networks":' * 500 + "1"]
)
def test_deep_or_endless_neurons_do_not_stop_the_report(text, beside):
    (beside / "mnist_mlp" / "neurons.json").write_text(text)
    assert "mnist_mlp/neurons.json cannot be read" in Tree(written(beside)[0]).text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.12345, "0.123"),
        (-0.5, "-0.500"),
        (9.9994, "9.999"),
        (10, "10.0"),
        (999.94, "999.9"),
        (12345.6, "12,346"),
        (0, "0.000"),
        (None, "–"),
        (True, "–"),
        ("1", "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        ([1], "–"),
    ],
)
def test_numbers(value, expected):
    assert tables.number(value) == expected


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ([0.4, 0.6], "0.500 [0.400, 0.600]"),
        (None, "0.500"),
        ([0.4], "0.500"),
        ([None, 0.6], "0.500"),
        (7, "0.500"),
    ],
)
def test_intervals(interval, expected):
    assert tables.with_interval(0.5, interval) == expected


@pytest.mark.parametrize(
    ("values", "form", "expected"),
    [
        ((0.6, 0.605, 0.61), ".0%", "60 to 61 %"),
        ((0.6, 0.604), ".0%", "60 %"),
        ((-0.03, 0.19), "+.2f", "-0.03 to +0.19"),
        ((8, 9), "d", "8 to 9"),
        ((1000, 1000), ",", "1,000"),
    ],
)
def test_spans(values, form, expected):
    assert tables.span(values, form) == expected


def test_durations():
    assert [tables.duration(s) for s in (0, 89, 90, 5399, 5400, None)] == [
        "0 s", "89 s", "2 min", "90 min", "1.5 h", "–",
    ]  # fmt: skip


def test_curves_with_different_places_share_a_table():
    value = metrics()
    layers = value["networks"]["mlp-relu"]["layers"]
    layers["dense2-relu"]["quantization"] |= {"ranks": [50, 75], "accuracy": [0.8, None]}
    (table,) = tables.quantization(value["networks"])
    assert table.head == ("network", "layer", "untouched", "0", "50", "75", "100")
    assert table.rows[0][2:] == ("0.980", "0.100", "0.900", "–", "0.100")
    assert table.rows[1][2:] == ("0.980", "–", "0.800", "–", "–")


# Form -----------------------------------------------------------------------------------------------


def test_hostile_names_stay_text(tmp_path):
    value = metrics(HOSTILE, stand_in=HOSTILE, scale=HOSTILE)
    network = value["networks"]["mlp-relu"]
    value["networks"] = {HOSTILE: {**network, "layers": {HOSTILE: network["layers"]["dense1-relu"]}}}
    panels = {HOSTILE: {HOSTILE: [panel(layer=HOSTILE)]}}
    put(tmp_path / "mnist_mlp", value, "window", panels=panels)
    (tmp_path / "mnist_mlp" / "neuron_a&b'c.gif").write_bytes(b"GIF89a")
    put(tmp_path / "other", metrics(), "window")
    html_text, md_text = written(tmp_path)
    tree = Tree(html_text)
    assert [a.get("type") for a in tree.all("script")] == ["application/json", None]
    assert HOSTILE in tree.text
    assert list(json.loads(tree.raw["script"][0])[0]["networks"]) == [HOSTILE]
    assert not [a for _, a in tree.found if any(name.startswith("on") for name in a)]
    assert "<script" not in md_text
    assert "</td" not in md_text
    for block in re.findall(r"(?:^\|.*\n)+", md_text, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_json_cannot_end_its_element():
    value = {"a": "</script><!--&", "b": float("nan")}
    text = embedded_json(value)
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"a": "</script><!--&", "b": None}


@pytest.mark.parametrize("text", ["a|b", "*a*", "_a_", "`a`", "[a](b)", "a\\", "# a", "$a$", "~a~"])
def test_markdown_marks_are_escaped(text):
    marks = re.findall(r"[\\`*_\[\]|~#$]", text)
    assert len(re.findall(r"\\[\\`*_\[\]|~#$]", markdown.escape(text))) == len(marks)


def test_markdown_has_one_line():
    assert markdown.escape(" a\n\n# b\t<c> & d") == " a \\# b &lt;c&gt; &amp; d"


def whole(tmp_path):
    """A folder with everything: every figure, neurons, videos, two experiments, two seeds."""
    put(tmp_path / "mnist_mlp", metrics(), *texts.FIGURES, panels={"mlp-relu": {"dense1-relu": [panel()]}})
    put(tmp_path / "mnist_mlp" / "seed1", metrics(seed=1))
    put(tmp_path / "cifar10_cnn", metrics("cifar10_cnn"), "window", "window-twice")
    for name, head in (("neuron_a.gif", b"GIF89a"), ("neuron_a.mp4", FILM), ("neuron_b.gif", b"GIF89a")):
        (tmp_path / "mnist_mlp" / name).write_bytes(head)
    return tmp_path


def test_the_report_is_always_the_same(tmp_path):
    first = written(whole(tmp_path))
    assert written(tmp_path) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md", "REPORT.md", "cifar10_cnn", "evidence.csv", "mnist_mlp", "papers", "report.html",
    ]  # fmt: skip


def test_every_link_leads_somewhere(tmp_path):
    html_text, md_text = written(whole(tmp_path))
    page_text = (tmp_path / "README.md").read_text()
    links = [unquote(link) for link in re.findall(r"\]\(([^)]+)\)", md_text + page_text)]
    links.remove("../docs/runs.md")
    assert len(links) >= 2 + 1 + len(texts.FIGURES) + 2 - 1  # tables of evidence, figures, films
    assert [link for link in links if not (tmp_path / link).exists()] == []
    tree = Tree(html_text)
    ids = {attributes["id"] for _, attributes in tree.found if "id" in attributes}
    anchors = [a["href"] for a in tree.all("a")]
    assert anchors
    assert [anchor for anchor in anchors if anchor.removeprefix("#") not in ids] == []


def test_what_runs_at_the_papers_scale_drew_themselves_is_linked(tmp_path):
    put(tmp_path / "mnist_mlp", metrics(), "quantization")
    put(tmp_path / "cifar10_cnn", metrics("cifar10_cnn", preset=made.preset("reduced")), "quantization")
    (line,) = (one for one in _figures_page(tmp_path) if one.startswith(texts.OWN))
    assert line == f"{texts.OWN} [mnist\\_mlp/quantization.png](mnist_mlp/quantization.png)."


def test_a_picture_that_is_shown_is_not_linked(tmp_path, monkeypatch):
    monkeypatch.setattr(report.pictures, "FIGURES", {})
    put(tmp_path / "mnist_mlp", metrics(), "window")
    assert not any(line.startswith(texts.OWN) for line in _figures_page(tmp_path))


def _figures_page(results):
    written(results)
    return (results / "README.md").read_text(encoding="utf-8").splitlines()


def test_the_page_is_self_contained(tmp_path):
    html_text, _ = written(whole(tmp_path))
    tree = Tree(html_text)
    pictures = [a["src"] for a in tree.all("img") if "src" in a]
    assert len(pictures) == len(texts.FIGURES) + 1
    assert all(source.startswith(("data:image/png;base64,", "data:image/gif;base64,")) for source in pictures)
    assert base64.b64decode(pictures[0].split(",")[1])[:8] == gather.PNG_SIGNATURE
    (video,) = tree.all("video")  # the .gif of the same neuron is not shown twice
    assert base64.b64decode(video["src"].split(",")[1]) == FILM
    assert "autoplay" not in video
    assert set(re.findall(r"https?://[^\"' )]*", html_text)) == {"http://www.w3.org/2000/svg"}
    assert tree.all("link") == []
    policy = next(a["content"] for a in tree.all("meta") if "http-equiv" in a)
    for kind, text in (("style", tree.raw["style"][0]), ("script", tree.raw["script"][1])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'; img-src data:; media-src data:; style-src" in policy
    assert "base-uri 'none'; form-action 'none'" in policy
    assert not [a for _, a in tree.found if "style" in a]  # the policy would not apply it


def test_the_page_can_be_read_by_everyone(tmp_path):
    html_text, _ = written(whole(tmp_path))
    tree = Tree(html_text)
    levels = [int(tag[1]) for tag, _ in tree.found if re.fullmatch(r"h[1-6]", tag)]
    content = levels[:-1]  # the dialog's heading comes last
    assert content.count(1) == 1
    assert content[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(content))
    ids = [attributes["id"] for _, attributes in tree.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert all(a.get("alt") for a in tree.all("img") if "src" in a)
    assert all(a.get("scope") in ("row", "col") for a in tree.all("th"))
    labelled = {a["for"] for a in tree.all("label")}
    assert {a["id"] for tag, a in tree.found if tag in ("select", "input")} == labelled
    assert {"header", "main", "nav"} <= {tag for tag, _ in tree.found}
    assert all(
        a.get("tabindex") == "0" and a.get("aria-label")
        for a in tree.all("div")
        if a.get("class") == "scroll"
    )


def test_what_is_too_large_is_linked(tmp_path, monkeypatch):
    monkeypatch.setattr(report.pictures, "FIGURES", {})
    put(tmp_path / "mnist_mlp", metrics(), "quantization", "window")
    (tmp_path / "mnist_mlp" / "neuron_a.mp4").write_bytes(FILM + b"0" * 2_000_000)
    monkeypatch.setattr(page, "EMBEDDED", 1.5 * len(png()))
    html_text, _ = written(tmp_path)
    tree = Tree(html_text)
    assert len([a for a in tree.all("img") if "src" in a]) == 1
    links = [a["href"] for a in tree.all("a") if not a["href"].startswith("#")]
    assert links == ["mnist_mlp/window.png", "mnist_mlp/neuron_a.mp4"]
    assert len(html_text) < 200_000


def test_the_page_of_the_committed_results(tmp_path):
    """A page over what this repository shows, written elsewhere: whole, and small enough for a mail."""
    contents = document.build(gather.find(ROOT / "figures"), claims.assess)
    text = page.render(contents)
    assert Tree(text).all("img")
    assert len(text) < 10_000_000
    links = re.findall(r"\]\(([^)]+)\)", markdown.report(contents) + markdown.figures(contents))
    assert [link for link in links if not (ROOT / "figures" / unquote(link)).exists()] == []


# Single neurons -------------------------------------------------------------------------------------


@pytest.fixture
def records_path(tmp_path):
    """A dense layer of 6 neurons and a map of 3, each with snapshots of 3 neurons at 4 moments."""
    rng = np.random.default_rng(0)
    shapes = {"dense": (6,), "map": (2, 2, 3)}
    chosen = selection.select(shapes, 40, snapshots=selection.Snapshots(neurons=3, positions=4))
    writer = RecordsWriter(tmp_path / "r.h5")
    writer.create(chosen, np.zeros(40, int), np.arange(40), "float32", {})
    for recording in (0, 1, 3, 7):
        values = {"dense": rng.normal(size=(40, 3)), "map": rng.normal(size=(40, 3, 4))}
        writer.append_snapshot(recording, values)
    signs = {}
    for layer, shape in (("dense", (40, 6)), ("map", (40, 3, 4))):
        nonzero = rng.integers(1, 9, shape)
        signs[layer] = rng.integers(-nonzero, nonzero + 1), nonzero
    writer.finish([(5 * t, 0, 5 * t, 1.0, 1 / (t + 3)) for t in range(8)], signs)
    return tmp_path / "r.h5"


def test_extracted_neurons_are_the_panels(records_path):
    found = panels.extract(records_path, neurons=2, seed=4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    with Records(records_path) as records:
        for layer, pairs in (("dense", 40), ("map", 160)):
            units = dynamics.random_units(records, layer, 2, seed=4)
            assert [one["unit"] for one in found[layer]] == units
            for one, unit in zip(found[layer], units, strict=True):
                truth = dynamics.panels(dynamics.read(records, layer, [unit])[0], range(4))
                np.testing.assert_allclose(one["edges"], truth["edges"], rtol=1e-3)
                for moment, true in zip(one["moments"], truth["moments"], strict=True):
                    rounded = ("accuracy", "auc")
                    assert {k: v for k, v in moment.items() if k not in rounded} == {
                        k: v for k, v in true.items() if k not in rounded
                    }
                    for name in rounded:
                        assert moment[name] == pytest.approx(true[name], rel=1e-3)
                    assert sum(moment["low"]) + sum(moment["high"]) + one["undefined"] == pairs
                assert one["average_sign"]["counts"] == truth["average_sign"]["counts"]
    assert list(panels.extract(records_path, layers=["map"])) == ["map"]


def test_what_is_written_can_be_drawn_and_is_small(records_path, tmp_path):
    path = tmp_path / "neurons.json"
    found = {"one": panels.extract(records_path), "two": panels.extract(records_path, layers=["dense"])}
    neurons.write(path, found)
    whole_size = path.stat().st_size
    value = json.loads(path.read_text())
    assert value["networks"] == found
    assert neurons.problem(value) is None
    for wrong in (1.2, "half", -0.1):
        bad = json.loads(path.read_text())
        bad["networks"]["one"]["map"][0]["moments"][1]["auc"] = wrong
        assert "auc of map of one" in neurons.problem(bad)
    neurons.write(path, found, limit=whole_size - 1)
    fewer = json.loads(path.read_text())["networks"]
    assert path.stat().st_size < whole_size
    assert [len(p) for layers in fewer.values() for p in layers.values()] == [2, 2, 2]
    assert fewer["one"]["map"] == found["one"]["map"][:2]
    with pytest.raises(ValueError, match="one neuron of every layer takes more than 10 bytes"):
        neurons.write(path, found, limit=10)


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.pop("edges"),
        lambda p: p["edges"].pop(),
        lambda p: p["moments"].clear(),
        lambda p: p["moments"][0].pop("top"),
        lambda p: p["moments"][0]["low"].append(1),
        lambda p: p["moments"][0]["low"].__setitem__(0, -1),
        lambda p: p["moments"][0]["low"].__setitem__(0, 0.5),
        lambda p: p["moments"][0].update(step="0"),
        lambda p: p["edges"].__setitem__(0, None),
        lambda p: p["average_sign"].update(counts=None),
        lambda p: p["edges"].reverse(),
        lambda p: p.update(low_share="half"),
    ],
)
def test_damaged_neurons_are_not_drawn(damage):
    value = {"schema": neurons.SCHEMA, "networks": {"n": {"l": [panel()]}}}
    assert neurons.problem(value) is None
    damage(value["networks"]["n"]["l"][0])
    assert "is damaged" in neurons.problem(value)


def test_a_file_of_another_kind_holds_no_neurons():
    for value in (None, [], {"networks": {}}, {"schema": "x", "networks": {}}):
        assert "is not of the schema" in neurons.problem(value)
    assert "is damaged" in neurons.problem({"schema": neurons.SCHEMA, "networks": [1]})
    assert "is damaged" in neurons.problem({"schema": neurons.SCHEMA, "networks": {"n": {"l": []}}})


def test_provenance_says_when_each_kind_of_numbers_was_measured(tmp_path):
    value = metrics()
    stamps = {"derivatives": ("d1", "c1"), "dynamics": ("d1", "c1"), "window": ("d2", "c2")}
    value["networks"]["mlp-relu"]["measured"] = {
        kind: {"created": created, "commit": commit} for kind, (created, commit) in stamps.items()
    }
    put(tmp_path / "mnist_mlp", value)
    pairs = dict(provenance.pairs(gather.find(tmp_path).groups[0].main))
    expected = "derivatives, dynamics of d1, commit c1; window of d2, commit c2"
    assert pairs["numbers of mlp-relu"] == expected
