"""TensorFlow's start: the notes that it writes about itself are left out, and what went wrong is not.

``TF_CPP_MIN_LOG_LEVEL`` does not reach what TensorFlow says before its logging is set up: at every import,
that oneDNN is on and that there is no CUDA. Level 3 would hide the failed look for a GPU's driver, and every
other error with it. So the level is 2, which shows errors, and while TensorFlow starts the lines in ``NOTES``
are taken out of stderr, by their wording, one by one; whatever else is written passes.

oneDNN's kernels are asked for: TensorFlow uses them by itself only where an x86 processor has AVX-512, and
without that they train the CIFAR-10 networks 1.5 times as fast, too.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
# An informational message of absl's, the sentence that comes before the first, and what is no error: that
# without AVX-512 oneDNN leaves float16, here the type of snapshots, to other kernels.
NOTES = (
    r"WARNING: All log messages before absl::|I\d{4} \d\d:\d\d:\d+\.\d+ +\d+ [\w.]+:\d+\] "
    r"|E\d{4} .*\] oneDNN supports DT_HALF only"
)
# That there is no driver is an error only where there is a GPU.
NO_DRIVER = r"E\d{4} .*\] failed call to cuInit"
GPUS = ("/dev/nvidiactl", "/dev/dxg")  # what a driver leaves in Linux, and in its Windows twin

_SIEVE = """
import re, sys
for line in sys.stdin.buffer:
    if not re.match(sys.argv[1].encode(), line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""


def tensorflow(everything: bool = False) -> None:
    """Import TensorFlow and let it look for GPUs, without its notes; with oneDNN's kernels, unless the
    environment has ``TF_ENABLE_ONEDNN_OPTS=0``.

    Args:
        everything: whether the notes are shown; they are also where the environment has
            ``TF_CPP_MIN_LOG_LEVEL=0``.

    Raises:
        ValueError: where TensorFlow is not installed.
    """
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault(LEVEL, "0" if everything else "2")
    os.environ.setdefault(ONEDNN, "1")
    if everything or os.environ[LEVEL] == "0" or sys.stderr is None:
        return _start()
    there = any(Path(device).exists() for device in GPUS)
    with without_lines(NOTES if there else f"{NOTES}|{NO_DRIVER}"):
        _start()


def _start():
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise ValueError(
            "TensorFlow is not installed; pip install 'keras_neuronlevel[tensorflow]', or tensorflow-cpu"
        ) from None
    tf.config.list_physical_devices("GPU")  # which says so where it finds no driver
    if "TF_CONFIG" not in os.environ:  # a strategy of several processes must come before the first operation
        tf.cast([1.0], tf.float16)  # of which oneDNN says once that it leaves it to others


@contextlib.contextmanager
def without_lines(pattern: str) -> Iterator[None]:
    """Lines that begin with ``pattern`` do not reach stderr, also those of C++ code; all others do at once.

    Another process takes them out, so that what is said last is not lost where this one crashes.
    """
    stderr = os.dup(2)
    command = [sys.executable, "-I", "-S", "-c", _SIEVE, pattern]
    try:
        # In a group of its own, Ctrl-C does not end it before this process.
        sieve = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=stderr, process_group=0)
        with cast(IO[bytes], sieve.stdin) as pipe:
            os.dup2(pipe.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
    with contextlib.suppress(subprocess.TimeoutExpired):  # where something that was started holds the pipe
        sieve.wait(10)
