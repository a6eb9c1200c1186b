"""ImageNet (ILSVRC 2012) from a folder of pictures or from tensorflow_datasets, never whole in memory.

The class index of a picture is the place of its wnid ("n01440764") in the sorted list of the 1000. A
picture is decoded, scaled so that its short side is 256, and its central 224 × 224 pixels are taken, as is
usual for networks of this input size; a picture that has exactly that size already is taken as it is.
EXIF orientation is ignored, as Keras and TensorFlow do.
"""

import csv
import hashlib
import itertools
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import tensorflow as tf

from keras_neuronlevel.data import prepared
from keras_neuronlevel.data.images import PARALLEL, Images, untuned
from keras_neuronlevel.data.preprocessing import preprocess
from keras_neuronlevel.data.specs import IMAGENET, DataError

logger = logging.getLogger(__name__)

SIZE, SHORT_SIDE = 224, 256
MOST_PIXELS = 2**26  # of all frames of a picture: ImageNet's largest has 61 million
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
_PROVIDE = (
    "Pass a data folder that holds one folder of pictures per class, each named by its wnid "
    "(n01440764/...), or imagenet2012 as prepared by tensorflow_datasets."
)


@dataclass(frozen=True, eq=False)
class ImageNet:
    """Labelled pictures: ``labels`` (N,) int32 in 0..999 and ``names`` (N,) beside what makes the images.

    ``images(preprocessing)`` gives the :class:`Images` (N, 224, 224, 3). ``source`` says in words where
    they come from; ``digest`` is the SHA-256 of names, labels and file sizes.
    """

    name: str
    names: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    source: str
    digest: str
    read: Callable[[np.ndarray], tf.data.Dataset]  # indices (n,) -> tf.data.Dataset of encoded pictures

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, preprocessing: str = "unit", size: int = SIZE) -> Images:
        def make(encoded):
            return preprocess(picture(encoded, size), preprocessing)

        return Images(self.read, make, (size, size, 3), np.arange(len(self)))

    def subset(self, places) -> "ImageNet":
        """The pictures at these places: a slice, integers, or one truth value a picture."""
        places = np.arange(len(self))[places]
        return ImageNet(
            self.name,
            self.names[places],
            self.labels[places],
            self.class_names,
            self.source,
            self.digest,
            lambda indices: self.read(places[indices]),
        )


def load(data_dir: Path | str | None = None, split: str = "validation") -> ImageNet:
    """The :class:`ImageNet` pictures in a folder, or of a split prepared by tensorflow_datasets.

    ``split`` is "validation" or "train", or a part of one in the notation of tensorflow_datasets
    ("train[:1000]"), of which a folder gives all. A folder may have the folders ``train`` and ``val`` (or
    ``validation``); in one that has neither, all pictures belong to either split.

    Raises:
        DataError: there are none; the message says what was looked for and how to provide them.
    """
    if not re.fullmatch(r"(train|validation)(\[.*\])?", split):
        raise ValueError(f"split is {split!r}; give 'train', 'validation', or a part such as 'train[:1000]'")
    root = Path(data_dir).expanduser() if data_dir is not None else prepared.default_root()
    folder = prepared.find(root, IMAGENET)
    if folder is not None:
        return _from_tfds(folder, split)
    if data_dir is None:
        raise DataError(f"There is no {IMAGENET} in {root}. {_PROVIDE}")
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. {_PROVIDE}")
    wanted = ("train",) if split.startswith("train") else ("val", "validation")
    if any((root / name).is_dir() for name in ("train", "val", "validation")):
        found = [root / name for name in wanted if (root / name).is_dir()]
        if not found:
            raise DataError(f"{root} has no folder {' or '.join(wanted)}. {_PROVIDE}")
        root = found[0]
    return _from_folder(root)


@cache
def wnids() -> tuple[str, ...]:
    """The 1000 classes' wnids, sorted: the class index is the place in this tuple."""
    import tensorflow_datasets as tfds

    path = tfds.core.tfds_path("datasets/imagenet2012/labels.txt")
    return tuple(sorted(path.read_text().split()))


def _from_folder(root):
    places = {wnid: index for index, wnid in enumerate(wnids())}
    found, foreign, empty = [], [], []
    for folder in sorted(path for path in root.iterdir() if not path.name.startswith(".")):
        if not (folder.is_dir() and folder.name in places):
            foreign.append(folder.name)
            continue
        entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        pictures = [path for path in entries if _is_picture(path)]
        chosen = set(pictures)
        foreign += [f"{folder.name}/{path.name}" for path in entries if path not in chosen]
        found += [(path, places[folder.name]) for path in pictures]
        if not pictures:
            empty.append(folder.name)
    if not found:
        raise DataError(f"{root} holds no folder of pictures that is named by a wnid. {_PROVIDE}")
    for what, names in (("no pictures in", empty), ("not pictures of a class, left out", foreign)):
        names = [name for name in names if name not in ("labels.csv", "README.md")]
        if names:
            logger.warning("%s: %s", what, _few(names))
    paths = [path for path, _ in found]
    names = np.array([path.relative_to(root).as_posix() for path in paths])
    labels = np.array([label for _, label in found], np.int32)
    check_csv(root / "labels.csv", names, labels)
    return ImageNet(
        IMAGENET,
        names,
        labels,
        wnids(),
        f"a folder of {len(paths)} pictures of {len(set(labels.tolist()))} classes",
        _digest(names, labels, [path.stat().st_size for path in paths]),
        _reader([str(path) for path in paths]),
    )


def _is_picture(path):
    """By its ending; TensorFlow opens no file whose name is not UTF-8."""
    encodable = not re.search("[\ud800-\udfff]", path.name)
    return path.suffix.lower() in ENDINGS and path.is_file() and encodable


def _reader(paths):
    paths = np.array(paths)

    def read(indices):
        chosen = tf.data.Dataset.from_tensor_slices(paths[indices])
        return chosen.map(tf.io.read_file, num_parallel_calls=PARALLEL, deterministic=True)

    return read


def check_csv(path, names, labels):
    """``labels.csv`` (columns file, class_index), where present, must say what the folders say."""
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            rows, columns = list(table), table.fieldnames or []
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no table in UTF-8 that can be read: {error}") from None
    if not {"file", "class_index"} <= set(columns):
        raise DataError(f"{path} has the columns {', '.join(columns)}; file and class_index are needed")
    told = {row["file"]: row["class_index"] for row in rows}
    wrong = [
        f"{name} ({told[name]}, by its folder {label})"
        for name, label in zip(names, labels, strict=True)
        if name in told and told[name] != str(label)
    ]
    if wrong:
        raise DataError(
            f"{path} gives other class indices than the sorted list of the 1000 wnids: {_few(wrong)}; "
            "mend or remove the file"
        )
    untold = [str(name) for name in names if name not in told]
    if untold:
        logger.warning("%s says nothing of %d pictures: %s", path, len(untold), _few(untold))


def _from_tfds(folder, split):
    """A prepared split. One pass over it reads names and labels; pictures are decoded when asked for."""
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(folder)
    if split.partition("[")[0] not in builder.info.splits:
        raise DataError(f"{folder} has no split {split!r}, only {', '.join(builder.info.splits)}")
    class_names = tuple(builder.info.features["label"].names)
    if class_names != wnids():
        raise DataError(f"the classes of {folder} are not the 1000 sorted wnids, so its labels mean others")
    config = tfds.ReadConfig(interleave_cycle_length=1, assert_cardinality=False, try_autocache=False)
    decoders = {"image": tfds.decode.SkipDecoding()}
    try:
        stored = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False, read_config=config)
        rows = stored.map(lambda row: (row["file_name"], row["label"], tf.strings.length(row["image"])))
        names, labels, sizes = zip(*untuned(rows).as_numpy_iterator(), strict=True)
    except (tf.errors.OpError, ValueError) as error:  # the latter for a part that holds nothing
        raise DataError(f"split {split} of {folder} cannot be read: {_short(error)}") from error
    names = np.array([name.decode() for name in names])
    labels = np.array(labels, np.int32)

    def read(indices):
        """Places must ascend: a split is read from its beginning."""
        wanted = np.zeros(len(labels), bool)
        wanted[indices] = True
        if len(indices) != wanted.sum() or (np.diff(indices) <= 0).any():
            raise ValueError("pictures of a prepared split are read in their stored order; sort the places")
        chosen = tf.constant(wanted)
        last = int(np.max(indices, initial=-1))
        kept = stored.enumerate().take(last + 1).filter(lambda i, _: chosen[i])
        return kept.map(lambda _, row: row["image"])

    return ImageNet(
        IMAGENET,
        names,
        labels,
        class_names,
        f"tensorflow_datasets, split {split}",
        _digest(names, labels, sizes),
        read,
    )


def _digest(names, labels, sizes):
    rows = "\n".join(f"{n}\t{k}\t{s}" for n, k, s in zip(names, labels, sizes, strict=True))
    return hashlib.sha256(rows.encode()).hexdigest()


def picture(encoded: tf.Tensor, size: int = SIZE) -> tf.Tensor:
    """An encoded picture as float32 RGB (size, size, 3) in [0, 1]: short side to 256 / 224 · size by
    antialiased bilinear scaling, then the centre. A picture of exactly that size is taken as it is."""
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    image = tf.ensure_shape(image, [None, None, 3])
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    as_it_is = (height == size) & (width == size)
    cropped = tf.cond(as_it_is, lambda: tf.cast(image, tf.float32), lambda: _cropped(image, size))
    return tf.ensure_shape(cropped, [size, size, 3]) / 255


def _cropped(image, size):
    short = round(SHORT_SIDE * size / SIZE)
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scaled = tf.maximum(tf.cast(tf.round(sides * short / tf.reduce_min(sides)), tf.int32), size)
    image = tf.image.resize(image, scaled, antialias=True)
    top, left = (scaled[0] - size) // 2, (scaled[1] - size) // 2
    return tf.clip_by_value(image[top : top + size, left : left + size], 0.0, 255.0)


@dataclass(frozen=True)
class Inspection:
    """What decoding every picture once has shown: names of corrupt ones and of those not in RGB."""

    corrupt: dict[str, str]
    not_rgb: dict[str, str]


def inspect(pictures: ImageNet, threads: int = 8) -> Inspection:
    """Decode every picture once and report what is corrupt or not RGB: :class:`Inspection`.

    Greyscale and CMYK pictures are converted to RGB, as usual for ImageNet, which holds some; they are
    only reported. ``corrupt`` is {name: why}, ``not_rgb`` {name: mode}.
    """
    corrupt, not_rgb = {}, {}
    one_by_one = tf.data.Options()  # else TensorFlow reads ahead, by as many as it sees fit
    one_by_one.experimental_optimization.inject_prefetch = False
    stored = pictures.read(np.arange(len(pictures))).with_options(one_by_one)
    encoded = untuned(stored).as_numpy_iterator()
    with ThreadPoolExecutor(threads) as pool:
        # A pool's map takes all that its iterator gives at once: a few pictures at a time are enough.
        pieces = iter(lambda: list(itertools.islice(encoded, 16 * threads)), [])
        examined = itertools.chain.from_iterable(pool.map(_examine, piece) for piece in pieces)
        try:
            for name, (fault, mode) in zip(pictures.names, examined, strict=True):
                if fault:
                    corrupt[str(name)] = fault
                elif mode != "RGB":
                    not_rgb[str(name)] = mode
        except tf.errors.OpError as error:
            reason = str(error.message).split("\n")[0].rpartition(": ")[2].partition(" [[")[0]
            raise DataError(f"a picture cannot be read: {reason}") from None
    return Inspection(corrupt, not_rgb)


def _examine(encoded):
    """(what is wrong or None, the colour mode) of one encoded picture."""
    import io

    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            mode, pixels = opened.mode, opened.width * opened.height * getattr(opened, "n_frames", 1)
        if pixels > MOST_PIXELS:
            return f"{pixels} pixels, over all frames, where at most {MOST_PIXELS} are decoded", None
        tf.io.decode_image(encoded, channels=3, expand_animations=False)
    except UnidentifiedImageError:
        return "no format of pictures that is known", None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return _short(error), None
    except tf.errors.OpError as error:
        return _short(error), None
    return None, mode


def _short(error):
    """The first line of an error, without the name that TensorFlow gives to the function it ran."""
    text = re.sub(r"^\{\{.*?\}\}\s*", "", str(getattr(error, "message", error)).strip()).splitlines()
    return (text[0] if text else type(error).__name__)[:120]


def usable(
    pictures: ImageNet, *, skip_corrupt: bool = False, found: Inspection | None = None
) -> tuple[ImageNet, Inspection]:
    """The pictures without corrupt ones, which must be allowed: (pictures, :class:`Inspection`).

    ``found`` is what :func:`inspect` gave for these pictures, where that was called before.

    Raises ``DataError`` that names corrupt pictures, unless ``skip_corrupt``.
    """
    found = inspect(pictures) if found is None else found
    if found.not_rgb:
        modes = [f"{name} ({mode})" for name, mode in found.not_rgb.items()]
        logger.warning("%d pictures are not RGB and were converted: %s", len(modes), _few(modes))
    if not found.corrupt:
        return pictures, found
    faults = [f"{name} ({why})" for name, why in found.corrupt.items()]
    if not skip_corrupt:
        raise DataError(
            f"{len(faults)} pictures cannot be decoded: {_few(faults)}; replace them, or leave them out with "
            "--skip-corrupt"
        )
    logger.warning("%d pictures cannot be decoded and are left out: %s", len(faults), _few(faults))
    kept = [place for place, name in enumerate(pictures.names) if name not in found.corrupt]
    if not kept:
        raise DataError(f"none of the {len(faults)} pictures can be decoded: {_few(faults)}")
    return pictures.subset(kept), found


def _few(names, most=8):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
