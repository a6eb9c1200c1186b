"""The real MNIST and CIFAR-10, where TFDS_DATA_DIR holds them; skipped, saying so, elsewhere."""

import numpy as np
import pytest

from keras_neuronlevel.data.specs import SPECS

FIRST_LABELS = {
    "mnist": ([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]),
    "cifar10": ([6, 9, 9, 4, 1, 1, 2, 7, 8, 3], [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]),
}
CLASS_COUNTS = {
    "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
    "cifar10": [5000] * 10,
}


@pytest.fixture(scope="module", params=["mnist", "cifar10"])
def dataset(request, real_data):
    return real_data(request.param)


def test_it_is_the_exact_set_in_its_original_order(dataset):
    train, test = FIRST_LABELS[dataset.name]
    assert dataset.y_train[:10].tolist() == train
    assert dataset.y_test[:10].tolist() == test
    assert np.bincount(dataset.y_train).tolist() == CLASS_COUNTS[dataset.name]
    assert dataset.digest == SPECS[dataset.name].digest


def test_images_are_floats_between_0_and_1_on_the_grid_of_bytes(dataset):
    spec = SPECS[dataset.name]
    for images, labels, count in (
        (dataset.x_train, dataset.y_train, spec.n_train),
        (dataset.x_test, dataset.y_test, spec.n_test),
    ):
        assert images.shape == (count, *spec.image_shape) and labels.shape == (count,)
        assert images.dtype == np.float32 and labels.dtype == np.int32
        assert images.min() == 0.0 and images.max() == 1.0
        some = images[:100] * 255
        np.testing.assert_allclose(some, some.round(), atol=1e-4)
