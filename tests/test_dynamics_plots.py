"""Pictures of single neurons: bars are the counts given, marks are there, nothing overlaps."""

import types

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from keras_neuronlevel import plots, selection
from keras_neuronlevel.plots import style
from keras_neuronlevel.protocol import figures
from keras_neuronlevel.records import RecordsWriter


def moment(step=30, **counts):
    counts = {"low": [1, 4, 0], "high": [0, 2, 6], "top": [0, 0, 3], **counts}
    return {"recording": 3, "step": step, "epoch": 1, "accuracy": 0.5, **counts}


def watched(layer="dense1-relu", unit=7, steps=(0, 30, 23441)):
    return {
        "layer": layer,
        "unit": unit,
        "edges": [-1.0, 0.0, 1.0, 2.0],
        "moments": [moment(step) for step in steps],
        "top_share": 0.1,
    }


def subtask(layer="dense1-relu", unit=7):
    shares = [0.25, None, *[0.5] * 7, 0.875]
    return {
        "layer": layer,
        "unit": unit,
        **moment(),
        "edges": [-1.0, 0.0, 1.0, 2.0],
        "slope": {"p": [-1.0, 0.0, 0.1, 2.0], "value": [0.0, 0.0, 1.0, 1.0]},
        "decile_edges": [-1.0, 0.0, 0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 2.0],
        "high_share": shares,
        "decile_pairs": [1] * 10,
    }


def stairs(ax):
    """(colour, data) of what is filled, lightly or not."""
    return [
        (to_hex(patch.get_facecolor()).upper(), patch.get_data()) for patch in ax.patches if patch.get_fill()
    ]


def outlines(ax):
    return {
        to_hex(patch.get_edgecolor()).upper(): patch.get_data()
        for patch in ax.patches
        if not patch.get_fill()
    }


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def words_overlap(figure):
    """Titles, axis labels and notes that lie over each other."""
    texts = [figure._supxlabel, *(ax.title for ax in figure.axes)]
    texts += [label for ax in figure.axes for label in (ax.xaxis.label, ax.yaxis.label)]
    texts = [text for text in texts if text is not None and text.get_text()]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    boxes += [("legend", legend.get_window_extent()) for legend in figure.legends]
    return [
        (a, b)
        for i, (a, box) in enumerate(boxes)
        for b, other in boxes[i + 1 :]
        if box.x0 < other.x1 and other.x0 < box.x1 and box.y0 < other.y1 and other.y0 < box.y1
    ]


def test_bars_are_the_counts():
    ax = Figure().subplots()
    assert plots.pre_activation_histogram(ax, [-1, 0, 1, 2], moment(), "step 30") is ax
    filled, lines = dict(stairs(ax)), outlines(ax)
    assert set(filled) == {style.LOW_COLOUR, style.TOP_COLOUR}  # two fills that overlap make a third colour
    assert filled[style.LOW_COLOUR].values.tolist() == lines[style.LOW_COLOUR].values.tolist() == [1, 4, 0]
    assert lines[style.HIGH_COLOUR].values.tolist() == [0, 2, 6]
    assert filled[style.TOP_COLOUR].values.tolist() == [0, 0, 3]
    assert all(list(data.edges) == [-1, 0, 1, 2] for data in (*filled.values(), *lines.values()))
    assert [text.get_text() for text in ax.texts] == []
    plots.pre_activation_histogram(ax, [-1, 0, 1, 2], moment(auc=0.876), "step 30")
    assert [text.get_text() for text in ax.texts] == ["AUC 0.88"]
    assert ax.get_xlim() == (-1, 2) and ax.get_ylim()[1] > 6 and ax.get_title() == "step 30"


FILLS = (style.LOW_COLOUR, style.HIGH_COLOUR, style.TOP_COLOUR)


def test_an_empty_panel_has_a_height_and_says_so():
    ax = Figure().subplots()
    plots.pre_activation_histogram(ax, [0, 1], {"low": [0], "high": [0]}, "")
    assert ax.get_ylim()[1] > 0 and [text.get_text() for text in ax.texts] == ["no pairs"]
    assert style.TOP_COLOUR not in [colour for colour, _ in stairs(ax)]


def test_the_three_colours_differ_in_brightness():
    def brightness(colour):
        return np.dot([0.299, 0.587, 0.114], [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])

    values = sorted(map(brightness, FILLS))
    assert min(np.diff(values)) > 0.15


def test_rows_are_neurons_and_columns_moments():
    neurons = [watched(), watched("dense2-relu", 8, steps=(0, 5))]
    figure = drawn(plots.dynamics_grid(neurons, title="Watching", note="mnist; seed 0"))
    assert [ax.axison for ax in figure.axes] == [True] * 5 + [False]
    assert [ax.get_title() for ax in figure.axes] == (
        ["step 0, epoch 1", "step 30, epoch 1", "step 23,441, epoch 1", ""]  # as above it
        + ["step 5, epoch 1", ""]
    )
    assert figure.axes[0].get_ylabel() == "dense1-relu\nneuron 7"
    assert figure.axes[3].get_ylabel() == "dense2-relu\nneuron 8"
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3 and "highest 10% of 'high'" in legend.get_texts()[2].get_text()
    assert legend.get_title().get_text() == "Watching" and "mnist; seed 0" in figure.get_supxlabel()
    assert words_overlap(figure) == []


def test_subtasks_against_the_activation():
    figure = Figure()
    upper, lower = figure.subplots(2, 1)
    slope = plots.subtask_panels(upper, lower, subtask(), "dense1-relu, neuron 7")
    assert slope.lines[0].get_xdata().tolist() == [-1, 0, 0.1, 2]
    assert slope.lines[0].get_ydata().tolist() == [0, 0, 1, 1] and slope.get_ylim() == (0, 1.1)
    assert upper.get_xlim() == lower.get_xlim() == slope.get_xlim() == (-1, 2)
    bars = dict(stairs(lower))
    low, high = bars[style.LOW_COLOUR], bars[style.HIGH_COLOUR]
    assert low.baseline == high.baseline == 0.5 and list(low.edges) == subtask()["decile_edges"]
    np.testing.assert_array_equal(low.values, [0.25, *[np.nan] * 9])
    np.testing.assert_array_equal(high.values, [*[np.nan] * 9, 0.875])
    assert [line.get_ydata() for line in lower.lines] == [[0.5, 0.5]]
    assert style.TOP_COLOUR not in [colour for colour, _ in stairs(upper)]


def test_a_slope_below_zero_is_drawn_whole():
    neuron = subtask()
    neuron["slope"]["value"] = [-0.2, 0.0, 1.0, 1.0]
    slope = plots.subtask_panels(*Figure().subplots(2, 1), neuron, "")
    assert slope.get_ylim() == pytest.approx((-0.22, 1.1))


def test_a_slope_of_zero_everywhere_is_drawn():
    neuron = subtask()
    neuron["slope"]["value"] = [0.0] * 4
    slope = plots.subtask_panels(*Figure().subplots(2, 1), neuron, "")
    assert slope.get_ylim()[1] > 0


def test_subtask_grid_places_every_neuron():
    rows = [[subtask(), subtask("dense2-relu", 8)], [subtask("dense1-linear", 9)]]
    figure = drawn(plots.subtask_grid(rows, title="Subtasks", note="seed 0"))
    titles = [ax.get_title() for ax in figure.axes[:8]]
    assert titles == (
        ["dense1-relu, neuron 7", "dense2-relu, neuron 8", "", "", "dense1-linear, neuron 9", "", "", ""]
    )
    assert [ax.axison for ax in figure.axes[:8]] == [True] * 5 + [False, True, False]
    assert len(figure.legends[0].get_texts()) == 3
    assert words_overlap(figure) == []


@pytest.mark.parametrize(("layer", "count"), [("dense1-relu", 1), ("stage3layer2-linear", 4)])
def test_words_have_room_in_few_and_in_many_panels(layer, count):
    watching = plots.dynamics_grid(
        [watched(layer, 123, steps=range(count))] * count, title="Watching neurons learn", note="seed 0 " * 20
    )
    subtasks = plots.subtask_grid([[subtask(layer, 123)] * count] * 2, title="Subtasks", note="seed 0 " * 20)
    for figure in (drawn(watching), drawn(subtasks)):
        assert words_overlap(figure) == []
        legend = figure.legends[0].get_window_extent()
        assert legend.x0 >= 0 and legend.x1 <= figure.bbox.width


def test_nothing_to_draw_is_said():
    for draw, content in ((plots.dynamics_grid, []), (plots.subtask_grid, []), (plots.subtask_grid, [[]])):
        with pytest.raises(ValueError, match="there are no neurons to draw"):
            draw(content, title="", note="")


@pytest.mark.parametrize(
    ("edges", "counts", "message"),
    [
        ([0, 0], {}, "do not ascend"),
        ([0], {}, "do not ascend"),
        ([], {}, "no edges"),
        ([-1, 0, 1, np.nan], {}, "edges cannot be drawn"),
        ([-1, 0, 1, 2], {"low": [1, 4]}, "2 counts of 'low', where 3 belong"),
        ([-1, 0, 1, 2], {"top": [1, -4, 0]}, "counts of 'top' cannot be drawn, such as -4"),
    ],
)
def test_histograms_that_would_be_blank_are_refused(edges, counts, message):
    with pytest.raises(ValueError, match=message):
        plots.pre_activation_histogram(Figure().subplots(), edges, moment(**counts), "")


def test_a_neuron_without_categories_says_so():
    neuron = subtask() | {"high_share": [None] * 10, "decile_edges": [None] * 11}
    upper, lower = Figure().subplots(2, 1)
    plots.subtask_panels(upper, lower, neuron, "")
    assert [text.get_text() for text in lower.texts] == ["no defined pairs"]


def test_moments_that_are_none_are_refused():
    neuron = watched(steps=(0, 30))
    figure = plots.video_figure(neuron, 480, 320)
    for i in (-1, 2, 0.5):
        with pytest.raises(ValueError, match=f"the moment is {i}; give a whole number"):
            plots.draw_frame(figure, neuron, i)


def test_a_videos_frames_keep_their_places():
    neuron = watched(steps=(0, 30, 70, 900))
    neuron["moments"][1]["accuracy"] = None
    figure = plots.video_figure(neuron, 480, 320)
    canvas = FigureCanvasAgg(figure)
    places, dots = [], []
    for i in range(4):
        plots.draw_frame(figure, neuron, i)
        canvas.draw()
        places.append([ax.get_position().bounds for ax in figure.axes])
        dots.append([float(value[0]) for value in figure.axes[1].lines[-1].get_data()])
        assert f"step {(0, 30, 70, 900)[i]}, epoch 1" in figure.axes[0].get_title()
        assert len(figure.axes[0].patches) == 4
        assert words_overlap(figure) == []
    assert canvas.get_width_height() == (480, 320)
    assert places.count(places[0]) == 4
    np.testing.assert_array_equal(dots, [[0, 0.5], [1, np.nan], [2, 0.5], [3, 0.5]])
    assert figure.axes[1].get_title(loc="left") == "training accuracy, of the recorded samples: 50.0%"


# From records to files -----------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """Two networks of two layers, 40 samples, 3 snapshots of 4 neurons."""
    found = []
    for activation in ("relu", "linear"):
        layers = [f"dense1-{activation}", f"dense2-{activation}"]
        rng = np.random.default_rng(0)
        writer = RecordsWriter(tmp_path / f"{activation}.h5")
        chosen = selection.select(dict.fromkeys(layers, (6,)), 40, snapshots=selection.Snapshots(neurons=4))
        writer.create(chosen, np.zeros(40, int), np.arange(40), "float16", {})
        for recording in (0, 1, 2):
            writer.append_snapshot(recording, {layer: rng.normal(size=(40, 4)) for layer in layers})
        signs = {layer: (rng.integers(-3, 4, (40, 6)), np.full((40, 6), 3)) for layer in layers}
        writer.finish([(t, 0, t, 1.0, 0.5) for t in range(3)], signs)
        label = f"mlp-{activation}"
        path = tmp_path / f"{activation}.h5"
        found.append(types.SimpleNamespace(label=label, records_path=path, shown=layers))
    return found


def test_figures_of_runs(runs, tmp_path, monkeypatch):
    """One neuron a layer, the same in both figures; drawn again, they are the same to the byte."""
    folder, seen = tmp_path / "figures", {}
    options = {"note": "seed 3", "prefix": "tiny-", "seed": 3}
    with monkeypatch.context() as patch:
        for name in ("dynamics_grid", "subtask_grid"):
            patch.setattr(
                plots, name, lambda content, name=name, **_: seen.update({name: content}) or Figure()
            )
        figures.dynamics_figures(runs, folder, **options)
    layers = ["dense1-relu", "dense2-relu", "dense1-linear", "dense2-linear"]
    assert [neuron["layer"] for neuron in seen["dynamics_grid"]] == layers
    rows = seen["subtask_grid"]
    assert [[neuron["layer"] for neuron in row] for row in rows] == [layers[:2], layers[2:]]
    units = [neuron["unit"] for neuron in seen["dynamics_grid"]]
    assert [neuron["unit"] for row in rows for neuron in row] == units
    drawings = []
    for _ in range(2):
        figures.dynamics_figures(runs[:1], folder, **options)
        drawings.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert sorted(drawings[0]) == ["tiny-dynamics.png", "tiny-subtasks.png"]
    assert drawings[0] == drawings[1] and min(map(len, drawings[0].values())) > 5000


def test_figures_of_some_layers_and_several_neurons(runs, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(plots, "subtask_grid", lambda rows, **kw: seen.extend(rows) or Figure())
    for run in runs:
        run.shown = run.shown[1:]
    figures.dynamics_figures(runs, tmp_path, note="", neurons=2)
    assert [[neuron["layer"] for neuron in row] for row in seen] == [
        ["dense2-relu"] * 2,
        ["dense2-linear"] * 2,
    ]
    assert all(row[0]["unit"] < row[1]["unit"] for row in seen)
    for run in runs:
        run.shown = ["dense7"]
    with pytest.raises(ValueError, match="there are no neurons to draw"):
        figures.dynamics_figures(runs, tmp_path, note="")
