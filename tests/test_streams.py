"""Named random streams: which numbers they give, and that no two share any."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from keras_neuronlevel import streams

# How each stream is used: the details that go with its name.
EPOCHS = tuple((epoch,) for epoch in range(3))
LAYERS = (("dense1-relu",), ("dense2-relu",))
USES = {
    "training order": EPOCHS,
    "random layers": EPOCHS,
    **dict.fromkeys(
        ("recorded neurons", "recorded positions", "snapshot neurons", "snapshot positions"), LAYERS
    ),
    "shown neurons": LAYERS,
    "readout's order": EPOCHS,
    **dict.fromkeys(("readout's held-out samples", "readout's training images", "fresh weights"), ((),)),
}
# Old names for the same numbers. What is drawn from them is unlike (an order of images, shares of samples,
# resampled places), so none decides about another.
ALIKE = [
    {"training order", "random layers", "calibration subset", "probe's held-out samples", "bootstrap"},
    {"training order", "random layers", "recorded samples"},
    {"training order", "random layers", "subset of the data", "drawn neurons"},
    {"snapshot positions", "shown neurons"},
]


def first(seed, name, *details):
    return tuple(streams.generator(seed, name, *details).integers(2**63, size=3))


def test_all_random_numbers_come_from_streams():
    package = Path(streams.__file__).parent
    drawing = [p for p in package.rglob("*.py") if "default_rng(" in p.read_text()]
    assert drawing == [package / "streams.py"]


def test_old_streams_give_their_old_numbers():
    for name, numbers in (
        ("training order", [7, 4]),
        ("random layers", [7, 4]),
        ("recorded samples", [7, 1, 4]),
        ("subset of the data", [7, 2, 4]),
        ("drawn neurons", [7, 2, 4]),
        ("calibration and test pictures", [7, 3, 4]),
        ("transfer images", [7, 4, 4]),
        ("probe pictures", [7, 5, 4]),
        ("rate trials", [7, 6, 4]),
    ):
        expected = np.random.default_rng(numbers).permutation(50)
        np.testing.assert_array_equal(streams.generator(7, name, 4).permutation(50), expected)
    layer = [7, 3, *b"dense1-relu"]
    expected = np.random.default_rng(layer).permutation(50)
    np.testing.assert_array_equal(
        streams.generator(7, "shown neurons", "dense1-relu").permutation(50), expected
    )
    np.testing.assert_array_equal(
        streams.generator(7, "calibration subset").permutation(50), np.random.default_rng(7).permutation(50)
    )


def test_streams_are_disjoint():
    """At neighbouring seeds, but for old ones that are listed: published numbers depend on them."""
    seen = {}
    for name in {**streams.OLD, **USES}:
        for seed, details in itertools.product((0, 1, 2), USES.get(name, ((),))):
            seen.setdefault(first(seed, name, *details), set()).add((seed, name))
    for users in seen.values():
        assert len({seed for seed, _ in users}) == 1
        names = {name for _, name in users}
        assert len(names) == 1 or names in ALIKE


def test_the_held_out_images_are_not_the_calibration_images():
    """They were the first numbers of one permutation: all held-out images calibrated."""
    from keras_neuronlevel.evaluation import calibration_subset
    from keras_neuronlevel.evaluation.readout import split_held_out

    calibrating = set(calibration_subset(np.arange(1000), 500, seed=3))
    _, held = split_held_out(1000, 0.1, seed=3)
    assert 30 < len(calibrating & set(held)) < 70  # 50 by chance


def test_details_and_seeds_tell_streams_apart_and_seeds_are_checked():
    draws = [first(0, "fresh weights", *details) for details in ((), (0,), (1,), ("0",), (0, 1))]
    assert len({*draws, first(1, "fresh weights")}) == 5  # zeros at the end are no difference to NumPy
    for seed in (-1, 0.5, True, "0"):
        with pytest.raises(ValueError, match="seed is .*; give a whole number"):
            streams.generator(seed, "fresh weights")
    assert first(np.int64(3), "fresh weights") == first(3, "fresh weights")
