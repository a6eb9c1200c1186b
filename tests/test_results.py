"""metrics.json: what is refused where it is written, what is read, what is kept; tables of its numbers."""

import json
import re
from pathlib import Path

import made
import numpy as np
import pytest

from keras_neuronlevel import papers, results
from keras_neuronlevel.results import forms, schema, tables

ROOT = Path(__file__).parents[1]
KNOWN = papers.EXPERIMENTS["mnist_mlp"].network("relu")


def head(**more):
    data = {"name": "mnist", "source": "here", "digest": "d"}
    return {
        "experiment": "mnist_mlp",
        "preset": made.preset("quick"),
        "scale": "small",
        "stand_in": None,
        "seed": 0,
        "provenance": {"data": data, "created": "now", "commit": "a"},
        **more,
    }


# Writing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*schema.NUMBERS, results.TWICE])
def test_a_missing_or_misspelt_number_is_refused_where_it_is_written(kind, tmp_path):
    metrics = results.Metrics(tmp_path / "metrics.json", **head())
    metrics.begin("mlp-relu", KNOWN, training={})
    numbers = made.numbers(schema.kind_of(kind))
    metrics.keep("mlp-relu", "dense1-relu", kind, numbers)
    for row in schema.NUMBERS[schema.kind_of(kind)]:
        if row.name != schema.MORE:
            *parents, key = row.name.split("/")
            damaged = json.loads(json.dumps(numbers))
            place = damaged
            for parent in parents:
                place = place[parent]
            place[f"{key}_"] = place.pop(key)
            with pytest.raises(ValueError, match=rf"{kind}.* lacks '{key}'"):
                metrics.keep("mlp-relu", "dense1-relu", kind, damaged)
    with pytest.raises(ValueError, match="'derivative' is no kind of numbers"):
        metrics.keep("mlp-relu", "dense1-relu", "derivative", numbers)


def test_a_number_that_the_schema_does_not_know_is_refused():
    numbers = made.numbers("derivatives")
    with pytest.raises(ValueError, match="has 'mean_ab', which the schema does not know; nearest: mean_abs"):
        results.check("derivatives", {**numbers, "mean_ab": made.spread(0.5)})
    results.check("derivatives", {**numbers, "later": 1}, complete=False)
    results.check("derivatives", {}, complete=False)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("mean_abs", 0.5, "derivatives/mean_abs should be an object; it is 0.5"),
        ("neurons", True, "derivatives/neurons should be a whole number from 0 on; it is True"),
        (
            "undefined_share",
            "0",
            "derivatives/undefined_share should be a number from 0 to 1, or null; it is",
        ),
        ("mean_abs", made.spread(1.5), "derivatives/mean_abs/mean should be a number from 0 to 1, or null"),
        ("neurons", -1, "derivatives/neurons should be a whole number from 0 on; it is -1"),
        ("neurons", 10**40, "derivatives/neurons should be a whole number from 0 on; it is 10000"),
        ("mean_abs", {**made.spread(0.5), "neurons": 1.5}, "derivatives/mean_abs/neurons should be a whole"),
    ],
)
def test_a_number_of_another_form_is_refused(name, value, what):
    with pytest.raises(ValueError, match=what):
        results.check("derivatives", made.put(made.numbers("derivatives"), [name], value), complete=False)


def test_everything_that_claims_and_tables_want_is_in_the_schema():
    with pytest.raises(ValueError, match="dynamics has no number 'change/au'; nearest: change/auc"):
        results.path("dynamics", "change/au")
    assert results.path("dynamics", "change/auc") == ("dynamics", "change", "auc")


def test_networks_of_the_same_run_stay(tmp_path):
    path = tmp_path / "metrics.json"
    first = results.Metrics(path, **head())
    for label in ("one", "two"):
        first.begin(label, KNOWN, training={"rate": 1 / 3})
        first.keep(label, "dense1", "derivatives", made.numbers("derivatives"))
    first.write()
    again = results.Metrics(path, **head(provenance={**head()["provenance"], "commit": "b"}))
    again.begin("one", KNOWN, training={"rate": 1 / 3})
    again.keep("one", "dense1", "quantization", made.numbers("quantization"))
    again.keep("one", "dense1", "derivatives", made.numbers("derivatives"))
    again.write(complete=True)
    found = results.read(path)
    assert found["complete"] and list(found["networks"]) == ["one", "two"]
    assert set(found["networks"]["one"]["layers"]["dense1"]) == {"derivatives", "quantization"}
    stamps = {kind: stamp["commit"] for kind, stamp in found["networks"]["one"]["measured"].items()}
    assert stamps == {"derivatives": "a", "quantization": "b"}
    changed = made.numbers("derivatives", {"neurons": 2})
    again.keep("one", "dense1", "derivatives", changed)
    assert again.networks["one"]["measured"]["derivatives"]["commit"] == "b"
    again.begin("one", KNOWN, training={"rate": 0.5})
    assert again.networks["one"]["layers"] == {}, "trained otherwise: nothing is kept"


OTHERS = [
    ({"seed": 1}, "of seed 0, and this one is of seed 1"),
    ({"preset": made.preset("paper")}, "of preset quick, and this one is of preset paper"),
    ({"scale": "large"}, "of scale small, and this one is of scale large"),
    ({"stand_in": "mnist32"}, "of stand-in None, and this one is of stand-in mnist32"),
    ({"experiment": "cifar10_cnn"}, "of experiment mnist_mlp, and this one is of experiment cifar10_cnn"),
    ({"provenance": {"data": {"name": "mnist", "digest": "e"}}}, "of data's digest d, and this one is of"),
]


@pytest.mark.parametrize(("other", "words"), OTHERS)
@pytest.mark.parametrize("finished", [False, True])
def test_a_run_of_other_settings_is_left_as_it_is(other, words, finished, tmp_path):
    path = tmp_path / "metrics.json"
    first = results.Metrics(path, **head())
    if finished:
        first.begin("one", KNOWN, training={})
        first.write(complete=True)
    first.claim()
    before = path.read_bytes()
    assert json.loads(before)["complete"] == finished, "claiming changes no file that is there"
    with pytest.raises(ValueError, match=f"{path} holds a run {words}.*; give another --output-dir, or move"):
        results.Metrics(path, **head(**other))
    assert path.read_bytes() == before


def test_a_damaged_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "metrics.json"
    for damaged in ("", "[]", "{}", json.dumps({**made.mnist(), "networks": {"one": 3}})):
        path.write_text(damaged)
        with pytest.raises(
            ValueError, match=f"^{path} .*; give another --output-dir, or move that file away"
        ):
            results.Metrics(path, **head())
        assert path.read_text() == damaged


@pytest.mark.parametrize("key", ["sha256", "preprocessing"])
def test_numbers_of_another_network_of_the_same_name_are_left_as_they_are(key, tmp_path):
    path = tmp_path / "metrics.json"
    network = {"title": "net.keras", "sha256": "a" * 64, "preprocessing": "unit"}
    first = results.Metrics(path, **head())
    first.begin("net", KNOWN, network=network)
    first.keep("net", "dense1", "quantization", made.numbers("quantization"))
    first.write()
    again = results.Metrics(path, **head())
    again.begin("net", KNOWN, network=network)
    with pytest.raises(ValueError, match=f"holds numbers of net with {key} {network[key]}, and now it has"):
        again.begin("net", KNOWN, network={**network, key: "b"})


# Reading --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted((ROOT / "figures").rglob("*metrics.json")), ids=str)
def test_committed_files_are_read_and_hold_nothing_unknown(path):
    """They may be older than a number, and so lack it."""
    value = results.read(path)
    for network in value["networks"].values():
        for numbers in network["layers"].values():
            for kind, found in numbers.items():
                form = schema.form(schema.kind_of(kind))
                problems = list(schema.problems(found, form, kind, complete=True))
                assert all(" lacks " in problem for problem in problems), problems
    assert results.of_value(value) == value


def test_what_labels_said_is_said_in_fields():
    found = results.read(ROOT / "figures" / "cifar10_cnn" / "metrics.json")
    linear = found["networks"]["cnn-linear"]
    assert (linear["activation"], linear["family"], linear["owner"]) == ("linear", "cnn", "papers")
    assert linear["roles"]["last"] == ["stage3layer2-linear"]
    assert found["preset"] == made.preset("paper")
    ours = results.read(ROOT / "figures" / "cifar10_resnet" / "metrics.json")["networks"]["resnet-relu"]
    assert ours["owner"] == "ours"
    folder = ROOT / "figures" / "imagenet_resnet50"
    given = results.read(folder / "standin-resnet50-v15-metrics.json")["networks"]["resnet50-v15"]
    assert given["owner"] == "stand-in" and given["roles"] == {"stem": ["conv1_relu"]}


DENSE = ("networks", "mlp-relu", "layers", "dense1-relu")


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (("preset",), "paper", "it/preset should be an object"),
        (("preset", "size"), None, "it/preset/size should be a whole number"),
        (("networks", "mlp-relu", "roles"), {"last": 3}, "it/networks/mlp-relu/roles/last should be a list"),
        (DENSE, 3, "dense1-relu should be an object"),
        (
            (*DENSE, "quantization"),
            {"ranks": 5},
            "layer 'dense1-relu' of mlp-relu: quantization lacks 'kind'",
        ),
        (
            (*DENSE, "quantization", "chance"),
            None,
            "quantization/chance should be a number from 0 to 1; it is None",
        ),
        (
            (*DENSE, "quantization", "accuracy"),
            [1.5],
            r"quantization/accuracy\[0\] should be a number from 0 to",
        ),
        ((*DENSE, "window", "centers"), [105.0], r"window/centers\[0\] should be a number from 0 to 100"),
        (
            ("networks", "mlp-relu", "training", "test_accuracy"),
            7.5,
            "training/test_accuracy should be a numb",
        ),
        (("networks", "mlp-relu", "training", "seconds"), [], "training/seconds should be an object"),
        ((*DENSE, "window", "fits"), {"5": 3}, "window/fits/5 should be a list; it is 3"),
        ((*DENSE, "dynamics", "auc"), [1], r"dynamics/auc\[0\] should be an object; it is 1"),
        ((*DENSE, "derivatives", "low_share", "interval"), "01", "interval should be two numbers or null"),
    ],
)
def test_what_could_not_be_assessed_or_shown_is_damaged(path, value, what):
    with pytest.raises(ValueError, match=f"^is damaged: .*{what}"):
        results.of_value(made.put(made.mnist(), path, value))


def test_a_file_of_a_later_version_is_refused():
    with pytest.raises(ValueError, match="is of version 3; this release reads up to 2"):
        results.of_value(made.mnist() | {"version": 3})


# What is kept ---------------------------------------------------------------------------------------


def test_a_result_is_computed_once(tmp_path):
    def compute(kept, keep):
        assert kept == {}
        return {"accuracy": np.float32(0.5), "left_out": np.nan}

    first = results.Store(tmp_path / "a.json", {"seed": 0}).result(compute)
    assert first == {"accuracy": 0.5, "left_out": None}
    assert results.Store(tmp_path / "a.json", {"seed": 0}).result(None) == first
    again = results.Store(tmp_path / "a.json", {"seed": 0}, forget=True)
    assert again.result(lambda kept, keep: 3) == 3


def test_an_interrupted_computation_goes_on(tmp_path):
    def interrupted(kept, keep):
        assert kept == {}
        keep("5/0", {"accuracy": 0.75})
        raise KeyboardInterrupt

    config = {"seed": 1 / 3, "filters": (2, 4), "nothing": None}
    with pytest.raises(KeyboardInterrupt):
        results.Store(tmp_path / "a.json", config).result(interrupted)
    found = results.Store(tmp_path / "a.json", config).result(lambda kept, keep: {"found": kept})
    assert found == {"found": {"5/0": {"accuracy": 0.75}}}


def test_what_was_made_otherwise_counts_for_nothing(tmp_path):
    results.Store(tmp_path / "a.json", {"seed": 0}).keep("5/0", 1)
    other = results.Store(tmp_path / "a.json", {"seed": 1})
    assert other.kept == {} and other.other == {"seed": 0}
    assert other.result(lambda kept, keep: {"answer": 2}) == {"answer": 2}
    assert json.loads((tmp_path / "a.json").read_text()) == {"config": {"seed": 1}, "result": {"answer": 2}}
    assert results.Store(tmp_path / "a.json", {"seed": 1}).other is None


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "cannot be read (it is empty)"),
        ("{", "cannot be read (Expecting property name"),
        ("[]", "holds list where an object belongs"),
        ("{}", "is damaged: it lacks 'config'"),
        ('{"config": 3}', "is damaged: it/config should be an object; it is 3"),
        ('{"config": {}, "done": []}', "is damaged: it/done should be an object"),
        ('{"config": {}, "5/0": {"accuracy": 7.5}}', "is damaged: it/5/0/accuracy should be a number from 0"),
        ('{"config": {}, "result": {}}', "is damaged: it/result lacks 'accuracy'"),
    ],
)
def test_a_damaged_file_is_named_and_left_as_it_is(text, what, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(text)
    form = {"result": {"accuracy": [forms.SHARE]}, forms.MORE: {"accuracy": forms.SHARE}}
    with pytest.raises(ValueError, match=re.escape(f"{path} {what}") + ".*; delete it, and what it holds"):
        results.Store(path, {}, form=form)
    assert path.read_text() == text
    assert results.Store(path, {}, form=form, forget=True).kept == {}


def test_in_what_configurations_differ(tmp_path):
    results.Store(tmp_path / "a.json", {"seed": 0, "epochs": 5, "same": 1}).keep("5/0", 1)
    other = results.Store(tmp_path / "a.json", {"seed": 0, "epochs": 50, "same": 1, "decay": 0.2})
    assert other.differences == "epochs (5, now 50), decay (None, now 0.2)"
    assert results.Store(tmp_path / "b.json", {"seed": 0}).differences == ""


def test_files_of_earlier_versions_are_taken_up(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"config": {}, "done": {"5/0": 1}, "result": 2}))
    assert results.Store(tmp_path / "a.json", {}).kept == {"5/0": 1, "result": 2}


# Tables ---------------------------------------------------------------------------------------------

TABLE = tables.Table(
    "a caption", ("network", "layer", "a|b"), (("mlp", "dense1", "0.5"), ("m", "d", "1,250"))
)


def test_a_table_in_three_forms():
    assert TABLE.text() == "network  layer     a|b\nmlp      dense1    0.5\nm        d       1,250\n"
    assert TABLE.csv() == "network,layer,a|b\nmlp,dense1,0.5\nm,d,1250\n"
    assert TABLE.markdown() == (
        "| network | layer | a\\|b |\n| --- | --- | ---: |\n| mlp | dense1 | 0.5 |\n| m | d | 1,250 |"
    )


def test_tables_show_what_columns_name():
    numbers = made.layer(
        derivatives={"low_share": made.spread(0.25), "undefined_share": None, "neurons": 1234},
        quantization={"accuracy": [0.125, *[None] * 10], "zero_rank/quartiles": [1.0, 20.0, 30.0]},
    )
    networks = {"mlp": {"layers": {"dense1": {**numbers, results.TWICE: numbers["window"]}}}}
    (signs,) = tables.signs(networks)
    row = dict(zip(signs.head, signs.rows[0], strict=True))
    assert row["|s| > 0.9"] == "0.800 [0.790, 0.810]" and row["low share ± std. dev."] == "0.250 ± 0.100"
    assert row["neurons"] == "1,234" and row["undefined"] == "–"
    (dynamics,) = tables.dynamics(networks)
    assert dynamics.rows[0][2:4] == ("0.550 [0.540, 0.560]", "0.800 [0.790, 0.810]")
    (zero,) = tables.zero_rank(networks)
    assert zero.rows == (("mlp", "dense1", "80.0", "5.000", "1.000 20.0 30.0", "512"),)
    assert tables.quantization(networks)[0].rows[0][2:5] == ("0.980", "0.125", "–")
    captions = [table.caption for table in tables.window(networks)]
    assert captions[1] == "Test accuracy by centre of the window, twice the budget"
    text = tables.text(networks)
    assert all(caption in text for caption in (*captions, signs.caption))


def test_tables_of_nothing_are_empty():
    assert tables.text({"mlp-relu": {"layers": {"dense1-relu": {}}}}) == ""
    older = {"layers": {"dense1-relu": {"derivatives": {"mean_abs": made.spread(0.5)}}}}
    assert tables.signs({"mlp-relu": older})[0].rows[0][2:5] == ("–", "–", "–"), "what is lacking is a dash"


def test_readouts_that_did_not_converge_are_counted():
    fits = {"5": [{"converged": True}, {"converged": False}]}
    layer = {"window": made.numbers("window", {"fits": fits})}
    note = tables.window({"mlp": {"layers": {"dense1": layer}}})[0].note
    assert note.endswith("Of 2 readouts 1 had converged; the others ran into their limit.")
