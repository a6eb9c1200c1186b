"""The papers' figures from the numbers at hand: what is drawn against what the numbers say."""

import numpy as np
import pytest
from made import CENTERS, mnist
from matplotlib.backends.backend_agg import FigureCanvasAgg

from keras_neuronlevel.plots import papers as drawing
from keras_neuronlevel.plots.papers import Row
from keras_neuronlevel.report import pictures
from keras_neuronlevel.report.gather import Group, Run


def neuron(unit=3):
    def moment(step, low, high):
        return {"recording": step, "step": step, "epoch": 0, "low": low, "high": high, "top": [0, 0, 1]}

    return {
        "unit": unit,
        "edges": [-1.0, 0.0, 1.0, 2.0],
        "moments": [moment(0, [5, 5, 0], [0, 6, 4]), moment(39, [9, 1, 0], [0, 2, 8])],
        "average_sign": {"edges": np.linspace(-1, 1, 22).tolist(), "counts": [2] * 10 + [1] + [2] * 10},
    }


def group(tmp_path, seeds=(0,), **more):
    runs = []
    for seed in seeds:
        value = mnist(seed=seed, **more)
        panels = {
            label: {layer: [neuron()] for layer in network["layers"]}
            for label, network in value["networks"].items()
        }
        runs.append(Run("x", tmp_path, "", value, neurons={"networks": panels}))
    return Group(runs[0], tuple(runs[1:]))


@pytest.mark.parametrize("seed", range(5))
def test_the_area_from_bins_is_that_of_the_pairs(seed):
    rng = np.random.default_rng(seed)
    low, high = rng.integers(0, 5, (2, 7))
    low[0] = high[3] = 1
    pairs = [
        (h > l) + (h == l) / 2
        for h in np.repeat(np.arange(7), high)
        for l in np.repeat(np.arange(7), low)  # noqa: E741
    ]
    assert pictures.auc(low, high) == pytest.approx(np.mean(pairs))
    assert np.isnan(pictures.auc([0, 0], [1, 2]))


def test_every_figure_is_drawn_and_the_even_histogram_is_flat(tmp_path):
    groups = [group(tmp_path, (0, 1))]
    figures = {name: make(groups) for name, make in pictures.FIGURES.items()}
    assert all(figure is not None for figure in figures.values())
    for figure in figures.values():
        FigureCanvasAgg(figure).draw()
    heights = [bar.get_height() for bar in figures["signs"].axes[0].patches]
    np.testing.assert_allclose(heights[:21], heights[0])  # two values a bin, one in the middle: no gap at 0
    assert [ax.get_title() for ax in figures["quantization"].axes[:2]] == ["dense1-relu", "dense2-relu"]
    lines = figures["window"].axes[0].lines
    assert sum(len(line.get_xdata()) == len(CENTERS) and line.get_linestyle() == "-" for line in lines) == 2


def test_rows_that_are_not_at_the_papers_scale_are_tinted(tmp_path):
    import made

    full, small = group(tmp_path), group(tmp_path, preset=made.preset("reduced"))
    colours = [pictures.FIGURES["window"]([one]).axes[0].get_facecolor() for one in (full, small)]
    assert colours[0] == (1, 1, 1, 1) and colours[1] != colours[0]
    text = pictures.note([small], "window")
    assert "seed 0, 10,000 test images" in text and "the papers' scale," not in text


def test_captions_say_which_readouts_converged(tmp_path):
    one = group(tmp_path)
    for network in one.main.networks.values():
        for layer in network["layers"].values():
            layer["window"]["fits"] = {"5": [{"converged": False}], "95": [{"converged": True}]}
    assert "6 of 12 readouts converged" in pictures.note([one], "window")


def test_signs_of_the_clipped_loss_stand_beside_where_they_were_recorded(tmp_path):
    import made

    one, words = group(tmp_path), "clipped: =1 30% (20%)"
    before = [text.get_text() for ax in pictures.FIGURES["signs"]([one]).axes for text in ax.texts]
    shares = {"left_out/constant_share": made.spread(0.3), "counted/constant_share": made.spread(0.2)}
    one.main.networks["mlp-relu"]["layers"]["dense2-relu"]["clipped"] = made.numbers("clipped", shares)
    figure = pictures.FIGURES["signs"]([one])
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert not any("clipped" in text for text in before)
    assert [text.splitlines()[1:] for text in texts].count([words]) == 1 and len(texts) == len(before)


def test_nothing_to_draw():
    assert all(make([]) is None for make in pictures.FIGURES.values())
    with pytest.raises(ValueError, match="there are no panels"):
        drawing.window([Row("x", True, [])], "")
