"""Write files whole or not at all: to a temporary name first, then renamed; and one process at a time."""

import datetime
import json
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock


class InUseError(RuntimeError):
    """A folder in which another process is at work."""


@contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """While the block runs, no other process may lock the folder, which is made if need be.

    The lock ends with the process that holds it, however that ends, so a lock left behind is taken over.
    Raises :class:`InUseError`, naming the process that is at work there.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / ".lock-owner.json"
    lock = filelock.FileLock(folder / ".lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InUseError(
            f"{_owner(owner)} is at work in {folder}; wait until it has ended, or give another --output-dir"
        ) from None
    try:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        write_json(owner, {"process": os.getpid(), "host": platform.node(), "since": now})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(path):
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['process']} on {found['host']}, since {found['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


@contextmanager
def replacing(path):
    """Give a temporary path beside ``path`` with the same ending; rename it when the block succeeds.

    Temporary files of the same target that processes left behind, which are no more, are removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path):
    for leftover in path.parent.glob(f".{path.stem}.*.partial{path.suffix}"):
        process = leftover.name.removeprefix(f".{path.stem}.").split(".", 1)[0]
        if process.isdigit() and int(process) != os.getpid() and not _alive(int(process)):
            leftover.unlink(missing_ok=True)


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def write_json(path, value):
    """Write a value as JSON (RFC 8259: NaN and infinities become null), numbers to seven digits."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(as_written(value), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def as_written(value):
    """What :func:`write_json` makes of a value, to be compared with what a file holds."""
    return _rounded(plain(value))


def write_text(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_figure(path, figure, dpi=110):
    """Save a matplotlib figure as PNG, without a date in it: the same figure gives the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})


def plain(value):
    """Arrays, NumPy numbers and containers of them as JSON values; NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value
