"""Saved models that cannot be loaded: what is wrong, in one sentence, and nothing of theirs runs."""

import json
import os
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest

from keras_neuronlevel.protocol import saved_models


class Half(keras.layers.Layer):
    """A layer that nothing registers."""

    def call(self, x):
        return x / 2


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2)])


@pytest.mark.parametrize("ending", ["keras", "h5", "hdf5"])
def test_a_model_is_loaded_as_it_was_saved(ending, model, tmp_path):
    model.save(tmp_path / f"net.{ending}")
    x = np.random.default_rng(0).random((3, 4), np.float32)
    np.testing.assert_array_equal(saved_models.load(tmp_path / f"net.{ending}")(x), model(x))


def changed(path, changes, compression=zipfile.ZIP_STORED):
    """Write the archive anew: {name: the new contents, or None to leave it out}."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in (contents | changes).items():
            if data is not None:
                archive.writestr(name, data)


def flipped(path, name):
    """Another byte in the middle of a member, its checksum as it was."""
    with zipfile.ZipFile(path) as archive:
        data = archive.read(name)
    raw = bytearray(path.read_bytes())
    raw[raw.index(data) + len(data) // 2] ^= 255
    path.write_bytes(raw)


DAMAGES = {
    "is no .keras file: it is damaged, or something else": lambda path: path.write_bytes(b"hello"),
    "net.keras is no .keras file: it is damaged": lambda path: path.write_bytes(b""),
    "is damaged (File is not a zip file)": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "the checksum of config.json in it is wrong": lambda path: flipped(path, "config.json"),
    "the checksum of model.weights.h5 in it is wrong": lambda path: flipped(path, "model.weights.h5"),
    "holds no config.json, so it is no model": lambda path: changed(path, {"config.json": None}),
    "Expected a model.weights.h5 or": lambda path: changed(path, {"model.weights.h5": None}),
    "Expecting property name enclosed": lambda path: changed(path, {"config.json": b"{"}),
    "list indices must be integers": lambda path: changed(path, {"config.json": b"[]"}),
    "got {'compile_config': None}": lambda path: changed(path, {"config.json": b"{}"}),
    "its configuration is nested too deep": lambda path: changed(path, {"config.json": b"[" * 100_000}),
    "truncated file": lambda path: changed(path, {"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(500)}),
}


@pytest.mark.parametrize("words", DAMAGES)
def test_a_damaged_archive(words, model, tmp_path):
    path = tmp_path / "net.keras"
    model.save(path)
    DAMAGES[words](path)
    with pytest.raises(ValueError) as error:
        saved_models.load(path)
    text = str(error.value)
    assert text.startswith(f"{path} ") and "\n" not in text and len(text) < 400
    assert words in text or (words == "truncated file" and "nable to" in text), text


def test_an_archive_made_to_fill_the_memory(model, tmp_path, monkeypatch):
    path = tmp_path / "net.keras"
    model.save(path)
    changed(path, {"zeros": bytes(3_000_000)}, zipfile.ZIP_DEFLATED)
    saved_models.load(path)  # small all the same
    monkeypatch.setattr(saved_models, "_SMALL", 2_000_000)
    with pytest.raises(
        ValueError, match=r"unpacks to 3,0\d\d,\d\d\d bytes, \d\d\d times its own; it is refused"
    ):
        saved_models.load(path)


def test_files_of_another_kind(model, tmp_path):
    model.save(tmp_path / "net.keras")
    model.save(tmp_path / "net.h5")
    model.save_weights(tmp_path / "net.weights.h5")
    os.mkfifo(tmp_path / "pipe.keras")
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "net.pt").write_bytes(b"PK\x03\x04")
    (tmp_path / "h5.keras").write_bytes((tmp_path / "net.h5").read_bytes())
    (tmp_path / "zip.h5").write_bytes((tmp_path / "net.keras").read_bytes())
    (tmp_path / "half.h5").write_bytes((tmp_path / "net.h5").read_bytes()[:5000])
    (tmp_path / "text.h5").write_bytes(b"hello")
    with h5py.File(tmp_path / "config.h5", "w") as file:
        file.attrs["model_config"] = json.dumps([])
    for name, words in (
        ("none.keras", "does not exist; give a file saved by model.save"),
        ("folder.keras", "is no file; give one saved by"),
        ("pipe.keras", "is no file; give one saved by"),
        ("net.pt", "has the ending '.pt'; give a model saved as .keras or .h5"),
        ("h5.keras", "is no .keras file: by its contents it should end in .h5"),
        ("zip.h5", "is no .h5 file: by its contents it should end in .keras"),
        ("text.h5", "is no .h5 file: it is damaged, or something else"),
        ("half.h5", r"is damaged \(Unable to synchronously open file \(truncated file"),
        ("net.weights.h5", "holds no model, perhaps its weights alone; save it whole"),
        ("config.h5", "cannot be loaded as a Keras model: "),
    ):
        with pytest.raises(ValueError, match=f"{name} {words}"):
            saved_models.load(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="everyone may read here")
def test_a_file_that_may_not_be_read(model, tmp_path):
    model.save(tmp_path / "net.keras")
    (tmp_path / "net.keras").chmod(0)
    with pytest.raises(ValueError, match=r"cannot be read \(Permission denied\); check its permissions"):
        saved_models.load(tmp_path / "net.keras")


@pytest.mark.parametrize("ending", ["keras", "h5"])
def test_models_with_code_of_their_own(ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the code leaves a file where it runs
    path = tmp_path / f"net.{ending}"
    unsafe = keras.layers.Lambda(lambda x: __import__("pathlib").Path("ran").touch() or x)
    for layer, words in (
        (unsafe, r"it brings code of its own \(a Lambda or TFSMLayer\), which is never run"),
        (Half(), r"'(.*>)?Half'; register the class .* and import its module"),
    ):
        keras.Sequential([keras.Input((4,)), layer]).save(path)
        pathlib.Path("ran").unlink(missing_ok=True)  # of making the model
        with pytest.raises(ValueError, match=words):
            saved_models.load(path)
        assert not pathlib.Path("ran").exists()
