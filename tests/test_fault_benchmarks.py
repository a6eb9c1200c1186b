"""The benchmarks of checkpoints and faults, small: what they print is what happened."""

import os

import made
import numpy as np
import pytest

from keras_neuronlevel.benchmarks import checkpoint, faults, rates


def test_the_cost_of_a_checkpoint():
    result = checkpoint.run(2, samples=6, snapshots=3, filters=2)
    places = 3 * sum(p * u for p, u in ((1024, 2), (256, 4), (64, 8), (16, 16)))
    assert result["bytes"] > 6 * places * 2 * 2  # two int16 sums of every pair
    assert result["share"]["median"] == pytest.approx(result["save"]["median"] / 600)
    assert "at most 2% wanted" in checkpoint.table(result)


def test_the_table_counts_what_ended_identical():
    found = [
        faults.Fault("SIGKILL", "after 10 batches", 3, -9, identical=True),
        faults.Fault("SIGKILL", "after 12 batches", 5, -9, identical=False),
        faults.Fault("full disk", "not tried: no right to mount"),
    ]
    text = faults.table(found)
    assert "1 of 2 ended bit-identical; at most 5 batches were done again" in text
    assert [line.split()[1] for line in text.splitlines()[1:3]] == ["yes", "NO"]


def test_a_second_recorder_of_a_file_is_refused_by_name(tmp_path):
    fault = faults.two_recorders(tmp_path / "r.h5")
    assert fault.identical and fault.status == 1
    assert f"process {os.getpid()} on " in fault.said and "r.h5; wait until it has ended" in fault.said
    assert [path.name for path in tmp_path.iterdir()] == ["r.h5"]


@pytest.mark.slow
def test_a_real_training_that_is_killed_ends_bit_identical(real_data, tmp_path):
    """In processes of their own, from IDX files, which are read faster than they are prepared."""
    mnist = real_data("mnist")
    images = (np.rint(255 * x).astype(np.uint8) for x in (mnist.x_train, mnist.x_test))
    labels = (y.astype(np.uint8) for y in (mnist.y_train, mnist.y_test))
    made.write_idx(tmp_path, [part for pair in zip(images, labels, strict=True) for part in pair])
    found = faults.run(1, recipe=faults.Recipe(tmp_path, samples=300, hidden=64))
    assert [fault.what for fault in found] == [
        *("SIGKILL", "SIGTERM", "SIGINT", "second process", "second recorder", "full disk")
    ]
    assert all(fault.identical is not False for fault in found)
    assert [fault.status for fault in found[:5]] == [-9, 143, 130, 1, 1]


def test_the_rate_is_the_best_on_average():
    trials = [
        {"activation": a, "rate": r, "accuracy": accuracy}
        for a, r, accuracy in [
            ("relu", 0.1, 0.7),
            ("relu", 0.2, 0.8),
            ("linear", 0.1, 0.7),
            ("linear", 0.2, 0.5),
        ]
    ]
    chosen = rates.choice(trials)
    assert chosen["mean_accuracy"] == {0.1: pytest.approx(0.7), 0.2: pytest.approx(0.65)}
    assert chosen["chosen"] == 0.1
