"""Write files whole or not at all: to a temporary name first, then renamed; and one process at a time."""

import contextlib
import datetime
import errno
import itertools
import json
import math
import os
import platform
import re
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

FULL = (errno.ENOSPC, errno.EDQUOT)  # what a disk without room, and a quota that is used up, give
_numbers = itertools.count()  # of temporary files, so that two threads never have the same
LARGEST, DEEPEST = 2**26, 64  # bytes and nesting of a JSON file that is read; ours have far less of both
MOST = 1e100  # and no number beyond


class InUseError(RuntimeError):
    """A folder or a file at which somebody else is at work."""


class NoRoomError(OSError):
    """A disk that has no room for a file; the message says which file, and where."""

    errno = errno.ENOSPC


class Lock:
    """The right to be at work on something, which one process has at a time.

    It ends with :meth:`release`, with this object, or with the process, however that ends: a lock that was
    left behind is taken over. ``.lock`` files beside what is locked hold it, and who holds it since when;
    they are removed at the end.

    Args:
        path: the lock's own file.
        doing: what its holder does, in words such as "writes r.h5".
        remedy: what else somebody who does not get it can do.
    """

    def __init__(self, path: str | os.PathLike, doing: str, remedy: str):
        self._path, self._doing, self._remedy = Path(path), doing, remedy
        self._owner = self._path.with_name(f"{self._path.name}-owner.json")
        self._end: weakref.finalize | None = None

    def acquire(self) -> None:
        """Raises :class:`InUseError`, naming process, host and time, where it is taken."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self._path, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise InUseError(
                f"{_owner(self._owner)} {self._doing}; wait until it has ended, or {self._remedy}"
            ) from None
        self._end = weakref.finalize(self, _end, lock, (self._owner, self._path), os.getpid())
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            write_json(self._owner, {"process": os.getpid(), "host": platform.node(), "since": now})
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Give it back, where it is held."""
        if self._end is not None:
            self._end()


def _end(lock, paths, process):
    """Remove a lock's files and let go of it; but not from a process that was forked meanwhile."""
    if os.getpid() == process:
        for path in paths:
            with contextlib.suppress(OSError):  # some systems remove no file that is open
                path.unlink()
        lock.release()


def _owner(path):
    try:
        found = read_json(path)
        return f"process {found['process']} on {found['host']}, since {found['since']},"
    except (ValueError, KeyError):
        return "another process"


@contextmanager
def locked(folder: str | os.PathLike) -> Iterator[None]:
    """While the block runs, no other process may lock the folder, which is made if need be.

    Raises :class:`InUseError`, naming the process that is at work there; see :class:`Lock`.
    """
    lock = Lock(Path(folder, ".lock"), f"is at work in {folder}", "give another --output-dir")
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replacing(path):
    """Give a temporary path beside ``path`` with the same ending; rename it when the block succeeds.

    Temporary files of the same target that processes left behind, which are no more, are removed. Raises
    :class:`NoRoomError`, naming the file, where the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    temporary = partial_path(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoRoomError(f"there is no room to write {path}; make room on its disk, then go on") from error
    finally:
        temporary.unlink(missing_ok=True)


def partial_path(path: str | os.PathLike) -> Path:
    """A temporary name beside ``path``, with the same ending, that nothing else in the world is given."""
    path = Path(path)
    return path.with_name(f".{path.stem}.{_host()}-{os.getpid()}-{next(_numbers)}.partial{path.suffix}")


def partials(path: str | os.PathLike) -> list[Path]:
    """The temporary files of ``path`` that are there, whoever writes or left them."""
    return [leftover for leftover, _, _ in _partials(Path(path))]


def _partials(path):
    """(file, host, process) of each temporary file of ``path``."""
    name = re.compile(re.escape(f".{path.stem}.") + r"([\w-]+)-(\d+)-\d+\.partial" + re.escape(path.suffix))
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    matches = ((leftover, name.fullmatch(leftover.name)) for leftover in beside)
    return [(leftover, match[1], int(match[2])) for leftover, match in matches if match]


def _host():
    return re.sub(r"[^\w-]", "_", platform.node()) or "host"


def _sweep(path):
    for leftover, host, process in _partials(path):
        if host == _host() and process != os.getpid() and not _alive(process):
            leftover.unlink(missing_ok=True)


def _alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's
        return True
    return True


def write_json(path, value):
    """Write a value as JSON (RFC 8259: NaN and infinities become null), numbers to seven digits."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(as_written(value), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def read_json(path: str | os.PathLike, name: str | None = None) -> dict:
    """The object in a JSON file, which may come from anyone.

    Args:
        path: of the file.
        name: what messages call it; its path, unless given.

    Raises:
        ValueError: in one sentence that names the file, where that is missing, no ordinary file, too large,
            not UTF-8, no JSON (RFC 8259), nested too deep, holds a number that is not finite or beyond
            ``MOST``, or is no object.
    """
    name = name or os.fspath(path)
    try:
        value = json.loads(
            _text(Path(path)), parse_float=_bounded, parse_int=_bounded, parse_constant=_bounded
        )
        if _depth([value]) > DEEPEST + 1:
            raise RecursionError
    except RecursionError:
        raise ValueError(f"{name} cannot be read (it is nested deeper than {DEEPEST} levels)") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"{name} cannot be read ({reason})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} holds {type(value).__name__} where an object belongs")
    return value


def _text(path):
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is no ordinary file")
    if found.st_size > LARGEST:
        raise ValueError(f"it has {found.st_size} bytes, more than {LARGEST}")
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise ValueError("it is empty")
    return text


def _bounded(text):
    """A JSON number; Python's reader takes NaN and infinities too, and whole numbers of any length."""
    number = float(text)
    if not abs(number) <= MOST:
        raise ValueError(f"it holds the number {text[:20]}, which no run gives")
    return number if any(mark in text for mark in ".eE") else int(text)


def _depth(value):
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = (item.values() if isinstance(item, dict) else item for item in level)
        level = [found for items in inner for found in items if isinstance(found, (dict, list))]
    return depth


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
