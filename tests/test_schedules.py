"""When to record."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_neuronlevel.schedules import due, planned_recordings, planned_snapshots, snapshot_recordings


def test_the_papers_2350_recordings():
    planned = planned_recordings(due(10), epochs=50, steps=469)
    assert len(planned) == 2350
    assert planned[:2] == [(0, 0, 0), (0, 10, 10)]
    assert planned[46:48] == [(0, 460, 460), (1, 0, 469)]  # the index restarts at every epoch
    assert planned[-1] == (49, 460, 49 * 469 + 460)


@given(every=st.integers(1, 30), epochs=st.integers(1, 4), steps=st.integers(1, 25), first=st.integers(0, 99))
def test_planned_recordings_against_a_loop(every, epochs, steps, first):
    expected, step = [], first
    for epoch in range(epochs):
        for batch in range(steps):
            if batch % every == 0:
                expected.append((epoch, batch, step))
            step += 1
    assert planned_recordings(due(every), epochs, steps, first) == expected


def test_a_function_decides():
    is_due = due(lambda epoch, batch, step: np.bool_(epoch == 1 and (batch == 2 or step == 9)))
    assert planned_recordings(is_due, 3, 5) == [(1, 2, 7), (1, 4, 9)]
    assert is_due(1, 2, 0) is True


def test_numpy_integers_are_numbers():
    assert planned_recordings(due(np.int64(4)), 1, 9) == [(0, 0, 0), (0, 4, 4), (0, 8, 8)]


def kept(snapshots, total, count=None):
    is_kept = snapshot_recordings(snapshots, total)
    return [r for r in range(total if count is None else count) if is_kept(r)]


def test_spaced_evenly_in_the_logarithm():
    assert kept(4, 1000) == [0, 9, 99, 999]
    assert kept(2, 50) == [0, 49]
    assert kept(12, 2350)[:3] == [0, 1, 3] and len(kept(12, 2350)) == 12


@given(snapshots=st.integers(2, 40), total=st.integers(1, 3000))
def test_first_and_last_are_among_them(snapshots, total):
    found = kept(snapshots, total)
    assert found[0] == 0 and found[-1] == total - 1
    assert len(found) <= min(snapshots, total)
    assert len(found) >= min(snapshots, total) / 2 or total < snapshots**3


def test_of_an_unknown_total_the_powers_of_two():
    assert kept(12, None, 70) == [0, 1, 3, 7, 15, 31, 63]


def test_a_sequence_names_them():
    assert kept([5, 2], 9) == [0, 2, 5]
    assert kept(np.array([5, 100]), 9) == [0, 5]


def test_the_last_recording_is_counted_among_the_snapshots():
    assert planned_snapshots(snapshot_recordings([0, 3, 99], None), 10) == 3  # 0, 3 and the last one, 9
    assert planned_snapshots(snapshot_recordings(12, 100), 100) == len(
        {0, 99, *(r for r in range(100) if snapshot_recordings(12, 100)(r))}
    )
    assert planned_snapshots(snapshot_recordings(12, None), None) == 1
