"""Signals come when nothing half-made is left by them, and scripts end with the status of the signal."""

import signal
import subprocess
import sys
import threading

import pytest

from keras_neuronlevel.interruption import Interrupted, deferred, terminable

SCRIPT = """
import signal
from keras_neuronlevel.protocol import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # where these tests run in the background
cli.run(lambda: signal.raise_signal({}))
"""


@pytest.fixture
def seen():
    """The signals that reach the handlers outside."""
    seen, before = [], {}
    for signum in (signal.SIGINT, signal.SIGTERM):
        before[signum] = signal.signal(signum, lambda number, frame: seen.append(number))
    yield seen
    for signum, handler in before.items():
        signal.signal(signum, handler)


def test_a_deferred_signal_comes_after_the_block(seen):
    with deferred() as noted:
        signal.raise_signal(signal.SIGTERM)
        assert noted.signum == signal.SIGTERM and not seen
    assert seen == [signal.SIGTERM]


def test_it_comes_after_the_outermost_block_and_also_after_an_error(seen):
    with pytest.raises(ZeroDivisionError), deferred() as outer:
        with deferred():
            signal.raise_signal(signal.SIGINT)
        assert outer.signum == signal.SIGINT and not seen
        raise ZeroDivisionError
    assert seen == [signal.SIGINT]


def test_an_ignored_signal_stays_ignored(seen):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred() as noted:
        signal.raise_signal(signal.SIGINT)
    assert noted.signum is None and signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_a_block_that_saw_to_the_signal_itself_keeps_it(seen):
    with deferred() as noted:
        signal.raise_signal(signal.SIGINT)
        noted.signum = None
    assert not seen


def test_other_threads_run_their_blocks_as_they_are(seen):
    ran = []

    def work():
        with deferred():
            ran.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ran == [True]


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_to_end_is_an_interruption_while_a_script_runs(signum, status):
    before = signal.signal(signum, signal.SIG_DFL)  # nohup ignores one of them
    try:
        with pytest.raises(Interrupted) as stop, terminable():
            signal.raise_signal(signum)
        assert stop.value.status == status and signal.getsignal(signum) == signal.SIG_DFL
    finally:
        signal.signal(signum, before)
    assert isinstance(stop.value, KeyboardInterrupt)


def test_a_closed_terminal_is_ignored_where_that_is_asked_for():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_script_ends_with_the_signals_status_and_one_line(signum, status):
    command = [sys.executable, "-c", SCRIPT.format(int(signum))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "interrupted: what was finished is kept: run the same command again" in done.stderr
    assert "Traceback" not in done.stderr
