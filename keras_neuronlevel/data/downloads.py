"""Lets tensorflow_datasets download and prepare a set, after a quick look whether it can.

Without a network tensorflow_datasets retries for almost four minutes; the look takes seconds.
"""

import importlib.util
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from keras_neuronlevel.data import prepared
from keras_neuronlevel.data.arrays import Arrays
from keras_neuronlevel.data.specs import DataError, Spec

PROBE_SECONDS = 4.0


def download(root: Path, spec: Spec) -> Arrays:
    """Download and prepare the set of `spec` below `root`, then read it.

    Raises:
        ConnectionError: the host of the set does not answer.
        DataError: a package is missing, or tensorflow_datasets failed.
    """
    for package in ("tensorflow_datasets", "importlib_resources"):
        if importlib.util.find_spec(package) is None:
            raise DataError(
                f"preparing a set needs the package {package}, which is not installed"
                f" (pip install {package.replace('_', '-')})"
            )
    probe(spec.url)
    try:
        import tensorflow_datasets as tfds

        tfds.builder(spec.name, data_dir=root).download_and_prepare()
    except Exception as error:  # of requests, TensorFlow, or tensorflow_datasets itself
        fault = f"{type(error).__name__}: {error}"
        raise DataError(f"tensorflow_datasets could not prepare {spec.name}: {fault}") from error
    return prepared.read(root, spec)


def probe(url: str, seconds: float = PROBE_SECONDS) -> None:
    """Return if the host of `url` answers within `seconds`, else raise ConnectionError.

    It asks for the head of the file, through the proxy if the environment names one. The work is
    done in a thread because the look-up of a host's name knows no time limit.
    """
    fault: list[str | None] = [f"no answer within {seconds:g} s"]
    thread = threading.Thread(target=_ask, args=(url, seconds, fault), daemon=True)
    thread.start()
    thread.join(seconds)
    if fault[0]:
        host = urllib.parse.urlsplit(url).hostname
        raise ConnectionError(f"{host} cannot be reached: {fault[0]}")


def _ask(url, seconds, fault):
    """Set `fault[0]` to None if `url` can be had, else to the reason."""
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=seconds):
            fault[0] = None
    except (OSError, ValueError) as error:
        fault[0] = str(getattr(error, "reason", None) or error)
