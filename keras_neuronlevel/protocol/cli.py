"""What every experiment's command line shares: options, messages, exit status."""

import argparse
import functools
import logging
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

from keras_neuronlevel import checks, papers
from keras_neuronlevel.protocol import startup
from keras_neuronlevel.results import tables

STRATEGIES = {  # see ``distribution.begun``
    "none": None,
    "mirrored": "over the devices of one process",
    "multiworker": "over processes that TF_CONFIG names (experiments/workers.py starts local ones)",
}
EXPERIMENTS = ("derivatives", "quantization", "window")  # done unless others are named
# Done when named: windows with twice the training budget; signs of the clipped loss, which the training must
# record; and no measuring at all, "training" alone.
CHECKS = ("budget", "clipped", "training")
# What other libraries note is shown with --verbose; every readout is traced anew, on purpose.
LIBRARIES = {"absl": logging.WARNING, "matplotlib": logging.WARNING, "tensorflow": logging.ERROR}


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


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Keeps the lines of descriptions, and names the defaults that say something."""

    def _get_help_string(self, action):
        if action.default is None or action.default is False or "default" in (action.help or ""):
            return action.help
        return super()._get_help_string(action)


def options(description: str, epilog: str | None = None) -> argparse.ArgumentParser:
    """The options that all scripts have; a script adds its own, and :func:`parse` reads them."""
    found = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=_Help,
        allow_abbrev=False,  # an option's whole name says which it is, also after a new one came
    )
    said = found.add_mutually_exclusive_group()
    said.add_argument("--quiet", action="store_true", help="say only results and what is wrong")
    said.add_argument("--verbose", action="store_true", help="show what TensorFlow and others note, too")
    return found


def parse(options: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line (None), or the arguments, and say from now on as much as they want."""
    parsed = options.parse_args(arguments)
    if parsed.quiet:
        logging.getLogger().setLevel(logging.WARNING)
    if parsed.verbose:
        for library in LIBRARIES:
            logging.getLogger(library).setLevel(logging.NOTSET)
    return parsed


def start_tensorflow(parsed: argparse.Namespace) -> None:
    """Import TensorFlow, with its notes where ``--verbose`` wants them; before anything else imports it.

    Raises:
        ValueError: where it is not installed.
    """
    startup.tensorflow(everything=parsed.verbose)


def presets(row: papers.Experiment) -> str:
    """What each preset is, and how long a network took with it where that was measured."""
    timed = ", and how long one network took to train and record, perhaps beside other work"
    lines = [f"presets{timed if row.trained else ''}:"]
    measured = papers.durations.read() if row.trained else []
    for name, preset in row.presets.items():
        found = [run for run in measured if (run["experiment"], run["preset"]) == (row.name, name)]
        took = "; ".join(map(_took, found)) or "not measured"
        text = f"{preset}: {took}" if row.trained else str(preset)
        lines.append(textwrap.fill(text, 100, initial_indent="  ", subsequent_indent="    "))
    return "\n".join(lines)


def _took(run):
    least, median = map(tables.duration, run["seconds"])
    machine = ", ".join(run["gpus"]) or f"{run['cpus']} CPU cores"
    return f"{least if least == median else f'{least} at best, {median} in the median'} ({machine})"


def parser(row: papers.Experiment, description: str, activations: Sequence[str]) -> argparse.ArgumentParser:
    """The options that all training experiments have.

    Args:
        row: the experiment.
        description: of the script; its first line is shown.
        activations: those that it has a recipe for.
    """
    found = options(description.splitlines()[0], presets(row))
    found.add_argument("--activation", nargs="+", choices=list(activations), default=list(activations))
    found.add_argument("--preset", choices=("auto", *row.presets), default="auto", help="scale of the run")
    found.add_argument("--dataset", choices=row.data, default=row.data[0])
    found.add_argument(
        "--experiments",
        nargs="+",
        choices=(*EXPERIMENTS, *CHECKS),
        default=list(EXPERIMENTS),
        help="what to measure on the trained networks; clipped: in the same training record "
        "the signs of the loss of clipped probabilities, too; training: only train and record them",
    )
    found.add_argument(
        "--layers",
        nargs="+",
        choices=row.roles["shown"],
        default=list(row.roles["shown"]),
        help="quantized and window-binarized",
    )
    found.add_argument("--seed", type=seed, default=0)
    found.add_argument("--data-dir", type=Path, help="where the data set is, if not in a known place")
    found.add_argument("--output-dir", type=folder, default=Path("outputs", row.name))
    again = found.add_mutually_exclusive_group()
    again.add_argument("--force", action="store_true", help="train again what is finished already")
    again.add_argument(
        "--remeasure", action="store_true", help="measure finished networks again, and train none"
    )
    strategy(found)
    found.add_argument(
        "--checkpoint-every",
        type=number(above=0),
        default=600,
        metavar="SECONDS",
        help="how often a training is saved; after an interruption the same command goes on from there",
    )
    return found


def strategy(options: argparse.ArgumentParser) -> None:
    """Add the option ``--strategy``."""
    ways = ", ".join(f"{name} {way}" for name, way in STRATEGIES.items() if way)
    options.add_argument(
        "--strategy",
        choices=tuple(STRATEGIES),
        default="none",
        help=f"TensorFlow's way to share the work: {ways}",
    )


def run(main: Callable[[], None]) -> None:
    """Call ``main()`` as a script: one clear line for an error that a user can cause, and exit status 1.

    Ctrl-C and SIGTERM end it with one line too, and exit status 130 and 143.

    With ``NEURONLEVEL_DEBUG`` set in the environment, the traceback is shown instead.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for library, level in LIBRARIES.items():
        logging.getLogger(library).setLevel(level)
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
