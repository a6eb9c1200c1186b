"""Figures: bars are counts, words are there."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from keras_neuronlevel import plots
from keras_neuronlevel.plots import style


@pytest.fixture
def ax():
    return Figure().subplots()


def heights(ax):
    return [bar.get_height() for bar in ax.patches]


def words(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("shape", [(300,), (100, 3), (50, 3, 2)])
def test_bars_of_average_signs_are_counts(shape, ax):
    s = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    s.ravel()[:4] = [-1, 1, 1, 0]
    assert plots.average_sign_histogram(ax, s, "dense1-relu, neuron 3", 20) is ax
    counts, edges = np.histogram(s, np.linspace(-1.05, 1.05, 22))  # 20 recordings: one bin a value
    np.testing.assert_allclose(heights(ax), 10 * counts / 300 / 0.1)
    np.testing.assert_allclose([bar.get_x() for bar in ax.patches], edges[:-1], atol=1e-9)
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], np.diff(edges))
    assert ax.get_title() == "dense1-relu, neuron 3"
    assert "average sign" in ax.get_xlabel() and ax.get_ylabel()
    assert words(ax) == []


def test_low_and_high_bars_differ_in_colour_and_brightness(ax):
    plots.average_sign_histogram(ax, np.array([-1.0, 0.0, 1.0]), "t", 20)
    colours = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [style.HIGH_COLOUR] * 10 + [style.GREY.upper()] + [style.LOW_COLOUR] * 10
    assert heights(ax)[0] == pytest.approx(heights(ax)[10]) == pytest.approx(heights(ax)[20])

    def brightness(colour):
        r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.299 * r + 0.587 * g + 0.114 * b

    assert abs(brightness(style.HIGH_COLOUR) - brightness(style.LOW_COLOUR)) > 0.25


def test_undefined_pairs_are_said_and_not_drawn(ax):
    plots.average_sign_histogram(ax, np.array([[1, np.nan], [-1, 1], [0.5, 1], [1, 1]]), "t", 20)
    assert sum(heights(ax)) == pytest.approx(100)  # per cent of the seven for a tenth of s, bins of a tenth
    assert words(ax) == ["12.5% undefined"]


def test_a_dead_neuron_draws_an_empty_panel(ax):
    plots.average_sign_histogram(ax, np.full(5, np.nan), "dead", 20)
    assert heights(ax) == [0] * 21 and words(ax) == ["100.0% undefined"]


def test_class_consistency_bars_are_per_cent_in_the_colours_of_the_categories(ax):
    share = np.array([[0, 1, np.nan], [0.49, 0.025, 1]])
    plots.class_consistency_histogram(ax, share, "dense2-relu")
    counts, _ = np.histogram([0, 100, 49, 2.5, 100], np.linspace(0, 100, 41))
    assert heights(ax) == pytest.approx((100 * counts / 5).tolist())
    assert heights(ax)[0] == 20 and heights(ax)[-1] == 40
    colours = [to_hex(bar.get_facecolor()).upper() for bar in ax.patches]
    assert colours == [style.HIGH_COLOUR] * 4 + [style.GREY.upper()] * 32 + [style.LOW_COLOUR] * 4
    assert ax.get_title() == "dense2-relu" and "%" in ax.get_xlabel() and "pairs" in ax.get_ylabel()


def test_training_curves(ax):
    plots.training_curves(ax, {"accuracy": [0.5, 0.75], "val_accuracy": [0.6, 0.8]}, "mlp-relu")
    assert [line.get_xdata().tolist() for line in ax.lines] == [[1, 2], [1, 2]]
    assert [list(line.get_ydata()) for line in ax.lines] == [[0.5, 0.75], [0.6, 0.8]]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["training, while it trains", "test"]
    assert ax.get_title() == "mlp-relu" and ax.get_xlabel() == "epoch"


def test_training_curves_without_validation(ax):
    plots.training_curves(ax, {"accuracy": [0.5]}, "t")
    assert len(ax.lines) == 1


def test_grid_places_every_panel():
    drawn = []

    def draw(ax, value, title):
        drawn.append(value)
        ax.set_title(title)

    figure = plots.grid([[(1, "a"), None, (2, "b")], [(3, "c")]], draw, title="All", note="seed 0")
    assert drawn == [1, 2, 3] and len(figure.axes) == 6
    assert [ax.get_title() for ax in figure.axes] == ["a", "", "b", "c", "", ""]
    assert [ax.axison for ax in figure.axes] == [True, False, True, True, False, False]
    assert figure.get_suptitle() == "All" and figure.get_supxlabel() == "seed 0"


CURVE = {
    "kind": "quantization",
    "layer": "dense1-relu",
    "ranks": [0.0, 50.0],
    "accuracy": [0.1, 0.8],
    "zero_rank": {"mean": 62.5, "std": 11.0},
    "baseline_accuracy": 0.9,
    "chance": 0.11,
}
WINDOW = {**CURVE, "kind": "window", "centers": [5, 95], "repeats": [[0.1], [0.8]]}


def signs_of_twenty(ax, s, title):
    return plots.average_sign_histogram(ax, s, title, 20)


@pytest.mark.parametrize(
    ("draw", "content", "message"),
    [
        (signs_of_twenty, [], "no average signs"),
        (signs_of_twenty, [0.5, 1.5, np.nan], "1 of the 3 average signs .* such as 1.5"),
        (signs_of_twenty, [np.inf], "finite numbers from -1 to 1"),
        (plots.class_consistency_histogram, np.empty((0, 3)), "no shares of a class"),
        (plots.class_consistency_histogram, [[-0.1]], "from 0 to 1"),
        (plots.training_curves, {"accuracy": []}, "no training accuracies"),
        (plots.training_curves, {"accuracy": [0.5, np.nan]}, "such as nan"),
        (
            plots.training_curves,
            {"accuracy": [0.5], "val_accuracy": [0.5, 0.6]},
            "2 test accuracies, where 1",
        ),
        (plots.accuracy_by_rank, {**CURVE, "ranks": [], "accuracy": []}, "no ranks"),
        (plots.accuracy_by_rank, {**CURVE, "ranks": [0, 101]}, "ranks cannot be drawn, such as 101"),
        (
            plots.accuracy_by_rank,
            {**CURVE, "accuracy": [0.5, None]},
            "accuracies cannot be drawn, such as nan",
        ),
        (plots.accuracy_by_rank, {**CURVE, "accuracy": [0.5]}, "1 accuracies, where 2 belong"),
        (plots.accuracy_by_rank, {**CURVE, "chance": 17}, "reference accuracies .* such as 17"),
        (plots.accuracy_by_rank, {**CURVE, "zero_rank": {"mean": None, "std": 1}}, "rank of zero"),
        (plots.accuracy_by_window, {**WINDOW, "repeats": [[0.5], [7.5]]}, "repeats .* such as 7.5"),
        (plots.accuracy_by_window, {**WINDOW, "centers": [np.nan, 95]}, "centers .* such as nan"),
    ],
)
def test_what_would_leave_a_blank_is_refused(ax, draw, content, message):
    with pytest.raises(ValueError, match=message):
        draw(ax, content, "")


def test_a_class_without_signs_is_said(ax):
    plots.class_consistency_histogram(ax, np.full((2, 3), np.nan), "")
    assert words(ax) == ["100.0% undefined"] and sum(heights(ax)) == 0


@pytest.mark.parametrize("rows", [[], [[]]])
def test_a_grid_of_nothing_is_refused(rows):
    with pytest.raises(ValueError, match="there are no panels to draw"):
        plots.grid(rows, None, title="", note="")


@pytest.mark.parametrize("columns", [1, 3])
def test_a_long_note_stays_inside_the_figure(columns):
    draw = plots.average_sign_histogram
    panels = [[(np.array([0.5, -1.0]), "dense", 40)] * columns]
    figure = plots.grid(panels, draw, title="", note="a long note about the run " * 12)
    FigureCanvasAgg(figure).draw()
    drawn = figure._supxlabel.get_window_extent()
    assert drawn.x0 >= 0 and drawn.x1 <= figure.bbox.width
    assert drawn.y0 >= 0 and drawn.y1 < figure.axes[0].get_tightbbox().y0
