"""Readers of files that others made: whatever the bytes, valid data or the one error that names the file."""

import gzip
import json
import math
import re
import struct
from pathlib import Path

import made
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_data_formats import COLOUR, PIXELS

from keras_neuronlevel import results
from keras_neuronlevel.data import cifar, idx, imagenet
from keras_neuronlevel.data.specs import DataError

SHAPE = (6, 3, 2)
fuzzed = settings(max_examples=80, derandomize=True, database=None)


def damaged(whole):
    """Bytes that differ from whole ones: some replaced, cut, added to, or any bytes."""
    replaced = st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)

    def replace(changes):
        found = bytearray(whole)
        for place, value in changes:
            found[place] = value
        return bytes(found)

    return st.one_of(
        replaced.map(replace),
        st.integers(0, len(whole)).map(lambda end: whole[:end]),
        st.binary(min_size=1, max_size=40).map(lambda more: whole + more),
        st.binary(max_size=200),
    )


IDX = made.idx_bytes(np.arange(36, dtype=np.uint8).reshape(SHAPE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@fuzzed
@given(damaged(IDX))
def test_idx(folder, content):
    path = folder / "train-images-idx3-ubyte"
    path.write_bytes(content)
    try:
        found = idx.read_idx(path, SHAPE)
    except DataError as error:
        assert path.name in str(error)
        return
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", *SHAPE)
    assert content[:16] == header and found.tobytes() == content[16:] and found.shape == SHAPE


@fuzzed
@given(damaged(gzip.compress(IDX, mtime=0)))
def test_zipped_idx(folder, content):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    try:
        found = idx.read_idx(path, SHAPE)
    except DataError as error:
        assert path.name in str(error)
        return
    assert found.tobytes() == gzip.decompress(content)[16:]


BATCH = bytes(
    (label * 7 + place) % 10 if place == 0 else place for label in range(4) for place in range(PIXELS + 1)
)


@fuzzed
@given(damaged(BATCH))
def test_cifar_binary(content):
    try:
        images, labels = cifar.parse_binary(content, 4, COLOUR, "data_batch_1.bin")
    except DataError as error:
        assert "data_batch_1.bin" in str(error)
        return
    assert len(content) == 4 * (PIXELS + 1) and labels.max() < 10
    for n in range(4):
        start = n * (PIXELS + 1)
        assert labels[n] == content[start]
        planes = images[n].transpose(2, 0, 1).tobytes()
        assert planes == content[start + 1 : start + 1 + PIXELS]


@fuzzed
@given(st.binary(max_size=300))
def test_cifar_pickles_are_not_opened(content):
    with pytest.raises(DataError, match="data_batch_1 is not opened"):
        cifar.parse_python(content, 4, COLOUR, "data_batch_1")


NAMES = ["n01440764_1.JPEG", "n01440764_2.JPEG", "n01443537_1.JPEG"]
LABELS = np.array([0, 0, 1])
TABLE = "file,class_index\n" + "".join(f"{n},{k}\n" for n, k in zip(NAMES, LABELS, strict=True))


@fuzzed
@given(damaged(TABLE.encode()))
def test_labels_csv(folder, content):
    path = folder / "labels.csv"
    path.write_bytes(content)
    try:
        imagenet.check_csv(path, NAMES, LABELS)
    except (DataError, ValueError) as error:
        assert "labels.csv" in str(error)
        return
    head, *lines = re.split(r"\r\n|\r|\n", content.decode("utf-8-sig"))
    if head == "file,class_index" and b'"' not in content:  # what is said of a picture is right
        told = dict(line.split(",")[:2] for line in lines if "," in line)
        for name, label in zip(NAMES, LABELS, strict=True):
            assert told.get(name, str(label)) == str(label)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def places(value, path=()):
    """The paths of keys to everything in nested dictionaries and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


WHOLE = results.of_value(made.mnist())
PLACES = list(places(WHOLE))


@settings(fuzzed, max_examples=40)
@given(st.sampled_from(PLACES), JSON)
def test_metrics_with_another_value_anywhere(folder, place, value):
    path = folder / "metrics.json"
    path.write_text(json.dumps(made.put(WHOLE, place, value) if isinstance(place[-1], str) else value))
    _read(path)


@fuzzed
@given(damaged(json.dumps(WHOLE).encode()))
def test_damaged_metrics(folder, content):
    path = folder / "metrics.json"
    path.write_bytes(content)
    _read(path)


def _read(path: Path):
    """A value that is read can be read again from what it is; anything else is a ValueError of one line."""
    try:
        found = results.read(path)
    except ValueError as error:
        assert str(error) and "\n" not in str(error)
        return
    assert results.of_value(found) == found or _has_nan(found)


def _has_nan(value):
    if isinstance(value, dict):
        return any(map(_has_nan, value.values()))
    if isinstance(value, list):
        return any(map(_has_nan, value))
    return isinstance(value, float) and math.isnan(value)
