"""Images and labels: held against a network before any work is done, counted, and cut into pieces."""

from collections.abc import Iterator, Sequence

import numpy as np

from keras_neuronlevel import checks

PIECE = 2**22  # values looked at together


def check_images(x, shape: Sequence[int | None], what: str = "x", dtype="float32"):
    """Images (N, *shape) that a network can take, N at least 1.

    Args:
        x: an array, or a sequence that makes its images when asked for
            (:class:`~keras_neuronlevel.data.images.Images`), whose values are not looked at.
        shape: of one image, None for a side of any length.
        what: how messages call the images.
        dtype: the type in which the network takes them.

    Returns:
        x itself, or the array that it stands for; not converted to ``dtype``.

    Raises:
        ValueError: another shape, no image, values that are no real numbers, or that are not finite in
            ``dtype``.
    """
    x = x if hasattr(x, "batches") else np.asarray(x)
    fits = len(x.shape) == 1 + len(shape) and all(
        want in (None, have) for have, want in zip(x.shape[1:], shape, strict=True)
    )
    if not fits:
        sides = "".join(f", {'any' if side is None else side}" for side in shape)
        raise ValueError(f"{what} has shape {x.shape}, but the network takes images of shape (N{sides})")
    if len(x) == 0:
        raise ValueError(f"{what} is empty; give at least one image")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{what} holds values of type {x.dtype}; give real numbers")
    if not hasattr(x, "batches") and x.dtype.kind == "f":
        _check_finite(x, what, np.dtype(dtype))
    return x


def _check_finite(x, what, dtype):
    size = max(1, PIECE // max(1, x[0].size))
    for start in range(0, len(x), size):
        with np.errstate(over="ignore"):
            piece = np.isfinite(x[start : start + size].astype(dtype, copy=False)).reshape(-1, x[0].size)
        if not piece.all():
            first = start + int((~piece.all(axis=1)).argmax())
            raise ValueError(
                f"image {first} of {what} holds NaN or infinite values (as {dtype}); remove it, or correct "
                "its scale"
            )


def check_labels(y, count: int | Sequence[int | None], classes: int, what: str = "y") -> np.ndarray:
    """Labels of ``count`` samples as int64 (N,), each the number of a class, 0 to K - 1.

    Whole numbers of any type are taken, (N, 1) as (N,), and one-hot rows (N, K) as the classes they stand
    for.
    ``count`` may be a shape (N, ...) where a sample has several labels, such as one for each token.

    Raises:
        ValueError: another shape, values that are no whole numbers, or a label outside 0..K-1.
    """
    shape = (count,) if isinstance(count, int) else tuple(count)
    y = np.asarray(y)
    if y.ndim == len(shape) + 1 and y.shape[-1] == 1:
        y = y[..., 0]
    elif y.ndim == len(shape) + 1 and y.shape[-1] == classes:
        y = _of_one_hot(y, what)
    fits = y.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, y.shape, strict=True))
    if not fits:
        each = "one label each" if len(shape) == 1 else f"labels of shape {shape}"
        raise ValueError(f"{what} has shape {y.shape}, but there are {shape[0]} samples; give {each}")
    if y.dtype.kind not in "biuf" or not (y == np.floor(y)).all():
        raise ValueError(f"{what} holds values of type {y.dtype} that are no whole numbers")
    wrong = np.argwhere((y < 0) | (y >= classes))
    if wrong.size:
        first = tuple(wrong[0])
        raise ValueError(
            f"label {y[first]} of sample {first[0]} in {what} is not in 0..{classes - 1}, the numbers of "
            f"the {classes} classes"
        )
    return y.astype(np.int64)


def _of_one_hot(y, what):
    if not (((y == 0) | (y == 1)).all() and (y.sum(axis=-1) == 1).all()):
        raise ValueError(
            f"{what} has shape {y.shape}, which looks one-hot, but its rows are not a single 1 among zeros; "
            f"give the class numbers, such as {what}.argmax(-1), or, for other targets, "
            "loss= to record and metric= for curves"
        )
    return y.argmax(axis=-1)


def count(x) -> int:
    """How many samples x holds: an array (N, ...), or a list or dictionary of such arrays."""
    while is_structure(x):
        x = next(iter(x.values() if isinstance(x, dict) else x))
    return len(x)


def is_structure(x):
    """Whether x is several arrays rather than one: a dictionary, a tuple, or a list of arrays."""
    if isinstance(x, dict | tuple):
        return True
    return isinstance(x, list) and all(hasattr(part, "shape") and len(part.shape) > 0 for part in x)


def some_of(x, index):
    """Some of the samples x, an array or a list or dictionary of arrays: a slice, or places."""
    if isinstance(x, dict):
        return {name: some_of(part, index) for name, part in x.items()}
    return type(x)(some_of(part, index) for part in x) if is_structure(x) else x[index]


def check_parts(data: object) -> None:
    """Raises ``ValueError`` for data without images and labels to train on and to test on."""
    missing = [name for name in ("x_train", "y_train", "x_test", "y_test") if not hasattr(data, name)]
    if missing:
        raise ValueError(
            f"data is of type {type(data).__name__} and lacks {', '.join(missing)}; give what data.load "
            "gives, or any object with x_train, y_train, x_test and y_test"
        )


def slices(array, size: int) -> Iterator:
    """The array cut into pieces of ``size`` samples, the last one shorter; images that are not in memory
    (:class:`~keras_neuronlevel.data.images.Images`) are made piece by piece. ``ValueError`` below 1."""
    size = checks.whole("batch_size", size, least=1)
    if hasattr(array, "batches"):
        return array.batches(size)
    return (some_of(array, slice(start, start + size)) for start in range(0, count(array), size))
