"""What every experiment's command line shares: options, messages, exit status."""

import argparse
import functools
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_neuronlevel import checks, papers

STRATEGIES = ("none", "mirrored", "multiworker")  # see ``distribution.begun``
EXPERIMENTS = ("derivatives", "quantization", "window")  # done unless others are named
# Done when named: windows with twice the training budget; signs of the clipped loss, which the training must
# record; and no measuring at all, "training" alone.
CHECKS = ("budget", "clipped", "training")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """The ``type`` of an option that takes whole numbers, and refuses others, and those outside."""
    return functools.partial(_checked, int, checks.whole, least=least, most=most)


def seed(text: str) -> int:
    """The ``type`` of an option that takes a seed."""
    return whole(0, checks.LARGEST_SEED)(text)


def number(**limits: float) -> Callable[[str], float]:
    """The ``type`` of an option that takes numbers; ``limits`` are those of ``checks.number``."""
    return functools.partial(_checked, float, checks.number, **limits)


def _checked(kind, check, text, **limits):
    try:
        value = kind(text)
    except ValueError:
        value = text
    try:
        return check("it", value, **limits)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def folder(text: str) -> Path:
    """The ``type`` of an option that names a folder to write into, which need not exist yet."""
    path = Path(text)
    for known in (path, *path.parents):
        if known.exists() and not known.is_dir():
            raise argparse.ArgumentTypeError(f"{known} is a file; give a folder")
    return path


def file_part(text: str) -> str:
    """The ``type`` of an option that becomes part of file names: refuses what leads to another folder."""
    if not re.fullmatch(r"\w[\w .+-]{0,99}", text):
        raise argparse.ArgumentTypeError(
            f"it is {text!r}, and becomes part of file names; give letters, digits, '.', '-', '_' or blanks, "
            "at most 100, a letter or digit first"
        )
    return text


def parser(row: papers.Experiment, description: str, activations: Sequence[str]) -> argparse.ArgumentParser:
    """The options that all training experiments have.

    Args:
        row: the experiment.
        description: of the script.
        activations: those that it has a recipe for.
    """
    options = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,  # an option's whole name says which it is, also after a new one came
    )
    options.add_argument("--activation", nargs="+", choices=list(activations), default=list(activations))
    options.add_argument("--preset", choices=("auto", *row.presets), default="auto", help="scale of the run")
    options.add_argument("--dataset", choices=row.data, default=row.data[0])
    options.add_argument(
        "--experiments",
        nargs="+",
        choices=(*EXPERIMENTS, *CHECKS),
        default=list(EXPERIMENTS),
        help="what to measure on the trained networks; clipped: in the same training record "
        "the signs of the loss of clipped probabilities, too; training: only train and record them",
    )
    options.add_argument("--seed", type=seed, default=0)
    options.add_argument("--data-dir", type=Path, help="where the data set is, if not in a known place")
    options.add_argument("--output-dir", type=folder, default=Path("outputs", row.name))
    again = options.add_mutually_exclusive_group()
    again.add_argument("--force", action="store_true", help="train again what is finished already")
    again.add_argument(
        "--remeasure", action="store_true", help="measure finished networks again, and train none"
    )
    strategy(options)
    options.add_argument(
        "--checkpoint-every",
        type=number(above=0),
        default=600,
        metavar="SECONDS",
        help="how often a training is saved; after an interruption the same command goes on from there",
    )
    return options


def strategy(options: argparse.ArgumentParser, choices: Sequence[str] = STRATEGIES) -> None:
    """Add the option ``--strategy``."""
    options.add_argument(
        "--strategy",
        choices=choices,
        default="none",
        help="TensorFlow's way to share the work: mirrored over the devices of one process, multiworker over "
        "processes that TF_CONFIG names (experiments/workers.py starts local ones)",
    )


def run(main: Callable[[], None]) -> None:
    """Call ``main()`` as a script: one clear line for an error that a user can cause, and exit status 1.

    Ctrl-C and SIGTERM end it with one line too, and exit status 130 and 143.

    With ``NEURONLEVEL_DEBUG`` set in the environment, the traceback is shown instead.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # every readout is traced anew, on purpose
    from keras_neuronlevel.checkpoints import CheckpointError
    from keras_neuronlevel.data import DataError
    from keras_neuronlevel.files import InUseError
    from keras_neuronlevel.interruption import Interrupted, terminable
    from keras_neuronlevel.records import RecordsError

    try:
        with terminable():
            main()
    except (ValueError, OSError, DataError, RecordsError, CheckpointError, InUseError) as error:
        if os.environ.get("NEURONLEVEL_DEBUG"):
            raise
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as interrupt:
        stop = interrupt if isinstance(interrupt, Interrupted) else Interrupted(signal.SIGINT, "")
        message = str(stop) or "what was finished is kept: run the same command again to go on"
        print(f"interrupted: {message}", file=sys.stderr)
        sys.exit(stop.status)
