"""What is finished stays finished: a file that keeps a result, and its parts while it is being made."""

from collections.abc import Callable
from pathlib import Path

from keras_neuronlevel import files
from keras_neuronlevel.results.forms import ANY, MORE, problems

_ANEW = "delete it, and what it holds is computed anew"


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
        form: of the parts by key (see ``forms``), with the key ``forms.MORE`` that of all others.
        forget: begin anew, whatever the file holds.

    Raises:
        ValueError: for a file that is damaged; names it, and says what to do.
    """

    def __init__(self, path: Path, config: dict, *, form: dict | None = None, forget: bool = False):
        self.path, self.config = Path(path), files.as_written(config)
        found = {} if forget or not self.path.exists() else self._read()
        made = found.pop("config", self.config)
        self.other = made if made != self.config else None
        # Earlier versions kept the parts under a key of their own.
        self.kept = {} if self.other is not None else {**found.pop("done", {}), **found}
        for key, value in self.kept.items():
            self._check(value, (form or {}).get(key, (form or {}).get(MORE, ANY)), f"it/{key}")

    @property
    def differences(self) -> str:
        """In what ``config`` differs from that under which the file was made, in words."""
        before, now = self.other or self.config, self.config
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(f"{key} ({before.get(key)!s:.40}, now {now.get(key)!s:.40})" for key in keys)

    def _read(self):
        try:
            found = files.read_json(self.path)
        except ValueError as error:
            raise ValueError(f"{error}; {_ANEW}") from None
        self._check(found, {"config": {MORE: ANY}, MORE: ANY}, "it")
        self._check(found.get("done", {}), {MORE: ANY}, "it/done")
        return found

    def _check(self, value, form, where):
        problem = next(problems(value, form, where, complete=True), None)
        if problem:
            raise ValueError(f"{self.path} is damaged: {problem}; {_ANEW}")

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
