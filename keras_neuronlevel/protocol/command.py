"""``neuronlevel``: the scripts of ``experiments/`` as commands, in a checkout and where a wheel is installed.

``neuronlevel mnist_mlp --preset quick`` is ``python experiments/mnist_mlp.py --preset quick``; nothing is
known here of what a script does.
"""

import argparse
import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import keras_neuronlevel
from keras_neuronlevel.protocol import cli

PROG = "neuronlevel"
PACKAGE = Path(keras_neuronlevel.__file__).resolve().parent
RENAMED = {"evaluate_model": "evaluate"}
SHELLS = ("bash", "zsh")


def folder(package: Path = PACKAGE) -> Path:
    """Where the scripts are: within an installed package, or beside it in a checkout."""
    inside = package / "experiments"
    return inside if inside.is_dir() else package.parent / "experiments"


def scripts() -> dict[str, Path]:
    """{command: its script}, by the names of the commands."""
    found = {RENAMED.get(path.stem, path.stem): path for path in folder().glob("*.py")}
    return dict(sorted(found.items()))


def summary(script: Path) -> str:
    """The first line of a script's docstring; the script is not run."""
    text = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the script of the command that the arguments name, or say which there are.

    Args:
        arguments: those after ``neuronlevel``; None for the command line's.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    found = scripts()
    if given and given[0] in found:
        sys.argv = [f"{PROG} {given[0]}", *given[1:]]
        return cli.run(_module(found[given[0]]).main)
    parser, commands = _parser()
    for name, script in found.items():
        commands.add_parser(name, help=summary(script), add_help=False)
    parsed = parser.parse_args(given)
    if not parsed.print_completion:
        parser.error("give a command; --help lists them")
    cli.run(lambda: print(completion(parsed.print_completion)))


def completion(shell: str) -> str:
    """The completion script of one of ``SHELLS``, of all commands and their options.

    Raises:
        ValueError: where shtab is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError:
        raise ValueError(
            "completion needs shtab, which is not installed; pip install 'keras_neuronlevel[completion]'"
        ) from None
    parser, commands = _parser()
    for name, script in scripts().items():
        options = _module(script).parser()
        for action in options._actions:
            if action.type in (Path, cli.folder):
                action.complete = shtab.FILE if action.type is Path else shtab.DIRECTORY
        commands.add_parser(name, help=summary(script), parents=[options], add_help=False)
    return shtab.complete(parser, shell)


def _module(script: Path) -> ModuleType:
    """A script imported as Python runs it: with its neighbours at hand."""
    if sys.path[0] != str(script.parent):
        sys.path.insert(0, str(script.parent))
    return importlib.import_module(script.stem)


def _parser():
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="Watch a network train from inside a single neuron: the experiments and tools.",
        epilog=f"'{PROG} COMMAND --help' explains a command.",
        allow_abbrev=False,
    )
    version = f"%(prog)s {keras_neuronlevel.__version__}"
    parser.add_argument("--version", action="version", version=version)
    parser.add_argument(
        "--print-completion", choices=SHELLS, help="print what makes this shell complete commands and options"
    )
    return parser, parser.add_subparsers(metavar="COMMAND", title="commands")
