"""What is finished stays finished: a file that keeps a result, and its parts while it is being made."""

import json
from collections.abc import Callable
from pathlib import Path

from keras_neuronlevel import files


class Store:
    """A JSON file of what was computed under one ``config``: {"config": config, key: value, ...}.

    Whoever computes asks for what is in ``kept``, and keeps each further part with :meth:`keep`, which
    writes the file: an interrupted computation goes on where it was. A file made under another ``config``
    counts for nothing.

    Attributes:
        kept: what the file holds, values as JSON has them.
        other: the ``config`` under which the file was made, where it is another one; else None.

    Args:
        path: of the file.
        config: everything JSON-able that determines the result.
        forget: begin anew, whatever the file holds.
    """

    def __init__(self, path: Path, config: dict, *, forget: bool = False):
        self.path, self.config = Path(path), files.as_written(config)
        found = {} if forget else _read(self.path)
        made = found.pop("config", None)
        self.other = made if made is not None and made != self.config else None
        # Earlier versions kept the parts under a key of their own.
        self.kept = {} if self.other is not None else {**found.pop("done", {}), **found}

    def keep(self, key: str, value: object) -> object:
        """Add a value, write the file, and return the value as the file has it."""
        self.keep_all({key: value})
        return self.kept[key]

    def keep_all(self, values: dict) -> None:
        """Add several values at once, and write the file."""
        self.kept |= files.as_written(values)
        files.write_json(self.path, {"config": self.config, **self.kept})

    def result(self, compute: Callable[[dict, Callable], object]) -> dict:
        """The value of "result": kept, or computed now.

        Args:
            compute: called with the parts that are kept and with :meth:`keep`; gives the result.
        """
        if "result" not in self.kept:
            self.keep("result", compute(dict(self.kept), self.keep))
        return self.kept["result"]


def _read(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
