"""Damage to a records file: harmless or a RecordsError, never another number, a hang or a crash."""

import os
import time

import pytest

from keras_neuronlevel.benchmarks import damage

STEP = 67  # bytes; prime, so that all bits and all places of a structure have their turn


def wrong(result):
    return {
        kind: {name: n for name, n in counts.items() if n and name not in ("harmless", "RecordsError")}
        for kind, counts in result["counts"].items()
    }


def test_a_sample_of_damages_of_all_regions():
    result = damage.run(STEP)
    assert not any(wrong(result).values()), damage.table(result)
    trials = {kind: sum(counts.values()) for kind, counts in result["counts"].items()}
    assert trials["one bit of a byte"] == -(-result["bytes"] // STEP) and trials["bytes appended"] == 4
    assert trials["truncated"] == trials["zeroed, 713 bytes"] == -(-result["bytes"] // (8 * STEP))
    assert "silent" in damage.table(result).splitlines()[0]


@pytest.mark.exhaustive
def test_every_byte():
    result = damage.run(1)
    print(damage.table(result))
    assert not any(wrong(result).values()), damage.table(result)


def read_as_it_says(path, wanted):
    """A reader with every fault, by the file's content."""
    content = path.read_bytes()
    if content == b"hang":
        time.sleep(1000)
    if content == b"crash":
        os.kill(os.getpid(), 11)
    return content.decode()


def test_hangs_and_crashes_are_counted_and_the_next_trial_goes_on(tmp_path):
    with damage._Reader(tmp_path, read_as_it_says) as reader:
        assert reader.read(b"harmless", [], 10) == "harmless"
        tried = [("a", name.encode()) for name in ("hang", "silent", "crash", "harmless", "other error")]
        counts = damage.count(tried, lambda content: reader.read(content, [], 0.5))
    expected = {"harmless": 1, "RecordsError": 0, "other error": 1, "silent": 1, "hang": 1, "crash": 1}
    assert counts == {"a": expected}


def test_outcomes_are_told_apart(tmp_path):
    path = tmp_path / "r.h5"
    damage.write(path)
    wanted = damage.everything(path)
    assert damage.outcome(path, wanted) == "harmless"
    assert damage.outcome(path, wanted[:-1]) == "silent"
    assert damage.outcome(tmp_path / "none.h5", wanted) == "RecordsError"
    assert damage.outcome(None, wanted) == "other error"
