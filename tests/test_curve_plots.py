import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_neuronlevel.plots.curves import (
    accuracy_by_rank,
    accuracy_by_window,
    accuracy_grid,
)

ZERO = {"mean": 62.5, "std": 11.0, "quartiles": [50.0, 60.0, 70.04], "neurons": 7}
RANKS = {
    "kind": "quantization",
    "layer": "dense1-relu",
    "ranks": [0.0, 50.0, 100.0],
    "accuracy": [0.1, 0.8, 0.1],
    "zero_rank": ZERO,
    "baseline_accuracy": 0.9,
    "chance": 0.11,
}
WINDOWS = {
    "kind": "window",
    "layer": "dense1-relu",
    "centers": [5.0, 50.0, 95.0],
    "accuracy": [0.9, 0.6, 0.8],
    "repeats": [[0.88, 0.92], [0.5, 0.7], [0.8, 0.8]],
    "baseline_accuracy": 0.95,
    "chance": 0.11,
}


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_quantization_panel_shows_the_numbers():
    ax = accuracy_by_rank(Figure().subplots(), RANKS, "a layer")
    found = lines(ax)
    np.testing.assert_array_equal(found["quantized"].get_xydata(), [[0, 0.1], [50, 0.8], [100, 0.1]])
    assert found["network as it is"].get_ydata()[0] == 0.9 and found["chance"].get_ydata()[0] == 0.11
    assert found["rank of zero ± std. dev."].get_xdata()[0] == 62.5
    band = ax.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == (51.5, 73.5)
    assert len({line.get_linestyle() for line in found.values()}) == 4  # told apart without colour
    assert ax.get_title() == "a layer"


def test_window_panel_shows_every_repeat():
    ax = accuracy_by_window(Figure().subplots(), WINDOWS, "a layer")
    mean = lines(ax)["binarized window"]
    assert lines(ax)["readout of all of p"].get_ydata()[0] == 0.95
    np.testing.assert_array_equal(mean.get_xydata(), [[5, 0.9], [50, 0.6], [95, 0.8]])
    marks = [line.get_ydata() for line in ax.get_lines() if line.get_marker() == "_"]
    np.testing.assert_array_equal(marks, [[0.88, 0.5, 0.8], [0.92, 0.7, 0.8]])


def test_grid_has_a_row_per_network_and_leaves_missing_places_empty():
    other = RANKS | {"layer": "dense2-relu"}
    figure = accuracy_grid({"relu": [RANKS, other], "linear": [RANKS]}, title="t", note="n")
    axes = np.array(figure.axes).reshape(2, 2)
    assert [ax.get_title() for ax in axes.flat] == ["dense1-relu", "dense2-relu", "dense1-relu", ""]
    assert not axes[1, 1].axison
    assert axes[1, 0].get_ylabel() == "linear\ntest accuracy"
    assert len(figure.legends) == 1


def test_wrong_curves_are_refused():
    ax = Figure().subplots()
    with pytest.raises(ValueError, match="a window curve; a quantization curve is expected"):
        accuracy_by_rank(ax, WINDOWS, "")
    with pytest.raises(ValueError, match="this is list"):
        accuracy_by_window(ax, [1, 2], "")
    for curves in ([], [RANKS, WINDOWS]):
        with pytest.raises(ValueError, match="of one kind"):
            accuracy_grid({"relu": curves}, title="", note="")
