"""Curves, claims and seeds as pandas data frames: every row against what it was made of."""

import csv
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_neuronlevel import claims, report
from keras_neuronlevel.evaluation import QuantizationCurve, WindowCurve
from keras_neuronlevel.results import seeds as over_seeds

FIGURES = Path(__file__).parents[1] / "figures"
pandas = pytest.importorskip("pandas")


def quantization(metric="accuracy", ranks=(10, 50, 100)):
    values = np.linspace(0.1, 0.9, len(ranks))
    injected = np.zeros((len(ranks), 2))
    return QuantizationCurve(
        layer="dense1-relu",
        ranks=np.array(ranks, float),
        score=values,
        loss=np.append(np.nan, values[1:]),
        baseline_score=0.95,
        baseline_loss=0.2,
        zero_rank=np.array([30.0, 70.0]),
        thresholds=injected,
        low=injected,
        high=injected,
        chance=0.1,
        n_test=7,
        n_calibration=5,
        calibrated_on="given images",
        exact_percentiles=True,
        seed=0,
        metric=metric,
    )


def window(metric="accuracy", centers=(5, 55), repeats=2):
    scores = np.arange(1, 1 + len(centers) * repeats).reshape(len(centers), repeats) / 10
    names = ["baseline", *map(str, centers)]
    fits = {name: [{"converged": (i + r) % 2 == 0} for r in range(repeats)] for i, name in enumerate(names)}
    return WindowCurve(
        layer="dense1-relu",
        centers=np.array(centers, float),
        width=10.0,
        readout="retrain",
        repeats=scores,
        baseline=np.linspace(0.91, 0.92, repeats),
        original_score=0.95,
        chance=0.1,
        fits=fits,
        budget={},
        n_train=10,
        n_test=7,
        n_calibration=5,
        seed=0,
        metric=metric,
    )


@pytest.mark.parametrize("ranks", [(10, 50, 100), (0,)])
@pytest.mark.parametrize("metric, name", [("accuracy", "accuracy"), ("r2", "score")])
def test_each_rank_has_a_row(ranks, metric, name):
    curve = quantization(metric, ranks)
    frame = curve.to_dataframe()
    assert len(frame) == len(ranks) and ("metric" in frame) == (metric == "r2")
    for i, row in enumerate(frame.to_dict("records")):
        assert (row["layer"], row["rank"], row[name]) == ("dense1-relu", ranks[i], curve.score[i])
        assert row["loss"] == curve.loss[i] or (math.isnan(row["loss"]) and math.isnan(curve.loss[i]))
        assert (row[f"baseline_{name}"], row["baseline_loss"], row["chance"]) == (0.95, 0.2, 0.1)


@pytest.mark.parametrize("centers", [(5, 55), (50,)])
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("metric, name", [("accuracy", "accuracy"), ("r2", "score")])
def test_each_readout_has_a_row(centers, repeats, metric, name):
    curve = window(metric, centers, repeats)
    rows = iter(curve.to_dataframe().to_dict("records"))
    for r in range(repeats):
        row = next(rows)
        assert math.isnan(row["center"]) and (row["repeat"], row[name]) == (r, curve.baseline[r])
        assert row["converged"] == curve.fits["baseline"][r]["converged"]
    for c, center in enumerate(centers):
        for r in range(repeats):
            row = next(rows)
            assert (row["center"], row["repeat"], row[name]) == (center, r, curve.repeats[c, r])
            assert row["converged"] == curve.fits[str(center)][r]["converged"]
            assert (row["layer"], row["readout"], row["width"]) == ("dense1-relu", "retrain", 10)
            assert (row[f"original_{name}"], row["chance"]) == (0.95, 0.1)
    assert next(rows, None) is None


def test_they_survive_a_csv_file(tmp_path):
    for curve in (quantization(), window()):
        frame = curve.to_dataframe()
        frame.to_csv(tmp_path / "curve.csv", index=False)
        pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "curve.csv"), frame)


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    for curve in (quantization(), window()):
        with pytest.raises(ImportError, match="pip install pandas"):
            curve.to_dataframe()


@pytest.mark.parametrize("seeds", [[1], [0, 1, 2]])
def test_each_number_of_each_seed_has_a_row(seeds):
    runs = over_seeds.load(FIGURES / "mnist_mlp", seeds)
    networks = over_seeds.aggregate(runs)
    rows = over_seeds.to_dataframe(networks).to_dict("records")
    count = 0
    for network, found in networks.items():
        for seed, run in zip(seeds, runs, strict=True):
            accuracy = run["networks"][network]["training"]["test_accuracy"]
            mine = [r for r in rows if (r["network"], r["quantity"]) == (network, "test accuracy")]
            assert [r["value"] for r in mine if r["seed"] == seed] == [accuracy]
        assert not any(isinstance(r["layer"], str) for r in mine)
        count += len(seeds)
        for layer, numbers in found["layers"].items():
            for quantity, summary in numbers.items():
                mine = [r for r in rows if (r["layer"], r["quantity"]) == (layer, quantity)]
                mine = [r for r in mine if r["network"] == network]
                assert [(r["seed"], r["value"]) for r in mine] == list(
                    zip(summary["seeds"], summary["values"], strict=True)
                )
                count += len(mine)
    assert count == len(rows) > 10


def test_a_network_without_numbers_has_no_row():
    frame = over_seeds.to_dataframe({"mlp-relu": {"test_accuracy": None, "layers": {"dense1-relu": {}}}})
    assert list(frame) == ["network", "layer", "quantity", "seed", "value"] and frame.empty


def test_each_measurement_has_a_row_and_is_that_of_the_evidence():
    found = claims.assess(over_seeds.load(FIGURES / "mnist_mlp", [0, 1, 2]))
    rows = claims.to_dataframe(found).to_dict("records")
    pieces = [(one, piece) for one in found for piece in one.evidence]
    assert len(rows) == len(pieces) > 100
    for row, (one, piece) in zip(rows, pieces, strict=True):
        assert (row["claim"], row["label"]) == (one.claim.id, one.label)
        for name, value in vars(piece).items():
            assert row[name] == value or value is None or value != value, name
    assert claims.to_dataframe(claims.assess([])).empty


def test_the_frame_of_all_runs_has_the_rows_of_evidence_csv():
    found = report.gather.find(FIGURES)
    contents = report.document.build(found, claims.assess)
    frame = claims.to_dataframe([one.assessment for one in contents.findings])
    with open(FIGURES / "evidence.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert list(frame) == list(written[0]) and len(frame) == len(written)
    for row, cells in zip(frame.to_dict("records"), written, strict=True):
        assert cells["claim"] == row["claim"] and cells["quantity"] == row["quantity"]
        assert cells["effect"] == ("" if math.isnan(row["effect"]) else f"{row['effect']:.6g}") or (
            cells["effect"] == "nan"
        )
