"""Where a result comes from: versions, machine, commit, time."""

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("tensorflow", "keras", "tensorflow-datasets", "numpy", "h5py", "matplotlib")


def collect(**extra: object) -> dict:
    """A JSON-able dictionary of versions, hardware, commit and time, with ``extra`` added.

    ``commit`` is None outside a git checkout and ends in ``+changes`` where tracked files of the package
    or the experiments differ from it. ``gpus`` names the accelerators that TensorFlow sees.
    """
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "gpus": _gpus(),
        **extra,
    }


def _versions():
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    if found["tensorflow"] is None:
        found["tensorflow"] = _tensorflow_version()
    return found


def _tensorflow_version():
    """TensorFlow's version where it was installed as another package, such as ``tensorflow-cpu``."""
    import tensorflow as tf

    return tf.__version__


def _gpus():
    import tensorflow as tf

    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]


def _commit():
    package = Path(__file__).resolve().parents[1]
    top, commit = _git(package, "rev-parse", "--show-toplevel"), _git(package, "rev-parse", "HEAD")
    if not top or not commit or Path(top).resolve() != package.parent:  # installed into another repository
        return None
    changed = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".", "../experiments")
    return f"{commit}+changes" if changed else commit


def _git(folder, *arguments):
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
