"""The numbers of finished runs: against loops, as tables, and kept beside the networks."""

import json
import types

import numpy as np
import pytest

from keras_neuronlevel import measures, runs


def curve(kind, **numbers):
    return {"kind": kind, "accuracy": [0.25, None], "baseline_accuracy": 0.5, **numbers}


NETWORKS = {
    "mlp-relu": {
        "layers": {
            "dense1-relu": {
                "derivatives": {
                    "constant_share": {"mean": 0.125},
                    "above_0.9_share": {"mean": 0.25},
                    "mean_abs": {"mean": 0.375},
                    "low_share": {"mean": None, "std": None},
                    "class_consistency": {"below_10_percent": 0.5, "above_90_percent": None},
                    "undefined_share": 0.0625,
                },
                "quantization": curve("quantization", ranks=[0, 50], zero_rank={"mean": 79.2, "std": 8.7}),
                "window": curve("window", centers=[5, 95], converged=True),
                "window-twice-the-budget": curve("window", centers=[5, 95], converged=False),
            }
        }
    }
}


def test_tables_show_every_number():
    signs, quantized, window, twice = measures.tables(NETWORKS).split("\n\n")
    assert signs.splitlines()[-1].split() == (
        ["dense1-relu", "0.125", "0.250", "0.375", "-", "±", "-", "0.500", "0.062"]
    )
    assert "0: 0.250  50: -" in quantized and "79 ± 9" in quantized
    assert window.splitlines()[-1].endswith("yes") and "5: 0.250  95: -" in window
    assert twice.startswith("twice the budget") and twice.endswith("not all")


def test_tables_of_nothing_are_empty():
    assert measures.tables({"mlp-relu": {"layers": {"dense1-relu": {}}}}) == ""


@pytest.fixture
def run(tmp_path):
    return types.SimpleNamespace(name="net", model_path=tmp_path / "net.keras")


def test_an_evaluation_is_computed_once(run):
    def compute(done, keep):
        return {"accuracy": np.float32(0.5), "left_out": np.nan}

    first = runs.evaluated(run, "window", "dense1", {"seed": 0}, compute)
    assert first == {"accuracy": 0.5, "left_out": None}
    assert runs.evaluated(run, "window", "dense1", {"seed": 0}, None) == first


def test_an_interrupted_evaluation_goes_on(run):
    def interrupted(done, keep):
        assert done == {}
        keep("5/0", {"accuracy": 0.75})
        raise KeyboardInterrupt

    def resumed(done, keep):
        return {"found": done}

    with pytest.raises(KeyboardInterrupt):
        runs.evaluated(run, "window", "dense1", {"seed": 1 / 3}, interrupted)
    found = runs.evaluated(run, "window", "dense1", {"seed": 1 / 3}, resumed)
    assert found == {"found": {"5/0": {"accuracy": 0.75}}}


def test_other_settings_are_computed_anew(run):
    def compute(done, keep):
        assert done == {}
        return {"answer": 2}

    runs.evaluated(run, "window", "dense1", {"seed": 0}, lambda done, keep: keep("5/0", 1) or {})
    assert runs.evaluated(run, "window", "dense1", {"seed": 1}, compute) == {"answer": 2}
    kept = json.loads((run.model_path.parent / "net.window.dense1.json").read_text())
    assert kept["config"] == {"seed": 1} and kept["done"] == {}
