"""The readers of `keras_neuronlevel.data` on honest, damaged and hostile files."""

import dataclasses
import gzip
import hashlib
import pickle
import struct
import tarfile

import numpy as np
import pytest
from made import idx_bytes

from keras_neuronlevel.data import cifar, idx
from keras_neuronlevel.data.specs import CIFAR10, MNIST, DataError

GREY = dataclasses.replace(MNIST, image_shape=(3, 2, 1), n_train=6, n_test=4)
COLOUR = dataclasses.replace(CIFAR10, image_shape=(2, 3, 3), n_train=10, n_test=3)
PIXELS = 18

# IDX -------------------------------------------------------------------------------------------


def grey_arrays():
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (6, 3, 2), dtype=np.uint8),
        "train-labels-idx1-ubyte": np.array([5, 0, 4, 1, 9, 2], np.uint8),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (4, 3, 2), dtype=np.uint8),
        "t10k-labels-idx1-ubyte": np.array([7, 2, 1, 0], np.uint8),
    }


@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_folder_gives_back_what_was_written(tmp_path, dotted, zipped):
    arrays = grey_arrays()
    for name, array in arrays.items():
        name = name.replace("-idx", ".idx") if dotted else name
        raw = idx_bytes(array)
        path = tmp_path / (name + ".gz" if zipped else name)
        path.write_bytes(gzip.compress(raw) if zipped else raw)
    read = idx.read_folder(tmp_path, GREY)
    for found, (name, array) in zip(read, arrays.items(), strict=True):
        np.testing.assert_array_equal(found.squeeze(), array, err_msg=name)
    assert read.x_train.shape == (6, 3, 2, 1)


def test_idx_header_is_big_endian_and_last_dimension_is_fastest(tmp_path):
    raw = bytes.fromhex("00000803 00000001 00000002 00000003 0a0b0c0d0e0f".replace(" ", ""))
    (tmp_path / "file").write_bytes(raw)
    assert idx.read_idx(tmp_path / "file", (1, 2, 3)).tolist() == [[[10, 11, 12], [13, 14, 15]]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda raw: raw[:-1], "truncated"),
        (lambda raw: raw[:9], "truncated"),
        (lambda raw: raw + b"!", "too long"),
        (lambda raw: b"\0\0\x0d" + raw[3:], "not an IDX file"),
        (lambda raw: raw[:3] + b"\1" + raw[4:], "not an IDX file"),
        (lambda raw: raw[:4] + struct.pack(">I", 7) + raw[8:], r"dimensions are \(7, 3, 2\)"),
        (lambda raw: b"", "not an IDX file"),
    ],
)
def test_spoiled_idx_file_is_refused(tmp_path, spoil, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(spoil(idx_bytes(grey_arrays()[path.name])))
    with pytest.raises(DataError, match=message):
        idx.read_idx(path, (6, 3, 2))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: raw[:-9],
        lambda raw: raw[:-8] + b"12345678",
        lambda raw: raw[:5],
        lambda raw: b"plain, not gzip",
    ],
)
def test_damaged_gzip_is_refused(tmp_path, spoil):
    path = tmp_path / "labels.gz"
    good = gzip.compress(idx_bytes(np.arange(6, dtype=np.uint8)))
    path.write_bytes(good)
    assert idx.read_idx(path, (6,)).tolist() == [0, 1, 2, 3, 4, 5]
    path.write_bytes(spoil(good))
    with pytest.raises(DataError, match="damaged gzip"):
        idx.read_idx(path, (6,))


def test_idx_folder_says_which_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match="no IDX files"):
        idx.read_folder(tmp_path, GREY)
    for name, array in grey_arrays().items():
        (tmp_path / name).write_bytes(idx_bytes(array))
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="lacks the file t10k-labels-idx1-ubyte"):
        idx.read_folder(tmp_path, GREY)


# CIFAR-10 --------------------------------------------------------------------------------------


def colour_batches():
    """{batch name: (planes (n, 18), labels)}; batch 1 begins with the pixels 0..17."""
    rng = np.random.default_rng(1)
    counts = [2, 2, 2, 2, 2, 3]
    batches = {
        name: (rng.integers(0, 256, (n, PIXELS), dtype=np.uint8), rng.integers(0, 10, n).tolist())
        for name, n in zip(cifar.PYTHON_BATCHES, counts, strict=True)
    }
    batches["data_batch_1"][0][0] = np.arange(PIXELS)
    return batches


def binary(planes, labels):
    rows = zip(labels, planes, strict=True)
    return b"".join(bytes([label]) + row.tobytes() for label, row in rows)


def python2(planes, labels):
    """A batch as Python 2 pickled the published ones (protocol 2), opcode by opcode."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    rows, columns = planes.shape
    raw = planes.tobytes()
    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"K\0K\1\x87R"
    dtype += b"(K\3" + short(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    state = b"(K\1K" + bytes([rows]) + b"K" + bytes([columns]) + b"\x86" + dtype
    state += b"\x89T" + struct.pack("<I", len(raw)) + raw + b"t"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + short(b"b")
    array += b"\x87R" + state + b"b"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\2}(" + short(b"data") + array + short(b"labels") + numbers + b"u."


def write_batches(folder, write, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (planes, labels) in colour_batches().items():
        (folder / (name + suffix)).write_bytes(write(planes, labels))


@pytest.fixture
def published(monkeypatch):
    """The tiny Python batches count as the published ones."""
    for name, batch in colour_batches().items():
        md5 = hashlib.md5(python2(*batch), usedforsecurity=False).hexdigest()
        monkeypatch.setitem(cifar.PYTHON_BATCHES, name, md5)


def assert_is_colour(arrays):
    """The expected arrays, pixel by pixel: plane c, row i, column j is byte c * 6 + i * 3 + j."""
    batches = colour_batches()
    *train, test = batches.values()
    for images, labels, parts in (
        (arrays.x_train, arrays.y_train, train),
        (arrays.x_test, arrays.y_test, [test]),
    ):
        planes = np.concatenate([planes for planes, _ in parts])
        for n, i, j, c in np.ndindex(images.shape):
            assert images[n, i, j, c] == planes[n, c * 6 + i * 3 + j]
        assert labels.tolist() == [label for _, part in parts for label in part]
    assert arrays.x_train.shape == (10, 2, 3, 3) and arrays.x_test.shape == (3, 2, 3, 3)
    assert arrays.x_train[0, 0, 1].tolist() == [1, 7, 13]


VERSIONS = pytest.mark.parametrize(("write", "suffix"), [(python2, ""), (binary, ".bin")])


@VERSIONS
def test_cifar_folder_gives_back_what_was_written(tmp_path, published, write, suffix):
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 batch"):
        cifar.read_folder(tmp_path, COLOUR)
    write_batches(tmp_path, write, suffix)
    assert_is_colour(cifar.read_folder(tmp_path, COLOUR))
    (tmp_path / f"data_batch_3{suffix}").unlink()
    with pytest.raises(DataError, match=f"lacks the batch file data_batch_3{suffix}$"):
        cifar.read_folder(tmp_path, COLOUR)


@VERSIONS
def test_an_archive_is_opened_only_when_it_is_the_published_one(
    tmp_path, published, monkeypatch, write, suffix
):
    path = tmp_path / "any-name"
    write_batches(tmp_path / "cifar-10-batches", write, suffix)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches", "cifar-10-batches")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(cifar.ARCHIVES, "cifar-10-python.tar.gz", sha256)
    assert_is_colour(cifar.read_archive(path, COLOUR))
    monkeypatch.setattr(tarfile, "open", None)  # opening it would be another error
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(DataError, match="is not opened: its sha256 is .*unpack it and give the folder"):
        cifar.read_archive(path, COLOUR)


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_pickle_that_is_not_the_published_one_is_not_opened(tmp_path):
    canary = tmp_path / "canary"
    raw = pickle.dumps({b"data": Calls(canary.touch)})
    for batch in (raw, b"", python2(*colour_batches()["test_batch"])):
        with pytest.raises(DataError, match="is not opened: its md5 is .*, which no published batch has"):
            cifar.parse_python(batch, 2, COLOUR, "it")
    assert not canary.exists()
    pickle.loads(raw)  # the very same bytes do run elsewhere
    assert canary.exists()


def test_spoiled_binary_batch_is_refused():
    planes = np.arange(2 * PIXELS, dtype=np.uint8).reshape(2, PIXELS)
    for raw, message in (
        (binary(planes, [1, 2])[:-1], "truncated"),
        (binary(planes, [1, 2]) + b"\0", "too long"),
        (binary(planes, [10, 2]), "label 10 of sample 0 in it is not in 0..9"),
    ):
        with pytest.raises(DataError, match=message):
            cifar.parse_binary(raw, 2, COLOUR, "it")


def test_oversized_batch_file_is_refused_unread(tmp_path):
    with open(tmp_path / "data_batch_1", "wb") as file:
        file.truncate(10**12)  # sparse: a terabyte by name only
    with pytest.raises(DataError, match="larger than any batch"):
        cifar.read_folder(tmp_path, COLOUR)
