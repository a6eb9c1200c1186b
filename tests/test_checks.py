"""Numbers, images and labels held against what they may be."""

from fractions import Fraction

import numpy as np
import pytest

from keras_neuronlevel import checks, samples


@pytest.mark.parametrize("value", [3, 3.0, np.int8(3), np.float32(3), Fraction(3)])
def test_whole_numbers_of_every_type(value):
    found = checks.whole("n", value, least=3, most=3)
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [2.5, np.nan, np.inf, True, np.True_, "3", None, 3j, [3], np.array(3)])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match="n is .*; give a whole number at least 1"):
        checks.whole("n", value, least=1)


@pytest.mark.parametrize(
    ("value", "limits", "words"),
    [
        (0, {"above": 0}, "give a number above 0"),
        (1, {"above": 0, "below": 1}, "give a number above 0 and below 1"),
        (-1, {"least": 0, "most": 9}, "give a number at least 0 and at most 9"),
        (10, {"least": 0, "most": 9}, "give a number at least 0 and at most 9"),
        (np.nan, {"above": 0}, "give a number above 0"),
        ("1", {}, "give a number"),
    ],
)
def test_numbers_outside_are_refused(value, limits, words):
    with pytest.raises(ValueError, match=f"rate is {value!r}; {words}$".replace("'", ".?")):
        checks.number("rate", value, **limits)
    assert checks.number("rate", np.float32(0.5), above=0, below=1, least=0.5, most=0.5) == 0.5


def test_numbers_that_no_float_holds_are_refused_shortly():
    for check in (checks.whole, checks.number):
        with pytest.raises(ValueError, match=f"n is 1{'0' * 39}; give a"):
            check("n", 10**400)


def test_seeds():
    assert checks.seed(0) == 0 and checks.seed(np.int64(2**32 - 1)) == 2**32 - 1
    for value in (-1, 2**32, 0.5, True, None):
        with pytest.raises(
            ValueError, match="seed is .*; give a whole number at least 0 and at most 4294967295"
        ):
            checks.seed(value)


@pytest.mark.parametrize("values", [[1, 2.5], [], 3, np.float32([[1, 2]]), [np.nan, np.inf], range(3)])
def test_real_numbers_of_any_shape(values):
    found = checks.reals("r", values)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.asarray(values, np.float64))


@pytest.mark.parametrize(
    "values", ["a", ["1"], None, [None], [True], 1j, [[1], [1, 2]], np.array(["2020"], "M8")]
)
def test_what_is_no_real_number_is_refused(values):
    with pytest.raises(ValueError, match="r is .*; give real numbers"):
        checks.reals("r", values)


def test_sequences():
    assert checks.sequence("s", (1, 2)) == [1, 2] and checks.sequence("s", range(2)) == [0, 1]
    for value in ("ab", 3, None):
        with pytest.raises(ValueError, match=f"s is {value!r}; give a sequence, such as"):
            checks.sequence("s", value)


def test_numbers_that_print_alike_are_refused():
    assert checks.different("ranks", [0, 33.3333, 100]) == ["0", "33.3333", "100"]
    with pytest.raises(ValueError, match="two of the ranks are 100, as printed"):
        checks.different("ranks", [0, 99.99999, 100])


def test_images_that_a_network_can_take():
    x = np.zeros((4, 3, 2), np.uint8)
    assert samples.check_images(x, (3, None)) is x
    for match, images, shape in (
        (r"it has shape \(4, 3, 2\), but the network takes images of shape \(N, 3, 3\)", x, (3, 3)),
        (r"\(N, 3, any, 1\)", x, (3, None, 1)),
        ("it is empty", x[:0], (3, 2)),
        ("type object; give real numbers", np.array([[None]]), (1,)),
        ("type complex128", np.array([[1j]]), (1,)),
        ("type datetime64", np.array([["2020-01-01"]], "datetime64[D]"), (1,)),
        (r"image 1 of it holds NaN or infinite values \(as float32\)", np.array([[0], [1e39]]), (1,)),
    ):
        with pytest.raises(ValueError, match=match):
            samples.check_images(images, shape, "it")
    assert samples.check_images([[1e39]], (1,), dtype="float64").shape == (1, 1)


def test_the_first_image_that_is_not_finite_is_named_wherever_it_is(monkeypatch):
    monkeypatch.setattr(samples, "PIECE", 7)
    for place in range(9):
        x = np.zeros((9, 3))
        x[place:, 2] = np.inf
        with pytest.raises(ValueError, match=f"image {place} of x holds"):
            samples.check_images(x, (3,))


def test_labels_of_samples():
    for y in ([0, 2, 1], np.array([[0], [2], [1]], np.uint8), [0.0, 2.0, 1.0], np.eye(3)[[0, 2, 1]]):
        found = samples.check_labels(y, 3, 3)
        assert found.tolist() == [0, 2, 1] and found.dtype == np.int64
    for match, y in (
        ("label 3 of sample 2 in y is not in 0..2, the numbers of the 3 classes", [0, 2, 3]),
        ("label -1 of sample 0", [-1, 0, 0]),
        ("looks one-hot, but", np.eye(3) / 2),
        ("looks one-hot, but", np.ones((3, 3))),
        ("there are 3 samples; give one label each", [0, 1]),
        ("no whole numbers", [0, 1.5, 2]),
        ("no whole numbers", ["0", "1", "2"]),
        ("no whole numbers", [0, np.nan, 2]),
    ):
        with pytest.raises(ValueError, match=match):
            samples.check_labels(y, 3, 3)


def test_labels_of_several_parts_of_each_sample():
    y = np.array([[0, 2], [1, 1], [2, 0]])
    for given in (y, y[..., None], np.eye(3)[y]):
        np.testing.assert_array_equal(samples.check_labels(given, (3, None), 3), y)
    with pytest.raises(ValueError, match=r"shape \(3,\).*labels of shape \(3, 2\)"):
        samples.check_labels(y[:, 0], (3, 2), 3)
    with pytest.raises(ValueError, match="label 3 of sample 1"):
        samples.check_labels(y + np.eye(3, 2, -1, dtype=int) * 2, (3, 2), 3)
