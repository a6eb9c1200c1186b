"""One run by several processes: who says how it goes on, who writes, and what all must be given alike."""

import argparse
import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from keras_neuronlevel import distribution, files

# Options that each worker may be given its own: where things are on its host, and what changes no result.
OWN = (
    "data_dir",
    "probe_data_dir",
    "output_dir",
    "data",
    "model",
    "weights",
    "checkpoint_every",
    "quiet",
    "verbose",
)


@contextlib.contextmanager
def begun(strategy: str) -> Iterator[distribution.Workers]:
    """``distribution.begun``, with workers of which only the chief says how it goes on."""
    with distribution.begun(strategy) as workers:
        if not workers.chief:
            logging.getLogger().setLevel(logging.WARNING)  # what the chief says is true of all
        yield workers


@contextlib.contextmanager
def at_work(workers: distribution.Workers, folder: Path) -> Iterator[None]:
    """While the block runs, the folder is the chief's, who writes; no worker leaves it before the others.

    Raises:
        files.InUseError: on the chief, where another process is at work in the folder.
    """
    with files.locked(folder) if workers.chief else contextlib.nullcontext():
        yield
        workers.told()  # so that none ends before the others


def check_same(workers: distribution.Workers, options: argparse.Namespace, **found: object) -> None:
    """Raises ``ValueError`` where workers were given other options, but for those in ``OWN``, or ``found``
    something else; it is named by its keyword."""
    given = {name: value for name, value in vars(options).items() if name not in OWN}
    workers.check_same("command", {**given, **found})
