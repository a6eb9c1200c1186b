"""Which neurons and positions are kept: reproducible, sorted, within the budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_neuronlevel.selection import select

SHAPES = {"dense": (10,), "early": (8, 8, 4), "late": (2, 3, 6)}


def same(a, b):
    return all(
        np.array_equal(getattr(a[layer], field), getattr(b[layer], field))
        for layer in a
        for field in ("neurons", "snapshot_neurons", "positions", "snapshot_positions")
        if getattr(a[layer], field) is not None
    )


def test_everything_by_default():
    chosen = select(SHAPES, 100)
    for layer, shape in SHAPES.items():
        assert chosen[layer].neurons.tolist() == list(range(shape[-1]))
    assert chosen["dense"].positions is None and chosen["dense"].snapshot_positions is None
    assert chosen["dense"].map_shape == () and chosen["early"].map_shape == (8, 8)
    assert chosen["early"].positions.tolist() == list(range(64))
    assert len(chosen["early"].snapshot_positions) == 4
    assert (chosen["dense"].pairs, chosen["early"].pairs) == (10, 256)
    assert (chosen["dense"].snapshot_values, chosen["early"].snapshot_values) == (10, 16)


def test_default_snapshots_hold_32_neurons():
    chosen = select({"wide": (100,)}, 1)["wide"]
    assert len(set(chosen.snapshot_neurons.tolist())) == 32
    assert chosen.snapshot_neurons.tolist() == sorted(chosen.snapshot_neurons)


def test_random_subsets_come_from_the_seed():
    options = {"neurons": 3, "positions": 5, "snapshot_neurons": 2, "snapshot_positions": 2}
    first = select(SHAPES, 10, **options, seed=1)
    assert same(first, select(SHAPES, 10, **options, seed=1))
    assert not same(first, select(SHAPES, 10, **options, seed=2))
    for chosen in first.values():
        assert len(chosen.neurons) == 3 and set(chosen.snapshot_neurons) <= set(chosen.neurons)
        assert chosen.neurons.tolist() == sorted(set(chosen.neurons.tolist()))
    assert len(first["early"].positions) == 5
    assert set(first["early"].snapshot_positions) <= set(first["early"].positions)


def test_a_layers_draw_does_not_depend_on_its_company():
    alone = select({"early": SHAPES["early"]}, 10, neurons=2, positions=5, seed=3)
    together = select(SHAPES, 10, neurons=2, positions=5, seed=3)
    assert same(alone, {"early": together["early"]})


def test_layers_draw_independently():
    chosen = select({"a": (500,), "b": (500,)}, 1, neurons=20)
    assert chosen["a"].neurons.tolist() != chosen["b"].neurons.tolist()


def test_given_indices_are_sorted_and_unique():
    chosen = select(SHAPES, 1, neurons={"dense": [7, 2, 2], "late": 1}, positions={"late": [5, 0]})
    assert chosen["dense"].neurons.tolist() == [2, 7]
    assert chosen["late"].positions.tolist() == [0, 5] and len(chosen["late"].neurons) == 1
    assert len(chosen["early"].neurons) == 4 and len(chosen["early"].positions) == 64


def test_it_reads_well():
    chosen = select(SHAPES, 1, neurons=2, positions=3)
    assert str(chosen["dense"]) == "2 of 10 neurons"
    assert str(chosen["late"]) == "2 of 6 neurons x 3 of 6 positions"


def cost(shapes, neurons, most, samples):
    """Bytes of the maps' accumulators at ``most`` positions each: two int16 a pair."""
    total = 0
    for layer, shape in shapes.items():
        if len(shape) > 1:
            total += min(most, int(np.prod(shape[:-1]))) * neurons[layer] * samples * 4
    return total


@settings(max_examples=60)
@given(
    maps=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=5
    ),
    samples=st.integers(1, 3000),
    budget=st.integers(100, 10_000_000),
)
def test_as_many_positions_as_fit_the_budget(maps, samples, budget):
    shapes = {f"map{i}": shape for i, shape in enumerate(maps)} | {"dense": (7,)}
    units = {layer: shape[-1] for layer, shape in shapes.items()}
    largest = max(h * w for h, w, _ in maps)
    fitting = [m for m in range(1, largest + 1) if cost(shapes, units, m, samples) <= budget]
    if not fitting:
        with pytest.raises(ValueError, match="does not fit the memory budget"):
            select(shapes, samples, memory_budget=budget)
        return
    chosen = select(shapes, samples, memory_budget=budget)
    for layer, shape in shapes.items():
        if layer != "dense":
            total = shape[0] * shape[1]
            positions = chosen[layer].positions
            assert len(positions) == min(total, fitting[-1])
            assert (np.diff(positions) > 0).all()
            assert 0 <= positions[0] and positions[-1] < total


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"neurons": 11}, "11 neurons of dense.*there are 10"),
        ({"neurons": 0}, "0 neurons of dense"),
        ({"neurons": {"dense": [3, 10]}}, r"neurons of dense reach from 3 to 10.*\[0, 9\]"),
        ({"neurons": {"dense": [-1]}}, "from -1"),
        ({"neurons": {"dense": []}}, "give a number or a sequence of indices"),
        ({"neurons": {"dense": [0.5]}}, "give a number or a sequence of indices"),
        ({"neurons": {"other": 1}}, "neurons names other, which is not among dense, early, late"),
        ({"positions": {"early": 65}}, "65 positions of early.*there are 64"),
        ({"positions": {"late": [6]}}, r"positions of late.*\[0, 5\]"),
        ({"positions": {"gone": 1}}, "positions names gone"),
        ({"neurons": {"dense": [1, 2]}, "snapshot_neurons": [0, 1]}, r"but \[0\]"),
        ({"snapshot_positions": []}, "asked for"),
        ({"snapshot_neurons": 0}, "snapshot"),
        ({"snapshot_neurons": -1}, "snapshot"),
        ({"snapshot_positions": 0}, "snapshot"),
    ],
)
def test_errors(options, words):
    with pytest.raises(ValueError, match=words):
        select(SHAPES, 10, **options)


def test_snapshots_of_neurons_that_are_not_recorded_say_which():
    with pytest.raises(ValueError, match=r"\[0\].*not recorded|not recorded.*\[0\]"):
        select({"dense": (5,)}, 10, neurons=[1, 2], snapshot_neurons=[0, 1])
