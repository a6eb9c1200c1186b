"""Pretrained classifiers: which layers count, what a file must hold, and whether a network reads pictures."""

import dataclasses
import logging

import keras
import numpy as np
import pytest

from keras_neuronlevel import neurons
from keras_neuronlevel.data.images import from_array
from keras_neuronlevel.protocol import pretrained
from keras_neuronlevel.protocol.pretrained import main_layers, paper_layers, resnet50, saved, verify
from keras_neuronlevel.statistics.curves import wilson_interval

BLOCKS = {"conv2": 3, "conv3": 4, "conv4": 6, "conv5": 3}
CLASSES = 5


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return resnet50(None, input_shape=(32, 32, 3), classes=CLASSES)


def oracle(right, top1=0.749, known=False, classes=4, count=100):
    """A network that reads each image's label from its pixels, and wrongly all but the first ``right``."""
    labels = np.arange(count) % classes
    shown = (labels + (np.arange(count) >= right)) % classes
    images = np.eye(classes, dtype=np.float32)[shown][:, None, :]
    inputs = keras.Input((1, classes))
    a = keras.layers.Activation("linear", name="phi")(inputs)
    outputs = keras.layers.Softmax()(keras.layers.Flatten()(a))
    model = keras.Model(inputs, outputs)
    made = pretrained.Pretrained("net", "a net", model, "unit", ("phi",), top1, "d", known, None)
    return made, images, labels


def test_the_papers_layers_of_resnet50(network):
    blocks = [f"{stage}_block{n + 1}_out" for stage, count in BLOCKS.items() for n in range(count)]
    assert network.layers == ("conv1_relu", *blocks) and len(network.layers) == 17
    assert len(neurons.choose_layers(network.model)) == 49
    assert main_layers(network.layers) == (
        "conv1_relu",
        "conv3_block4_out",
        "conv4_block6_out",
        "conv5_block2_out",
        "conv5_block3_out",
    )


def test_a_network_without_sums_has_all_its_layers(make_convnet, make_mlp):
    assert paper_layers(make_convnet()) == ("conv1-phi", "conv2-phi")
    assert main_layers(tuple("abcdefg")) == ("a", "d", "g")
    assert main_layers(("a", "b")) == ("a", "b") and main_layers(("a",)) == ("a",)


def test_random_weights_end_in_logits_and_are_called_a_test(network):
    assert neurons.gives_logits(network.model) and neurons.output_softmax(network.model) is None
    assert network.model.output_shape == (None, CLASSES)
    assert network.top1 is None and network.digest is None and not network.known
    assert "random weights" in network.stand_in and "random weights" in network.title
    assert network.preprocessing == "imagenet-caffe" and network.size == 32


def test_the_size_of_the_images():
    def sized(*shape):
        inputs = keras.Input(shape)
        model = keras.Model(inputs, keras.layers.Activation("relu")(inputs))
        return pretrained.Pretrained("net", "", model, "unit", (), None, None, False, None).size

    assert sized(299, 299, 3) == 299 and sized(None, None, 3) == 224
    for shape in ((10, 12, 3), (10, 10, 1), (10,)):
        with pytest.raises(ValueError, match=r"it should be \(size, size, 3\)"):
            sized(*shape)


# Files -----------------------------------------------------------------------------------------------


@pytest.fixture
def built(network, monkeypatch):
    """The network that Keras builds; building it anew takes long."""
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **options: network.model)
    return network


def test_weights_that_do_not_fit(built, tmp_path, make_mlp):
    other = tmp_path / "other.weights.h5"
    make_mlp().save_weights(other)
    garbage = np.random.default_rng(0).bytes(3000)
    files = [other, *(tmp_path / f"garbage{end}" for end in (".h5", ".keras", ".weights.h5", ".bin"))]
    for path in files[1:]:
        path.write_bytes(garbage)
    cut = tmp_path / "cut.weights.h5"
    cut.write_bytes(other.read_bytes()[:4000])
    for path in [*files, cut]:
        with pytest.raises(
            ValueError, match=r"does not fit keras\.applications\.ResNet50 with 5 classes: \S"
        ) as e:
            resnet50(path)
        assert "\n" not in str(e.value)
    for path in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(ValueError, match="there is no weight file at"):
            resnet50(path)


def test_faults_that_only_hdf5_can_find(built, tmp_path, monkeypatch):
    def broken(path):
        raise RuntimeError("Unable to check link existence (addr overflow)")

    path = tmp_path / "damaged.h5"
    path.write_bytes(b"")
    monkeypatch.setattr(built.model, "load_weights", broken)
    with pytest.raises(ValueError, match="does not fit.*addr overflow"):
        resnet50(path)


def test_a_weight_file_is_told_by_its_digest(built, tmp_path, monkeypatch):
    import hashlib

    path = tmp_path / "some.weights.h5"
    built.model.save_weights(path)
    found = resnet50(path)
    content = path.read_bytes()
    assert found.digest == hashlib.sha256(content).hexdigest() and not found.known
    assert found.top1 == 0.749 and found.stand_in is None and "some.weights.h5" in found.title
    assert str(tmp_path) not in found.title
    monkeypatch.setattr(pretrained, "RESNET50_MD5", hashlib.md5(content).hexdigest())
    monkeypatch.setattr(keras.utils, "get_file", lambda *arguments, **options: path)
    found = resnet50()
    assert found.known and "the file that Keras publishes" in found.title


@pytest.mark.parametrize("error", [Exception("URL fetch failure on https://x: 403\nmore"), OSError()])
def test_weights_that_cannot_be_downloaded(built, monkeypatch, error):
    def refuse(*args, **kwargs):
        raise error

    monkeypatch.setattr(keras.utils, "get_file", refuse)
    with pytest.raises(
        ValueError, match="could not download .*--weights, or another saved network with"
    ) as e:
        resnet50()
    assert pretrained.RESNET50_FILE in str(e.value) and "\n" not in str(e.value)
    assert (str(error).splitlines() or ["OSError"])[0] in str(e.value)


def test_a_saved_network(tmp_path, make_mlp):
    path = tmp_path / "my-net.keras"
    model = make_mlp()
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(4, activation="relu", name="hidden")(inputs)
    fused = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(hidden))
    fused.save(tmp_path / "fused.h5")
    model.save(path)
    found = saved(path, "unit", top1=0.5)
    assert found.name == "my-net" and found.layers == ("dense1-relu", "dense2-relu")
    assert found.top1 == 0.5 and not found.known and "not the papers'" in found.stand_in
    x = np.random.default_rng(0).random((3, 4, 4, 1), np.float32)
    np.testing.assert_array_equal(found.model(x), model(x))
    split = saved(tmp_path / "fused.h5", "raw", name="other")
    assert split.name == "other" and split.layers[0] == "hidden-relu" and split.top1 is None


# Verification ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("right", [0, 1, 37, 99, 100])
def test_the_accuracy_is_that_of_a_loop(right, caplog):
    network, images, labels = oracle(right, top1=None)
    with caplog.at_level(logging.WARNING):
        found = verify(network, images, labels, batch_size=7)
    assert found.top1 == right / 100 and found.images == 100 and found.expected is None
    assert found.interval == wilson_interval(right / 100, 100)
    assert "not verified" in found.verdict and "--expected-top1" in caplog.text
    lazy = from_array(images, lambda image: image, images.shape[1:])
    assert verify(network, lazy, labels, batch_size=7) == found


def test_a_network_is_refused_where_it_reads_far_worse():
    """Refused exactly where the interval's upper end is more than 5 points below what should be reached."""
    refused = 0
    for right in range(50, 91, 2):
        network, images, labels = oracle(right)
        if wilson_interval(right / 100, 100)[1] < 0.749 - 0.05:
            refused += 1
            with pytest.raises(ValueError, match=r"a net reaches top-1 0\.\d+ .*should reach about 0\.749"):
                verify(network, images, labels)
        else:
            assert "should reach about 0.749" in verify(network, images, labels).verdict
    assert 2 < refused < 15  # 50 of 100 is refused, 75 is not
    network, images, labels = oracle(30, known=True)
    with pytest.raises(ValueError, match="the weights are not those of this network"):
        verify(network, images, labels)


def test_few_pictures_verify_a_known_file_only():
    network, images, labels = oracle(49, count=49)
    with pytest.raises(ValueError, match="49 labelled pictures are too few to verify it; give at least 50"):
        verify(network, images, labels)
    found = verify(dataclasses.replace(network, known=True), images, labels)
    assert found.verdict.startswith("the published file, by its digest")
    assert verify(*oracle(50, count=50)).top1 == 1
    network, images, labels = oracle(0, count=20)
    with pytest.raises(ValueError, match="should reach about"):
        verify(network, images, labels)
