"""Images made when asked for: their order, their parts, and that nothing is made before."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel.data import images as image_data
from keras_neuronlevel.data.images import Images, from_array

SHAPE = (2, 3, 1)


def numbered(count):
    """``count`` images whose pixels are their number, made from raw numbers."""
    return from_array(np.arange(count), lambda n: tf.fill(SHAPE, tf.cast(n, tf.float32)), SHAPE)


def numbers(images, size=3):
    batches = list(images.batches(size))
    assert all(batch.dtype == np.float32 and batch.shape[1:] == SHAPE for batch in batches)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    together = np.concatenate(batches)
    assert (together == together[:, :1, :1]).all()
    return together[:, 0, 0, 0].astype(int).tolist()


def test_batches_come_in_order_and_anew():
    images = numbered(8)
    assert len(images) == 8 and images.shape == (8, *SHAPE) and images.dtype == np.float32
    for size in (1, 3, 8, 100):
        assert numbers(images, size) == list(range(8))


@pytest.mark.parametrize(
    "places",
    [
        slice(2, None),
        slice(None, None, 3),
        [6, 1, 1],
        np.array([0, 9]),
        np.arange(10) % 2 == 0,
        slice(-2, None),
    ],
)
def test_parts_are_those_of_an_array(places):
    assert numbers(numbered(10)[places]) == np.arange(10)[places].tolist()


def test_parts_of_parts_and_single_images():
    part = numbered(20)[5:][np.array([1, 4, 9])][1:]
    assert numbers(part) == [9, 14] and part.shape == (2, *SHAPE)
    assert part[0][0, 0, 0] == 9 and part[-1][0, 0, 0] == 14 and part[np.int64(1)].shape == SHAPE
    assert list(numbered(3)[3:].batches(2)) == []
    with pytest.raises(IndexError):
        part[2]


def test_nothing_is_made_before_it_is_asked_for_and_little_ahead():
    made, total, size = [], 5000, 4

    def elements(indices):
        def generate():
            for i in indices:
                made.append(i)
                yield i

        return tf.data.Dataset.from_generator(generate, output_signature=tf.TensorSpec([], tf.int64))

    images = Images(elements, lambda n: tf.fill(SHAPE, tf.cast(n, tf.float32)), SHAPE, np.arange(total))
    part = images[10:]
    assert made == []
    batches = part.batches(size)
    first = next(batches)
    time.sleep(0.3)  # what runs ahead may do so
    assert first[:, 0, 0, 0].tolist() == [10, 11, 12, 13]
    assert len(made) <= 8 * size + 4 * os.cpu_count() < total
    assert made == list(range(10, 10 + len(made)))


def test_what_is_printed_of_data_is_a_line(data):
    assert (
        repr(data) == "<Dataset tiny: 50 training and 23 test images of 4 x 4 x 1 in 3 classes, from made up>"
    )
    made = from_array(data.x_train, lambda image: image, (4, 4, 1))
    assert repr(made) == "<Images (50, 4, 4, 1), float32, made when they are asked for>"


def test_nothing_that_is_read_tunes_itself():
    """An iterator with tf.data's tuning waits for it at its end, up to a minute."""
    stored = tf.data.Dataset.range(5).map(lambda i: 2 * i, num_parallel_calls=2)
    found = image_data.untuned(stored)
    assert found.options().autotune.enabled is False
    assert list(found.as_numpy_iterator()) == [0, 2, 4, 6, 8]
    sources = [path.read_text() for path in Path(image_data.__file__).parents[1].rglob("*.py")]
    reads = [line for text in sources for line in text.splitlines() if "as_numpy" in line]
    assert len(reads) == 4 and all("untuned(" in line for line in reads)
    assert not any("data.AUTOTUNE" in text for text in sources)
