"""A pickle reader for the Python batches of CIFAR-10 that executes nothing.

A pickle is a program: it may import any name and call it. Here the few names which the real batches
need stand for inert objects of this file, so that not even NumPy's own classes see what a file
says, and any other name is refused before it is looked up.
"""

import io
import math
import pickle
import pickletools

import numpy as np

from keras_neuronlevel.data.specs import DataError


def loads(raw, where):
    """Unpickle bytes that hold only plain values and uint8 arrays.

    Byte strings of Python 2 stay bytes. Arrays come back as NumPy arrays if they are values of a
    dictionary at the top.

    Args:
        raw: the bytes of the file.
        where: what to call the file in messages.

    Raises:
        DataError: the pickle asks for any other name, or is damaged. Nothing of it was run.
    """
    try:
        _refuse_vast_memo(raw)
        reader = _Reader(io.BytesIO(raw), encoding="bytes")
        value = reader.load()
        if not isinstance(value, dict):
            raise DataError(f"it holds a {type(value).__name__}, expected a dictionary")
        return {_text(key): reader.convert(item) for key, item in value.items()}
    except Exception as error:  # a damaged pickle can raise almost anything
        message = str(error) or type(error).__name__
        raise DataError(f"{where} is not a batch that can be read safely: {message}") from error


def _refuse_vast_memo(raw):
    """Refuse a memo number beyond the file's length, for which Python would fill the memory."""
    for opcode, argument, _ in pickletools.genops(raw):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > len(raw):
            raise DataError(f"it asks for a memo of {argument} entries")


class _Reader(pickle.Unpickler):
    """Unpickler that knows five names, all of them inert."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._array, self._names = _inert_names()

    def find_class(self, module, name):
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")
        return self._names[module, name]

    def convert(self, value):
        return _as_numpy(value) if isinstance(value, self._array) else value


def _inert_names():
    """The stand-in for numpy.ndarray, and the allowed names with what each stands for.

    All of it is made anew for every file: a pickle can set attributes of what it is given.
    """

    class Dtype:
        def __init__(self, code, *_):
            self.code = code

        def __setstate__(self, state):
            """Byte order and fields: of no meaning for single bytes."""

    class Array:
        def __setstate__(self, state):
            _, self.shape, self.dtype, self.fortran, self.raw = state

    def reconstruct(*_):
        return Array()

    def encode(text, encoding):
        if _text(encoding) not in ("latin1", "latin-1"):
            raise pickle.UnpicklingError(f"it asks for the encoding {encoding!r}")
        return text.encode("latin1")

    return Array, {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): reconstruct,
        ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument of reconstruct
        ("numpy", "dtype"): Dtype,
        ("_codecs", "encode"): encode,
    }


def _as_numpy(array):
    """The uint8 array that an inert one describes, read-only; DataError if it describes none."""
    code, shape = _text(array.dtype.code), array.shape
    if code != "u1":
        raise DataError(f"its data have the type {code!r}, expected u1 (uint8)")
    if not isinstance(array.raw, bytes) or len(array.raw) != math.prod(shape):
        raise DataError(f"its data do not fill an array of shape {shape}: truncated?")
    order = "F" if array.fortran else "C"
    return np.frombuffer(array.raw, np.uint8).reshape(shape, order=order)


def _text(value):
    """A str, whether the pickle had it as bytes (Python 2) or as str (Python 3)."""
    return value.decode("latin1") if isinstance(value, bytes) else value
