"""Ctrl-C, SIGTERM and a closed terminal at a moment that suits: noted while something must not be cut,
delivered after it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Asked to stop, and the terminal was closed, which not every system tells.
ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
SIGNALS = (signal.SIGINT, *ENDING)


class Interrupted(KeyboardInterrupt):
    """A stop that was asked for by ``signum``, one of :data:`SIGNALS`; its message says what was kept and
    where, if anything special.

    A script ends with the exit status :attr:`status`, 128 plus the signal's number, as a shell reports it.
    """

    def __init__(self, signum: int, message: str):
        super().__init__(message)
        self.signum = signum

    @property
    def status(self) -> int:
        return 128 + self.signum


class Deferred:
    """What came while signals were deferred: ``signum``, the last of them, or None."""

    def __init__(self):
        self.signum = None


@contextmanager
def deferred() -> Iterator[Deferred]:
    """While the block runs, :data:`SIGNALS` are noted; afterwards the handlers from before see them.

    Only a program's main thread can do this; in another one the block runs as it is. A block that has seen
    to a signal itself sets ``signum`` to None.
    """
    noted = Deferred()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(signum, frame):
        noted.signum = signum

    # A signal that is ignored (as Ctrl-C is by what a shell runs in the background) stays ignored.
    heard = [signum for signum in SIGNALS if signal.getsignal(signum) not in (signal.SIG_IGN, None)]
    before = {signum: signal.signal(signum, note) for signum in heard}
    try:
        yield noted
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if noted.signum is not None:
            signal.raise_signal(noted.signum)


@contextmanager
def terminable() -> Iterator[None]:
    """While the block runs, SIGTERM raises :class:`Interrupted`, as Ctrl-C raises ``KeyboardInterrupt``; so
    does SIGHUP, unless it is ignored (nohup)."""

    def stop(signum, frame):
        raise Interrupted(signum, "")

    heard = [signum for signum in ENDING if signal.getsignal(signum) != signal.SIG_IGN]
    before = {signum: signal.signal(signum, stop) for signum in heard}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
