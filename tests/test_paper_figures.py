"""The papers' figures from the numbers at hand: what is drawn against what the numbers say."""

import dataclasses

import made
import numpy as np
import pytest
from made import CENTERS, mnist
from matplotlib.backends.backend_agg import FigureCanvasAgg

from keras_neuronlevel.plots import papers as drawing
from keras_neuronlevel.plots.papers import Row
from keras_neuronlevel.plots.style import UndrawableError
from keras_neuronlevel.report import pictures, shown
from keras_neuronlevel.report.gather import Group, Picture, Run
from keras_neuronlevel.results import tables


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
    ties = np.mean([h == l for h in np.repeat(np.arange(7), high) for l in np.repeat(np.arange(7), low)])  # noqa: E741
    assert pictures.auc(low, high) == pytest.approx((np.mean(pairs), ties / 2))
    assert np.isnan(pictures.auc([0, 0], [1, 2])).all()


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        ({"low": [9, 1, 0], "high": [0, 0, 10]}, "AUC 1.00 ± 0.00"),
        ({"low": [8, 2, 0], "high": [0, 2, 8]}, "AUC 0.98 ± 0.02"),
        ({"low": [0, 10, 0], "high": [0, 10, 0]}, "AUC: bins too coarse"),
        ({"low": [0, 10, 0], "high": [0, 10, 0], "auc": 0.731}, "AUC 0.73"),
        ({"low": [0, 0, 0], "high": [0, 10, 0], "auc": None}, "a category is empty"),
    ],
)
def test_an_area_says_how_much_the_bins_leave_open(moment, words):
    assert pictures._auc(moment) == words


def test_a_panel_tells_the_mean_area_of_its_layer_at_its_snapshot(tmp_path):
    one = group(tmp_path, (0, 1))
    for run, areas in zip(one.runs, ([0.5, 0.55, 0.7], [0.51, 0.56, 0.72]), strict=True):
        for network in run.networks.values():
            for layer in network["layers"].values():
                layer["dynamics"] |= {"recordings": [0, 7, 39], "auc": list(map(made.spread, areas))}
    for panels in one.main.neurons["networks"]["mlp-relu"].values():
        panels[0]["moments"][0] |= {"low": [0, 10, 0], "high": [0, 10, 0]}
    first, last = (ax.texts[0].get_text() for ax in pictures.FIGURES["dynamics"]([one]).axes[:2])
    assert first == "AUC: bins too coarse\nlayer: 0.50 to 0.51"
    assert last == "AUC 0.99 ± 0.01\nlayer: 0.70 to 0.72"
    for run in one.runs:
        del run.networks["mlp-relu"]["layers"]["dense2-relu"]["dynamics"]
    first = pictures.FIGURES["dynamics"]([one]).axes[0].texts[0].get_text()
    assert first == "AUC: bins too coarse", "of an older run"


def test_panels_of_tenths_tell_the_difference_that_the_claim_asks_for(tmp_path):
    one = group(tmp_path, (0, 1))
    for run, difference, neurons in zip(one.runs, (-0.065, 0.011), (9, 8), strict=True):
        for network in run.networks.values():
            for layer in network["layers"].values():
                subtask, tenths = layer["dynamics"]["subtask"], [made.spread(0.6, neurons=neurons)] * 10
                subtask |= {"difference": made.spread(difference), "accuracy_by_decile": tenths}
                upper = {"accuracy_difference": made.spread(-difference), "accuracy_by_decile": tenths}
                subtask["all_negative"] |= upper
    figure = pictures.FIGURES["subtasks"]([one])
    texts = [ax.texts[0].get_text() for ax in figure.axes if ax.texts]
    assert texts.count("p > 0 over p < 0:\n-6.5 to +1.1 points") == 2
    assert texts.count("upper over lower tenths:\n-1.1 to +6.5 points") == 2
    assert "Neurons: 8 to 9 of dense1-relu, 8 to 9 of dense2-relu, 8 to 9 of dense1-sigmoid" in caption(
        figure
    )


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


def test_the_strip_draws_every_seed_cuts_nothing_and_counts_readouts(tmp_path):
    one = group(tmp_path, (0, 1, 2))
    for run in one.runs[:2]:
        for network in run.networks.values():
            for layer in network["layers"].values():
                layer["window"]["fits"] = {"5": [{"converged": run is one.main}]}
                layer["quantization"]["accuracy"][1] = 0.07  # below chance
    for network in one.runs[2].networks.values():
        for layer in network["layers"].values():
            del layer["window"]
    figure = pictures.FIGURES["strip"]([one])
    FigureCanvasAgg(figure).draw()
    kept, dip = figure.axes[2:4]
    assert kept.get_ylim()[0] < min(min(line.get_ydata()) for line in kept.lines) < 0
    assert sum(len(line.get_xdata()) == len(CENTERS) for line in dip.lines) == 6 * 2
    assert "Windows: seeds 0, 1, 10 windows a layer, 6 of 12 readouts converged." in caption(figure)
    assert figure.get_figwidth() == pictures.FIGURES["signs"]([one]).get_figwidth()
    assert not any(ax.get_legend() for ax in figure.axes), "it would lie on lines"
    titles = [ax.title.get_window_extent() for ax in figure.axes]
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height for box in titles)


def test_windows_are_drawn_where_a_layer_has_none_and_words_stand_beside_rank_50(tmp_path):
    one = cifar_group(tmp_path)
    for label in one.main.networks:
        del one.main.networks[label]["layers"][f"stage2layer2-{label.removeprefix('cnn-')}"]["window"]
    axes = pictures.FIGURES["window"]([one]).axes
    assert [ax.axison for ax in axes] == [True, False, True] * 2
    for ax in (ax for ax in axes if ax.axison):
        (text,) = ax.texts
        assert text.get_ha() == "left" and text.get_position()[0] > 50


def test_rows_that_are_not_at_the_papers_scale_are_tinted(tmp_path):
    full, small = group(tmp_path), group(tmp_path, preset=made.preset("reduced"))
    colours = [pictures.FIGURES["window"]([one]).axes[0].get_facecolor() for one in (full, small)]
    assert colours[0] == (1, 1, 1, 1) and colours[1] != colours[0]
    text = shown.note([small], "window")
    assert "seed 0, 10,000 test images" in text and "the papers' scale," not in text


def test_captions_say_which_readouts_converged(tmp_path):
    one = group(tmp_path)
    for network in one.main.networks.values():
        for layer in network["layers"].values():
            layer["window"]["fits"] = {"5": [{"converged": False}], "95": [{"converged": True}]}
    assert "6 of 12 readouts converged" in shown.note([one], "window")


def test_signs_of_the_clipped_loss_stand_beside_where_they_were_recorded(tmp_path):
    one, words = group(tmp_path), "clipped 30 % (20 %)"
    before = [text.get_text() for ax in pictures.FIGURES["signs"]([one]).axes for text in ax.texts]
    shares = {"left_out/constant_share": made.spread(0.3), "counted/constant_share": made.spread(0.2)}
    one.main.networks["mlp-relu"]["layers"]["dense2-relu"]["clipped"] = made.numbers("clipped", shares)
    figure = pictures.FIGURES["signs"]([one])
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert not any("clipped" in text for text in before)
    assert sum(words in text.splitlines() for text in texts) == 1 and len(texts) == len(before)
    later = dataclasses.replace(one.main, metrics={**one.main.metrics, "seed": 4})
    figure = pictures.FIGURES["signs"]([Group(group(tmp_path).main, (later,))])
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    own = one.main.networks["mlp-relu"]["layers"]["dense2-relu"]["derivatives"]["constant_share"]["mean"]
    own = tables.span([own], ".0%")
    assert sum(f"seed 4: {own}, {words}" in text.splitlines() for text in texts) == 1


@pytest.mark.parametrize("name", ["signs", "average_sign_all_neurons"])
def test_a_layer_without_any_sign_is_drawn_and_says_so(tmp_path, name):
    one = group(tmp_path)
    for network in one.main.networks.values():
        network["training"] = {**(network["training"] or {}), "recordings": 1}
        for layer in network["layers"].values():
            none = {"histogram": [0, 0], "undefined_share": 1.0}
            no_share = {**made.spread(0.5), "mean": None, "interval": None}
            none |= {"above_0.9_share": no_share, "constant_share": no_share}
            layer["derivatives"] |= none
    texts = [text.get_text() for ax in pictures.FIGURES[name]([one]).axes for text in ax.texts]
    assert texts and all(f"|s|>0.9{' in' * (name != 'signs') or ':'} –" in text for text in texts)
    assert all("undefined" in text for text in texts)


@pytest.mark.parametrize(("share", "words"), [(0.134, "(13 % of pairs undefined)"), (0.004, None), (0, None)])
def test_pairs_that_are_undefined_are_told(tmp_path, share, words):
    one = group(tmp_path)
    for network in one.main.networks.values():
        for layer in network["layers"].values():
            layer["derivatives"]["undefined_share"] = share
    texts = [text.get_text() for ax in pictures.FIGURES["signs"]([one]).axes for text in ax.texts]
    told = [line for text in texts for line in text.splitlines() if "undefined" in line]
    assert told == ([words] * len(texts) if words else [])


def cifar_group(tmp_path, preset="paper", networks=("cnn-relu", "cnn-linear"), seeds=(0,), **more):
    """A CIFAR-10 run, with some of its networks."""
    runs = []
    for seed in seeds:
        value = made.cifar(preset=made.preset(preset), scale=f"{preset}: epochs", seed=seed, **more)
        value["networks"] = {label: value["networks"][label] for label in networks}
        panels = {
            label: {layer: [neuron()] for layer in n["layers"]} for label, n in value["networks"].items()
        }
        runs.append(Run(preset, tmp_path / preset, "", value, neurons={"networks": panels}))
    return Group(runs[0], tuple(runs[1:]))


def row_titles(figure):
    """The words at the left end of each row, without the axis' name."""
    return [ax.get_ylabel().rsplit("\n", 1)[0] for ax in figure.axes if ax.get_ylabel()]


def caption(figure):
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


@pytest.mark.parametrize("place", ["signs", "quantization", "window"])
@pytest.mark.parametrize("together", [False, True])
def test_a_network_at_the_papers_scale_leaves_out_its_other_rows(place, together, tmp_path):
    """Of the networks that were run at both scales, not of others, and as folders or seeds of one."""
    small, full = cifar_group(tmp_path, "reduced", seeds=(0, 1)), cifar_group(tmp_path, networks=["cnn-relu"])
    groups = [Group(small.main, (*small.others, full.main))] if together else [small, full]
    draw = pictures.FIGURES[place]
    assert row_titles(draw([small])) == ["cnn-relu\n(reduced)", "cnn-linear\n(reduced)"]
    for found in (groups, groups[::-1]):
        figure = draw([*found, group(tmp_path)])
        assert sorted(row_titles(figure)) == [
            "cnn-linear\n(reduced)", "cnn-relu", "mlp-linear", "mlp-relu", "mlp-sigmoid"
        ]  # fmt: skip
    words = caption(draw(groups))
    assert words.count("CIFAR-10 convolutional network: ") == 2
    assert "network: the papers' scale" in words and "network: reduced: epochs" in words
    everything = caption(draw([small, cifar_group(tmp_path)]))
    assert "network: the papers' scale" in everything and "reduced" not in everything


@pytest.mark.parametrize("place", ["signs", "quantization", "window"])
def test_of_presets_of_one_size_the_one_that_trains_longer_is_shown(place, tmp_path):
    small, longer = cifar_group(tmp_path, "reduced"), cifar_group(tmp_path, "quarter", networks=["cnn-relu"])
    for one, epochs in ((small, 5), (longer, 25)):
        for network in one.main.networks.values():
            network["training"] = {**network["training"], "config": {"epochs": epochs}}
    for groups in ([small, longer], [longer, small]):
        assert sorted(row_titles(pictures.FIGURES[place](groups))) == [
            "cnn-linear\n(reduced)", "cnn-relu\n(quarter)"
        ]  # fmt: skip
        assert shown.largest(groups, "cifar10_cnn").main is longer.main


def test_a_mark_of_zero_for_each_seed_whose_windows_are_drawn(tmp_path):
    def marks(figure):
        ax = next(ax for ax in figure.axes if ax.get_title() == "dense1-relu")
        return [line.get_xdata()[0] for line in ax.lines if line.get_marker() == "^"]

    found = group(tmp_path, seeds=(0, 3, 4))
    for run, rank in zip(found.runs, (40.0, 50.0, 60.0), strict=True):
        for network in run.networks.values():
            for layer in network["layers"].values():
                layer["quantization"] = {**layer["quantization"], "zero_rank": {"mean": rank, "std": 1.0}}
    del found.runs[1].networks["mlp-relu"]["layers"]["dense1-relu"]["window"]
    assert marks(pictures.FIGURES["window"]([found])) == [40, 60]


def test_no_mark_of_zero_where_its_rank_is_one_among_other_images(tmp_path):
    """A probe that learns other data has its windows among these."""
    found = group(tmp_path)
    for network in found.main.networks.values():
        for layer in network["layers"].values():
            layer["window-transfer"] = layer.pop("window")
    figure = pictures.FIGURES["window"]([found])
    assert figure.axes and not [line for ax in figure.axes for line in ax.lines if line.get_marker() == "^"]


def test_a_caption_counts_what_its_rows_show(tmp_path):
    """Readouts and windows of the networks that are left, at their own number of centres."""
    small, full = cifar_group(tmp_path, "reduced"), cifar_group(tmp_path, networks=["cnn-relu"])
    for one in (small, full):
        for network in one.main.networks.values():
            for window in (layer["window"] for layer in network["layers"].values()):
                window["fits"] = {"5": [{"converged": one is full}]}
    first = full.main.networks["cnn-relu"]["layers"]["stage0layer0-relu"]["window"]
    first["centers"], first["accuracy"] = [5.0, 50.0, 95.0], [0.9, 0.5, 0.9]
    words = caption(pictures.FIGURES["window"]([small, full]))
    assert "3 to 10 windows a layer, 3 of 3 readouts converged" in words
    assert "10 windows a layer, 0 of 3 readouts converged" in words


def test_a_row_stays_where_the_papers_scale_has_not_measured_it(tmp_path):
    small, full = cifar_group(tmp_path, "reduced"), cifar_group(tmp_path, complete=False)
    for network in full.main.networks.values():
        for layer in network["layers"].values():
            del layer["window"]
    assert row_titles(pictures.FIGURES["window"]([full, small])) == [
        "cnn-relu\n(reduced)", "cnn-linear\n(reduced)"
    ]  # fmt: skip
    figure = pictures.FIGURES["quantization"]([full, small])
    assert row_titles(figure) == ["cnn-relu\n(unfinished)", "cnn-linear\n(unfinished)"]
    assert "unfinished." in caption(figure)


def test_a_stand_in_is_drawn_where_there_is_nothing_else(tmp_path):
    stand_in, full = cifar_group(tmp_path, stand_in="mnist32: scaled"), cifar_group(tmp_path)
    draw = pictures.FIGURES["quantization"]
    assert row_titles(draw([stand_in])) == ["cnn-relu\n(stand-in)", "cnn-linear\n(stand-in)"]
    assert row_titles(draw([stand_in, full])) == ["cnn-relu", "cnn-linear"]
    assert shown.largest([stand_in], "cifar10_cnn") is None
    assert shown.largest([stand_in, full], "cifar10_cnn").main is full.main


def test_class_consistency_is_drawn_from_the_histograms(tmp_path):
    one, draw = group(tmp_path), pictures.FIGURES["class_consistency"]
    for network in one.main.networks.values():
        for layer in network["layers"].values():
            layer["derivatives"]["class_consistency"] |= {
                "pairs": 8, "undefined": 2, "histogram": [3, 1, 2, 2], "below_10_percent": 0.25,
                "above_90_percent": 0.2,
            }  # fmt: skip
    figure = draw([one])
    panel = figure.axes[0]
    assert [bar.get_height() for bar in panel.patches] == [37.5, 12.5, 25, 25]
    assert panel.texts[0].get_text() == "below 10 %, above 90 %: 25 % + 20 %\n20.0% undefined"
    older = group(tmp_path)
    for network in older.main.networks.values():
        for layer in network["layers"].values():
            del layer["derivatives"]["class_consistency"]["histogram"]
    assert draw([older]) is None
    picture = Picture("class_consistency", tmp_path / "x.png", 1, 1)
    drawn = Group(dataclasses.replace(older.main, pictures=(picture,)))
    assert draw([drawn, cifar_group(tmp_path)]) is None, "the older experiment's own picture stays"
    elsewhere = Group(dataclasses.replace(one.main, folder=tmp_path / "reduced"))
    assert draw([drawn, elsewhere]) is None, (
        "also beside newer numbers of the same experiment at another scale"
    )
    assert draw([one, cifar_group(tmp_path)]) is not None
    newer = Group(dataclasses.replace(one.main, pictures=(picture,)))
    assert draw([newer]) is not None, "its own picture is not needed"
    later = dataclasses.replace(one.main, metrics={**one.main.metrics, "seed": 4})
    seeds = draw([Group(dataclasses.replace(older.main, pictures=(picture,)), (later,))])
    assert figure.axes[0].get_title() == "dense1-relu, seed 0"
    assert seeds.axes[0].get_title() == "dense1-relu, seed 4"
    below = [text.get_text() for text in seeds.texts]
    assert any("seed 4" in text for text in below) and not any("seed 0" in text for text in below)


def test_average_signs_of_all_neurons_are_of_the_first_seed_that_kept_them(tmp_path):
    one, draw = group(tmp_path), pictures.FIGURES["average_sign_all_neurons"]
    for network in one.main.networks.values():
        network["training"] = {**(network["training"] or {}), "recordings": 1}  # s is -1 or 1
        for layer in network["layers"].values():
            layer["derivatives"]["histogram"] = [3, 1]
            layer["derivatives"]["undefined_share"] = 0.2
    figure = draw([one])
    panel = figure.axes[0]
    heights = [bar.get_height() * bar.get_width() for bar in panel.patches]
    np.testing.assert_allclose(heights, [7.5, 2.5])  # per cent for a tenth of s, times widths of 2
    assert panel.texts[0].get_text() == "|s|>0.9 in 80 % of 4 pairs\n(20 % undefined)"
    bare = group(tmp_path)
    for network in bare.main.networks.values():
        for layer in network["layers"].values():
            del layer["derivatives"]["histogram"]
    assert draw([bare]) is None
    wrong = group(tmp_path)
    wrong.main.networks["mlp-relu"]["layers"]["dense1-relu"]["derivatives"]["histogram"] = [1]
    with pytest.raises(UndrawableError, match="counted in 1 bins, and 2350 recordings have 21"):
        draw([wrong])
    later = dataclasses.replace(one.main, metrics={**one.main.metrics, "seed": 4})
    assert any("seed 4" in text.get_text() for text in draw([Group(bare.main, (later,))]).texts)
    picture = Picture("average_sign_all_neurons", tmp_path / "x.png", 1, 1)
    assert draw([Group(dataclasses.replace(bare.main, pictures=(picture,)))]) is None


@pytest.mark.parametrize(
    ("name", "small", "large"),
    [
        ("average_sign_all_neurons", "64 % of", "56 to 58 %"),
        ("class_consistency", "27 % + 29 %", "8 to 9 % + 10 %"),
    ],
)
def test_a_smaller_run_that_is_drawn_tells_the_number_at_the_papers_scale(tmp_path, name, small, large):
    """The larger run kept its shares, and not the histograms."""
    drawn = cifar_group(tmp_path, "reduced", networks=["cnn-relu"])
    full = cifar_group(tmp_path, networks=["cnn-relu"], seeds=(0, 1))
    shares = [(drawn.main, 0.64, 0.27, 0.29), (full.main, 0.56, 0.08, 0.1), (full.others[0], 0.58, 0.09, 0.1)]
    for run, above, low, high in shares:
        network = run.networks["cnn-relu"]
        network["training"] = made.trained(recordings=1)
        for numbers in (layer["derivatives"] for layer in network["layers"].values()):
            numbers |= {"above_0.9_share": made.spread(above), "histogram": [3, 1], "undefined_share": 0}
            ends = {"below_10_percent": low, "above_90_percent": high, "histogram": [3, 1], "undefined": 0}
            numbers["class_consistency"] |= ends
            if run is not drawn.main:
                del numbers["histogram"], numbers["class_consistency"]["histogram"]
    draw = pictures.FIGURES[name]
    alone, beside = draw([drawn]), draw([full, drawn])
    for figure in (alone, beside):
        assert row_titles(figure) == ["cnn-relu\n(reduced)"]
        assert all(small in ax.texts[0].get_text().splitlines()[0] for ax in figure.axes)
    assert all(len(ax.texts[0].get_text().splitlines()) == 1 for ax in alone.axes)
    assert all(ax.texts[0].get_text().endswith(f"\npapers' scale, 2 seeds: {large}") for ax in beside.axes)
    assert "Tinted" in caption(beside) and "Tinted" not in caption(alone)


def test_numbers_in_panels_are_of_all_seeds(tmp_path):
    one = group(tmp_path, (0, 1, 2))
    for run, share in zip(one.runs, (0.605, 0.61, 0.6), strict=True):
        for network in run.networks.values():
            for layer in network["layers"].values():
                layer["derivatives"] |= {
                    "above_0.9_share": made.spread(share),
                    "constant_share": made.spread(0.2),
                }
    figure = pictures.FIGURES["signs"]([one])
    for ax in figure.axes:
        assert ax.texts[0].get_text().startswith("|s|>0.9: 60 to 61 %, 3 seeds\n|s|=1: 20 %")
    assert "seeds 0, 1, 2" in caption(figure)


def test_a_figure_whose_numbers_are_gone_is_taken_away(tmp_path):
    pictures.write([group(tmp_path)], tmp_path)
    assert (tmp_path / "papers" / "window.png").exists()
    pictures.write([], tmp_path)
    assert not list((tmp_path / "papers").iterdir())


def test_nothing_to_draw():
    assert all(make([]) is None for make in pictures.FIGURES.values())
    with pytest.raises(ValueError, match="there are no panels"):
        drawing.window([Row("x", True, [])], "")
