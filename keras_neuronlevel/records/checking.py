"""Whether a file is a whole records file: by its checksum before HDF5 reads it, then by what it holds."""

import json
import logging
import math

import h5py

from keras_neuronlevel import files
from keras_neuronlevel.records.layout import (
    AXES,
    FORMAT,
    RECORDING,
    SCHEMA,
    SCHEMA_VERSION,
    USER_BLOCK,
    RecordsError,
    user_block,
)

logger = logging.getLogger(__name__)

# What HDF5 and JSON raise for what they cannot read.
FAULTS = (OSError, ValueError, LookupError, TypeError, RuntimeError, AttributeError, MemoryError)

_HDF5 = b"\x89HDF\r\n\x1a\n"  # how a file of an earlier release begins, which has no user block
_INFLATES = 1100  # deflate makes at most so many bytes of one


def opened(path, verify):
    """The open HDF5 file, once nothing speaks against it; raises ``RecordsError``."""
    if not path.exists():
        partials = files.partials(path)
        if partials:
            raise RecordsError(
                f"{path} is unfinished: only {partials[0].name} is there. The training still runs, "
                "or it was interrupted: call the recorder's finish() where it is still at hand, which "
                "writes all that was recorded so far, or run the training again to its end"
            )
        raise RecordsError(f"there is no records file at {path}")
    if not path.is_file():
        raise RecordsError(f"{path} is no regular file; give the .h5 file of a recording")
    try:
        problem = _damage(path, verify)
    except OSError as error:
        raise RecordsError(f"{path} is not a readable HDF5 file: {error}") from None
    if problem:
        raise RecordsError(f"{path} {problem}")
    try:
        file = h5py.File(path, "r")
    except FAULTS as error:
        raise RecordsError(f"{path} is not a readable HDF5 file: {error}") from None
    try:
        problem = _problem(file)
    except FAULTS as error:
        problem = f"is damaged: {str(error) or type(error).__name__}"
    if problem:
        file.close()
        raise RecordsError(f"{path} {problem}")
    return file


def _damage(path, verify):
    """What the first bytes and the checksum say against a file, in words, or None; HDF5 has no part in it."""
    with open(path, "rb") as file:
        head = file.read(USER_BLOCK)
        if head.startswith(_HDF5):
            logger.warning(
                "%s has no checksum, as recordings of earlier releases: damage to it may stay unseen", path
            )
            return None
        if head == bytes(USER_BLOCK):
            return "is unfinished: its checksum was never written; run the training again to the end"
        if not head.startswith(FORMAT):
            return "is not a readable HDF5 file of recordings: it begins with other bytes than one"
        if verify and head != user_block(file):
            return (
                "is damaged, or was altered or cut since it was written: its checksum is another; restore it "
                "from a copy, or record it again"
            )
    return None


def _problem(file):
    if file.attrs.get("schema") != SCHEMA:
        return "is an HDF5 file, but not one of keras_neuronlevel's recordings"
    version = file.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        return (
            f"has schema version {version}; this release reads version {SCHEMA_VERSION}: "
            "record it again, or use the release that wrote it"
        )
    if "recordings" not in file:
        return "is unfinished: it has no table of recordings; run the training again to the end"
    foreign = next(_foreign(file), None)
    if foreign:
        return f"is damaged or made up: {foreign}"
    layers = json.loads(file.attrs.get("layers", "[]"))
    if not isinstance(layers, list) or not all(isinstance(layer, str) for layer in layers):
        return "is damaged: its layers are no list of names"
    parts = ["samples/index", "samples/label", "snapshot_recordings"]
    for layer in layers:
        signs = (f"signs/{layer}/{part}" for part in ("sign_sum", "nonzero", "neurons", "snapshot_neurons"))
        parts += [*signs, f"snapshots/{layer}"]
    missing = [part for part in parts if part not in file]
    if missing or not layers or "provenance" not in file.attrs:
        return f"is damaged: it lacks {', '.join(missing) or 'its layers or provenance'}; record it again"
    return next(_misfits(file, layers), None)


def _foreign(group, depth=0):
    """What a records file never has: links, values kept elsewhere, values that are not there."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            yield f"{name} is a link to elsewhere"
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            yield from _foreign(item, depth + 1) if depth < 64 else ["its groups are nested too deeply"]
        elif item.is_virtual or item.external:
            yield f"{item.name} has its values in another file"
        elif not _present(item):
            yield f"{item.name} claims more values than the file holds"


def _present(dataset):
    """Whether all values of a dataset are in the file: chunks that are missing would be read as zeros."""
    stored = dataset.id.get_storage_size()
    if dataset.chunks is None:
        return dataset.nbytes <= stored
    shape = dataset.shape
    pieces = zip(shape, dataset.chunks, strict=True)
    chunks = math.prod(-(-size // chunk) for size, chunk in pieces)
    inflates = _INFLATES if dataset.compression else 1
    most = dataset.nbytes <= stored * inflates
    return most and (not dataset.nbytes or dataset.id.get_num_chunks() == chunks)


def _misfits(file, layers):
    """Sizes and types that contradict one another."""
    table, index = file["recordings"], file["samples/index"]
    samples, moments = len(index), len(file["snapshot_recordings"])
    if table.dtype != RECORDING or table.ndim != 1 or not len(table):
        yield f"is damaged: its table of recordings has type {table.dtype} and shape {table.shape}"
    wanted = {
        "samples/index": (samples,),
        "samples/label": (samples, *file["samples/label"].shape[1:]),
        "snapshot_recordings": (moments,),
    }
    for layer in layers:
        signs = file[f"signs/{layer}"]
        sizes = {name: len(signs[name]) for name in AXES if name in signs}
        wanted |= {f"signs/{layer}/{name}": (size,) for name, size in sizes.items()}
        places = ("positions", "snapshot_positions") if "positions" in signs else (None, None)
        kept, shown = ((sizes[name],) if name else () for name in places)
        for part in ("sign_sum", "nonzero"):
            wanted[f"signs/{layer}/{part}"] = (samples, sizes["neurons"], *kept)
        wanted[f"snapshots/{layer}"] = (moments, samples, sizes["snapshot_neurons"], *shown)
    for name, shape in wanted.items():
        kinds = "biuf" if name == "samples/label" else "f" if name.startswith("snapshots/") else "iu"
        found = file[name]
        if found.shape != shape or found.dtype.kind not in kinds:
            yield (
                f"is damaged: {name} has shape {found.shape} and type {found.dtype}, where the rest of the "
                f"file wants shape {shape}"
            )
