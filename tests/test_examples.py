"""Every Python example of README and guide runs, page by page, on a little data made here."""

import contextlib
import functools
import io
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from examples import PAGES

import keras_neuronlevel as nl

# What would take long here: (page, as it is written, in its place).
SMALLER = (
    ("README.md", "2000", "20"),
    ("README.md", "every=100", "every=5"),
    ("own_models.md", "weights=None,", "weights=None, alpha=0.35,"),
    ("own_models.md", "1.00", "0.35"),
    ("own_evaluation.md", "2000", "100"),
)


def given():
    """What pages take as given: the names of README's first lines, images, tokens, batches."""
    import keras

    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 300).astype(np.int32)
    images = rng.random((300, 28, 28, 1), dtype=np.float32)
    tokens, kinds = rng.integers(0, 1000, (128, 7)), y[:128] % 2
    return {
        "data": nl.data.Dataset(
            "mnist", images, y, images[:50], y[:50], tuple("0123456789"), "made here", ""
        ),
        "own_models.md": {
            "images": rng.random((96, 32, 32, 3), dtype=np.float32),
            "labels": y[:96],
            "tokens": tokens,
            "kinds": kinds,
            "batches": [(tokens[i : i + 8], kinds[i : i + 8]) for i in range(0, 128, 8)],
        },
        "tables.md": {"images": images, "labels": y},
        "tensorboard.md": {"images": rng.random((300, 784), dtype=np.float32), "labels": y},
        "devices.md": {"images": rng.random((300, 784), dtype=np.float32), "labels": y},
        "all": {"keras": keras, "nl": nl, "np": np, "tf": tf},
    }


def run(page, scope):
    """The page's examples, one after the other, in one scope; their weights are the same every time."""
    tf.keras.utils.set_random_seed(0)
    for block in PAGES[page]:
        for where, written, smaller in SMALLER:
            block = block.replace(written, smaller) if where == page else block
        exec(compile(block, page, "exec"), scope)
    return scope


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    """The folder in which README's examples ran, what they left in their scope, and what they printed."""
    folder, known = tmp_path_factory.mktemp("mine"), given()
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
        patch.setattr(nl.data, "load", lambda name: known["data"])
        scope = run("README.md", {})
    return folder, scope


@pytest.fixture(scope="module")
def examples(mine, tmp_path_factory):
    """A function of a page that runs its examples once, beside README's files: their scope, what they
    printed, and the folder with what they wrote."""

    @functools.cache
    def ran(page):
        folder, known, printed = tmp_path_factory.mktemp("page"), given(), io.StringIO()
        shutil.copytree(mine[0], folder, dirs_exist_ok=True)
        (folder / "figures").symlink_to(Path(__file__).parents[1] / "figures")
        scope = {**known["all"], **known.get(page, {})}
        with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder):
            patch.setattr(nl.data, "load", lambda name: known["data"])
            with contextlib.redirect_stdout(printed):
                run(page, scope)
        plt.close("all")
        return scope, printed.getvalue(), folder

    return ran


def test_what_is_made_smaller_is_there():
    for page, written, _ in SMALLER:
        assert any(written in block for block in PAGES[page]), (page, written)


@pytest.mark.parametrize("page", [page for page, blocks in PAGES.items() if blocks and page != "README.md"])
def test_the_examples_run(page, examples):
    examples(page)


def test_the_readme_records_and_evaluates(mine):
    _, scope = mine
    assert scope["s"].shape == (20, 16, 676)
    assert set(scope["curve"].ranks) == set(range(0, 101, 10))


def test_own_models_record_what_the_page_says(examples):
    _, printed, folder = examples("own_models.md")
    assert "['block/dense-gelu', 'hidden-relu']\n" in printed
    with nl.records.Records(folder / "transfer.h5") as records:
        assert records.layers == ["mobilenetv2_0.35_32/out_relu"]
    with nl.records.Records(folder / "loop.h5") as records:
        assert records.layers == ["block/dense-gelu", "hidden-relu"]
        assert records.recordings["batch"].tolist() == [0, 10, 0, 10]


def test_reading_gives_the_shapes_that_the_page_states(examples):
    found, _, folder = examples("reading_records.md")
    recordings, samples, neurons, positions = len(found["table"]), 20, 16, 676
    assert found["s"].shape == (samples, neurons, positions) and found["labels"].shape == (samples,)
    assert found["p"].shape[:2] == (len(found["moments"]), samples)
    assert set(found["moments"]) <= set(range(recordings))
    assert found["share"].shape == (neurons, 10) and found["low_share"].shape == (neurons,)
    assert all((folder / name).stat().st_size for name in ("signs.png", "neuron.png", "neuron.gif"))


def test_a_silenced_neuron_changes_the_logits(examples):
    found, _, _ = examples("own_evaluation.md")
    untouched = found["cut"].suffix(found["p"], found["crossing"])
    assert np.abs(found["logits"] - untouched).max() > 1e-6
    assert np.ptp(found["without"][..., 3]) == 0
