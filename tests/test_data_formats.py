"""The readers of `keras_neuronlevel.data` on honest, damaged and hostile files."""

import dataclasses
import gzip
import io
import os
import pickle
import struct
import tarfile

import numpy as np
import pytest

from keras_neuronlevel.data import archives, cifar, idx, pickles
from keras_neuronlevel.data.specs import CIFAR10, MNIST, DataError

GREY = dataclasses.replace(MNIST, image_shape=(3, 2, 1), n_train=6, n_test=4)
COLOUR = dataclasses.replace(CIFAR10, image_shape=(2, 3, 3), n_train=10, n_test=3)
PIXELS = 18

# IDX -------------------------------------------------------------------------------------------


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


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


def python2(planes, labels, shape=None, code=b"u1", fortran=False):
    """A batch as Python 2 pickled the published ones (protocol 2), opcode by opcode."""

    def short(text):
        return b"U" + bytes([len(text)]) + text

    rows, columns = shape or planes.shape
    raw = planes.tobytes("F" if fortran else "C")
    dtype = b"cnumpy\ndtype\n" + short(code) + b"K\0K\1\x87R"
    dtype += b"(K\3" + short(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    state = b"(K\1K" + bytes([rows]) + b"K" + bytes([columns]) + b"\x86" + dtype
    state += (b"\x88" if fortran else b"\x89") + b"T" + struct.pack("<I", len(raw)) + raw + b"t"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + short(b"b")
    array += b"\x87R" + state + b"b"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\2}(" + short(b"data") + array + short(b"labels") + numbers + b"u."


def python3(planes, labels):
    return pickle.dumps({b"data": planes, b"labels": labels}, protocol=2)


def write_batches(folder, write, suffix=""):
    folder.mkdir(parents=True, exist_ok=True)
    for name, (planes, labels) in colour_batches().items():
        (folder / (name + suffix)).write_bytes(write(planes, labels))


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


@pytest.mark.parametrize(("write", "suffix"), [(python2, ""), (python3, ""), (binary, ".bin")])
def test_cifar_folder_gives_back_what_was_written(tmp_path, write, suffix):
    write_batches(tmp_path, write, suffix)
    assert_is_colour(cifar.read_folder(tmp_path, COLOUR))


def test_python_batch_in_fortran_order_is_the_same(tmp_path):
    write_batches(tmp_path, lambda planes, labels: python2(planes, labels, fortran=True))
    assert_is_colour(cifar.read_folder(tmp_path, COLOUR))


@pytest.mark.parametrize(("write", "suffix"), [(python2, ""), (binary, ".bin")])
def test_cifar_archive_gives_back_what_was_written(tmp_path, write, suffix):
    write_batches(tmp_path / "cifar-10-batches", write, suffix)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "cifar-10-batches", "cifar-10-batches")
    assert_is_colour(cifar.read_archive(tmp_path / "a.tar.gz", COLOUR))


@pytest.mark.parametrize(("write", "suffix"), [(python2, ""), (binary, ".bin")])
def test_missing_batch_is_named(tmp_path, write, suffix):
    with pytest.raises(FileNotFoundError, match="no CIFAR-10 batch"):
        cifar.read_folder(tmp_path, COLOUR)
    write_batches(tmp_path, write, suffix)
    (tmp_path / f"data_batch_3{suffix}").unlink()
    with pytest.raises(DataError, match=f"lacks the batch file data_batch_3{suffix}$"):
        cifar.read_folder(tmp_path, COLOUR)


PLANES = np.arange(2 * PIXELS, dtype=np.uint8).reshape(2, PIXELS)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (python2(PLANES, [1, 2])[:-30], "read safely"),
        (python2(PLANES, [1, 2], shape=(3, PIXELS)), "do not fill"),
        (python2(PLANES[:1], [1]), "data have shape"),
        (python2(PLANES, [1]), "1 labels for 2 images"),
        (python2(PLANES, [1, 10]), "label 10 of sample 1 is not in 0..9"),
        (python3(PLANES, [1, -1]), "label -1 of sample 1"),
        (python3(PLANES, [1, 2.0]), "not a list of integers"),
        (python2(PLANES, [1, 2], code=b"i1"), "expected u1"),
        (python3(PLANES.astype(object), [1, 2]), "expected u1"),
        (pickle.dumps({b"labels": [1, 2]}, 2), "data have shape"),
        (pickle.dumps([1, 2], 2), "expected a dictionary"),
        (b"", "read safely"),
    ],
)
def test_spoiled_python_batch_is_refused(raw, message):
    assert cifar.parse_python(python2(PLANES, [1, 2]), 2, COLOUR, "it")[1].tolist() == [1, 2]
    with pytest.raises(DataError, match=message):
        cifar.parse_python(raw, 2, COLOUR, "it")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (binary(PLANES, [1, 2])[:-1], "truncated"),
        (binary(PLANES, [1, 2]) + b"\0", "too long"),
        (binary(PLANES, [10, 2]), "label 10 of sample 0"),
    ],
)
def test_spoiled_binary_batch_is_refused(raw, message):
    with pytest.raises(DataError, match=message):
        cifar.parse_binary(raw, 2, COLOUR, "it")


def test_oversized_batch_file_is_refused_unread(tmp_path):
    with open(tmp_path / "data_batch_1", "wb") as file:
        file.truncate(10**12)  # sparse: a terabyte by name only
    with pytest.raises(DataError, match="larger than any batch"):
        cifar.read_folder(tmp_path, COLOUR)


# Hostile pickles and archives ------------------------------------------------------------------


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_that_calls_os_system_is_refused_and_does_nothing(tmp_path, protocol):
    canary = tmp_path / "canary"
    raw = pickle.dumps({b"data": Calls(os.system, f"touch {canary}")}, protocol)
    with pytest.raises(DataError, match="system, which is refused"):
        pickles.loads(raw, "it")
    assert not canary.exists()
    pickle.loads(raw)  # the very same bytes do run elsewhere
    assert canary.exists()


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
        (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
        (b"\x80\4\x8c\5numpy\x8c\x0fdtype.__class__\x93.", "dtype.__class__"),
        (b"c_codecs\nencode\n(Va\nVrot13\ntR.", "asks for the encoding"),
        (b"\x80\2}r\xff\xff\xff\x7f.", "memo of 2147483647"),
        (b"\x80\2Pid\n.", "persistent"),
        (b"\x80\2\x82\1.", "extension"),
    ],
)
def test_pickle_that_asks_for_anything_else_is_refused(raw, message):
    with pytest.raises(DataError, match=message):
        pickles.loads(raw, "it")


def test_pickle_cannot_change_the_reader_for_the_next_file():
    poison = pickle.PROTO + b"\2" + b"cnumpy\ndtype\nN}U\4codeU\2u1s\x86b."
    with pytest.raises(DataError):  # sets an attribute of what stands for numpy.dtype
        pickles.loads(poison, "it")
    with pytest.raises(DataError, match="expected u1"):
        pickles.loads(python2(PLANES, [1, 2], code=b"i1"), "it")
    np.testing.assert_array_equal(pickles.loads(python2(PLANES, [1]), "it")["data"], PLANES)


def hostile_archive(path, name, kind=tarfile.REGTYPE, size=5):
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, "/etc/passwd"
        member.size = size if kind == tarfile.REGTYPE else 0
        archive.addfile(member, io.BytesIO(b"x" * member.size))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("../data_batch_1", tarfile.REGTYPE, "points outside"),
        ("a/../../data_batch_1", tarfile.REGTYPE, "points outside"),
        ("..\\data_batch_1", tarfile.REGTYPE, "points outside"),
        ("/tmp/data_batch_1", tarfile.REGTYPE, "points outside"),
        ("C:/data_batch_1", tarfile.REGTYPE, "points outside"),
        ("../other", tarfile.DIRTYPE, "points outside"),
        ("data_batch_1", tarfile.SYMTYPE, "link or a device"),
        ("data_batch_1", tarfile.LNKTYPE, "link or a device"),
        ("data_batch_1", tarfile.FIFOTYPE, "link or a device"),
    ],
)
def test_archive_that_reaches_outside_is_refused_and_writes_nothing(tmp_path, name, kind, message):
    folder = tmp_path / "inner"
    folder.mkdir()
    hostile_archive(folder / "a.tar.gz", name, kind)
    with pytest.raises(DataError, match=message):
        cifar.read_archive(folder / "a.tar.gz", COLOUR)
    assert [path.name for path in tmp_path.rglob("*")] == ["inner", "a.tar.gz"]


def test_archive_with_oversized_or_repeated_or_no_batch_is_refused(tmp_path):
    path = tmp_path / "a.tar.gz"
    hostile_archive(path, "x/data_batch_1", size=50)
    assert archives.read_members(path, {"data_batch_1"}, 50) == {"data_batch_1": b"x" * 50}
    with pytest.raises(DataError, match="50 bytes, expected at most 49"):
        archives.read_members(path, {"data_batch_1"}, 49)
    with pytest.raises(DataError, match="lacks the batch file data_batch_2"):
        cifar.read_archive(path, COLOUR)
    hostile_archive(path, "x/readme")
    with pytest.raises(DataError, match="no CIFAR-10 batch file"):
        cifar.read_archive(path, COLOUR)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a/data_batch_1"))
        archive.addfile(tarfile.TarInfo("b/data_batch_1"))
    with pytest.raises(DataError, match="twice"):
        cifar.read_archive(path, COLOUR)


@pytest.mark.parametrize("keep", [*range(20), 60, 200])
def test_truncated_archive_is_refused(tmp_path, keep):
    write_batches(tmp_path / "batches", binary, ".bin")
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tmp_path / "batches")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="damaged archive|no CIFAR-10 batch|lacks the batch"):
        cifar.read_archive(path, COLOUR)
