"""Curves as pandas data frames: every row against the curve's own arrays."""

import math
import sys

import numpy as np
import pytest

from keras_neuronlevel.evaluation import QuantizationCurve, WindowCurve

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
