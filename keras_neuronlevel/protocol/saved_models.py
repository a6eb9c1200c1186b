"""Load a saved Keras model that may come from anyone, and say in one sentence what keeps it from loading."""

import os
import zipfile
from pathlib import Path

import h5py
import keras

_FORMATS = {".keras": b"PK\x03\x04", ".h5": b"\x89HDF", ".hdf5": b"\x89HDF"}  # how they begin
# Keras stores what it saves uncompressed. An archive that unpacks to so many bytes (100 MiB), and to so many
# times its own size, was made by another, to fill the memory.
_SMALL, _RATIO = 100 * 2**20, 20
_REASON = 200  # characters of what Keras says


def load(path: str | os.PathLike) -> keras.Model:
    """The model in a .keras or .h5 file, without its optimizer; code that the file brings is not run.

    Raises:
        ValueError: in one sentence that names the file: there is none, it cannot be read, is damaged or of
            another format, unpacks to far more than a model's size, brings code of its own, or has layers
            that nothing registers.
    """
    path = Path(path)
    problem = _problem(path)
    if problem:
        raise ValueError(f"{path} {problem}")
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # whatever Keras raises for a configuration that it did not write
        raise ValueError(f"{path} cannot be loaded as a Keras model: {_reason(error)}") from error


def _problem(path):
    """What is wrong with the file before Keras looks at it, or None."""
    if not path.exists():
        return "does not exist; give a file saved by model.save(), .keras or .h5"
    if not path.is_file():
        return "is no file; give one saved by model.save(), .keras or .h5 (Keras loads no SavedModel folders)"
    if path.suffix not in _FORMATS:
        return f"has the ending {path.suffix!r}; give a model saved as .keras or .h5"
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        return f"cannot be read ({error.strerror}); check its permissions"
    if head[:4] != _FORMATS[path.suffix]:
        other = next((ending for ending, mark in _FORMATS.items() if head[:4] == mark), None)
        hint = f"by its contents it should end in {other}" if other else "it is damaged, or something else"
        return f"is no {path.suffix} file: {hint}"
    return _of_archive(path) if path.suffix == ".keras" else _of_hdf5(path)


def _of_archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > max(_SMALL, _RATIO * path.stat().st_size):
                return (
                    f"unpacks to {size:,} bytes, {size // path.stat().st_size} times its own; it is refused"
                )
            bad = archive.testzip()
            whole = "config.json" in archive.namelist()
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        EOFError,
        OSError,
        RuntimeError,
        NotImplementedError,
    ) as e:
        return f"is damaged ({str(e) or type(e).__name__}); save the model again"
    if bad:
        return f"is damaged (the checksum of {bad} in it is wrong); save the model again"
    return None if whole else "holds no config.json, so it is no model; give a file saved by model.save()"


def _of_hdf5(path):
    try:
        with h5py.File(path, "r") as file:
            known = "model_config" in file.attrs
    except (OSError, RuntimeError) as error:
        return f"is damaged ({error}); save the model again"
    return None if known else "holds no model, perhaps its weights alone; save it whole, by model.save()"


def _reason(error):
    """The reason that Keras gives, its first line; it stands in the last error of a chain."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    text = str(error).strip()
    if isinstance(error, RecursionError):
        return "its configuration is nested too deep"
    if "safe_mode" in text or "arbitrary code" in text:
        return (
            "it brings code of its own (a Lambda or TFSMLayer), which is never run; make that a registered "
            "layer class, and save the model again"
        )
    if "Could not locate" in text or "Unknown layer" in text:
        known = text.partition(". ")[0]
        return (
            f"{known}; register the class (keras.saving.register_keras_serializable) and import its module "
            "(evaluate_model.py does with --import)"
        )
    return (text.splitlines() or [type(error).__name__])[0][:_REASON]
