import keras
import numpy as np
import pytest

from keras_neuronlevel.data.preprocessing import PREPROCESSING, preprocess
from keras_neuronlevel.networks import channel_statistics


@pytest.fixture
def images():
    return np.random.default_rng(0).random((4, 2, 2, 3), np.float32)


def test_every_scale_against_keras_and_by_hand(images):
    train = np.random.default_rng(1).random((50, 2, 2, 3), np.float32)
    done = {how: preprocess(images, how, channel_statistics(train)) for how in PREPROCESSING}
    np.testing.assert_array_equal(done["unit"], images)
    np.testing.assert_allclose(done["raw"], images * 255, rtol=1e-6)
    mean, std = train.mean((0, 1, 2)), train.std((0, 1, 2))
    np.testing.assert_allclose(done["standardize"], (images - mean) / std, rtol=1e-3, atol=1e-4)
    imagenet = keras.applications.imagenet_utils.preprocess_input
    for ours, theirs in (("imagenet-caffe", "caffe"), ("imagenet-torch", "torch"), ("minus-one-one", "tf")):
        np.testing.assert_allclose(done[ours], imagenet(images * 255, mode=theirs), rtol=1e-3, atol=1e-4)
    assert {value.dtype for value in done.values()} == {np.dtype(np.float32)}


def test_what_cannot_be(images):
    with pytest.raises(ValueError, match="three channels, the images have 1"):
        preprocess(images[..., :1], "imagenet-torch")
    with pytest.raises(ValueError, match="'torch'; it must be one of unit"):
        preprocess(images, "torch")
