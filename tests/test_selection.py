"""Which neurons and positions are kept: reproducible, sorted, within the budget."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_neuronlevel.selection import Keep, Snapshots, select

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
    def drawn(seed):
        return select(SHAPES, 10, Keep(neurons=3, positions=5, seed=seed), Snapshots(neurons=2, positions=2))

    first = drawn(1)
    assert same(first, drawn(1))
    assert not same(first, drawn(2))
    for chosen in first.values():
        assert len(chosen.neurons) == 3 and set(chosen.snapshot_neurons) <= set(chosen.neurons)
        assert chosen.neurons.tolist() == sorted(set(chosen.neurons.tolist()))
    assert len(first["early"].positions) == 5
    assert set(first["early"].snapshot_positions) <= set(first["early"].positions)


def test_a_layers_draw_does_not_depend_on_its_company():
    alone = select({"early": SHAPES["early"]}, 10, Keep(neurons=2, positions=5, seed=3))
    together = select(SHAPES, 10, Keep(neurons=2, positions=5, seed=3))
    assert same(alone, {"early": together["early"]})


def test_layers_draw_independently():
    chosen = select({"a": (500,), "b": (500,)}, 1, Keep(neurons=20))
    assert chosen["a"].neurons.tolist() != chosen["b"].neurons.tolist()


def test_given_indices_are_sorted_and_unique():
    chosen = select(SHAPES, 1, Keep({"dense": [7, 2, 2], "late": 1}, {"late": [5, 0]}))
    assert chosen["dense"].neurons.tolist() == [2, 7]
    assert chosen["late"].positions.tolist() == [0, 5] and len(chosen["late"].neurons) == 1
    assert len(chosen["early"].neurons) == 4 and len(chosen["early"].positions) == 64


def test_it_reads_well():
    chosen = select(SHAPES, 1, Keep(2, 3))
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
            select(shapes, samples, Keep(memory_budget=budget))
        return
    chosen = select(shapes, samples, Keep(memory_budget=budget))
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
        ({"neurons": 11}, "the number of neurons of dense is 11; give a whole number at least 1 and at most"),
        ({"neurons": 0}, "the number of neurons of dense is 0"),
        ({"neurons": True}, "the number of neurons of dense is True"),
        ({"neurons": "a"}, "the number of neurons of dense is 'a'"),
        ({"neurons": 1.5}, "the number of neurons of dense is 1.5"),
        ({"neurons": [True]}, r"neurons of dense are \[True\]; give a number or a sequence of indices"),
        ({"positions": {"dense": 1}}, "positions names dense, which has none; name feature maps alone"),
        ({"neurons": {"dense": [3, 10]}}, r"neurons of dense reach from 3 to 10.*\[0, 9\]"),
        ({"neurons": {"dense": [-1]}}, "from -1"),
        ({"neurons": {"dense": []}}, "give a number or a sequence of indices"),
        ({"neurons": {"dense": [0.5]}}, "give a number or a sequence of indices"),
        ({"neurons": {"other": 1}}, "neurons names other, which is not among dense, early, late"),
        ({"positions": {"early": 65}}, "number of positions of early is 65.*at most 64"),
        ({"positions": {"late": [6]}}, r"positions of late.*\[0, 5\]"),
        ({"positions": {"gone": 1}}, "positions names gone"),
        ({"memory_budget": 0}, "memory_budget is 0; give a number above 0"),
        ({"memory_budget": float("nan")}, "memory_budget is nan"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_kept(options, words):
    with pytest.raises(ValueError, match=words):
        select(SHAPES, 10, Keep(**options))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"neurons": [0, 1]}, r"neurons of snapshots are \[0, 1\], but \[0\] are not recorded.*of dense"),
        ({"positions": []}, r"positions of snapshots are \[\]; give a number or a sequence of indices"),
        ({"neurons": 0}, "number of neurons of snapshots is 0; give a whole number at least 1"),
        ({"neurons": -1}, "number of neurons of snapshots is -1"),
        ({"neurons": None}, "number of neurons of snapshots is None"),
        ({"positions": 0}, "number of positions of snapshots is 0"),
        ({"recordings": 0}, "recordings of snapshots is 0; give a whole number at least 1"),
        ({"dtype": "int8"}, "'int8'.*'float16' or 'float32'"),
    ],
)
def test_what_cannot_be_in_a_snapshot(options, words):
    with pytest.raises(ValueError, match=words):
        select(SHAPES, 10, Keep(neurons={"dense": [1, 2, 3]}), Snapshots(**{"neurons": 1} | options))


@pytest.mark.parametrize(
    ("keep", "snapshots"), [(Keep(positions=3), Snapshots()), (Keep(), Snapshots(positions=[0, 1]))]
)
def test_positions_of_dense_layers_alone_are_refused(keep, snapshots):
    with pytest.raises(
        ValueError, match="positions is .*, but none of the layers has positions; leave it out"
    ):
        select({"dense": (10,), "more": (5,)}, 10, keep, snapshots)
    assert select({"dense": (10,)}, 10, Keep(positions={"dense": None}))["dense"].positions is None


def test_a_generator_of_recordings_is_read_once():
    wanted = Snapshots(recordings=(5 * i for i in range(3)))
    assert wanted.recordings == (0, 5, 10) == tuple(wanted.recordings)
