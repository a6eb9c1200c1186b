"""Several processes of this machine at one experiment, each with its share of the work.

    python experiments/workers.py --workers 2 -- experiments/mnist_mlp.py --preset quick

starts the script so many times with ``--strategy multiworker`` and a TF_CONFIG that names all of them; what
comes after ``--`` are the script and its options. Where one ends with an error, the others do, too, and the
same command goes on from the last checkpoint. Every worker gets its share of the processors' threads, with
``--one-gpu-each`` a GPU of its own. Over several hosts, start the script itself on each of them, with a
TF_CONFIG that says which one it is (docs/devices.md).

Duration: on one machine's processors it gains little; it is meant for several GPUs, and to try things out.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from keras_neuronlevel import interruption
from keras_neuronlevel.protocol import cli

PATIENCE = 60  # seconds in which workers end by themselves, once one of them has failed


def parser():
    options = cli.options(__doc__.splitlines()[0])
    options.add_argument("--workers", type=cli.whole(2), default=2, help="processes (default: 2)")
    options.add_argument("--one-gpu-each", action="store_true", help="worker k sees the GPU number k alone")
    options.add_argument(
        "script", type=Path, metavar="-- SCRIPT", help="experiments/mnist_mlp.py or the like"
    )
    options.add_argument("rest", nargs=argparse.REMAINDER, metavar="OPTION", help="options of the script")
    return options


def parse(arguments=None):
    options = parser()
    parsed = cli.parse(options, arguments)
    if not parsed.script.is_file():
        options.error(f"there is no script {parsed.script}; give experiments/mnist_mlp.py or the like")
    if any(given.partition("=")[0] == "--strategy" for given in parsed.rest):
        options.error("--strategy after -- contradicts what this script gives, multiworker; leave it out")
    return parsed


def environments(count, one_gpu_each=False):
    """What each worker's environment has beside this one's: TF_CONFIG, threads, a GPU."""
    with contextlib.ExitStack() as held:  # all at once, so that no port is given twice
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    found = []
    for rank in range(count):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}}
        own = {"TF_CONFIG": json.dumps(config), "TF_NUM_INTRAOP_THREADS": threads}
        found.append(own | ({"CUDA_VISIBLE_DEVICES": str(rank)} if one_gpu_each else {}))
    return found


def main(arguments=None):
    arguments = parse(arguments)
    command = [sys.executable, str(arguments.script), *arguments.rest, "--strategy", "multiworker"]
    children = []
    try:
        with interruption.deferred():  # so that none comes while a child has no name
            for own in environments(arguments.workers, arguments.one_gpu_each):
                # In groups of their own, Ctrl-C reaches them once: through this process.
                children.append(subprocess.Popen(command, env={**os.environ, **own}, process_group=0))
        rank = _failed(children)
    except KeyboardInterrupt as stop:
        _send(children, getattr(stop, "signum", signal.SIGINT))
        for child in children:
            child.wait()  # they save what they have
        raise
    if rank is None:
        return
    status = children[rank].returncode
    _end(children)
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
    raise ValueError(
        f"worker {rank} of {len(children)} {how}, and the others ended, too; fix what it said, if anything, "
        "and run the same command again to go on"
    )


def _failed(children):
    """Wait for all to end, or for the first that fails: its rank, or None."""
    while True:
        states = [child.poll() for child in children]
        failed = [rank for rank, status in enumerate(states) if status]
        if failed:
            return failed[0]
        if all(status == 0 for status in states):
            return None
        time.sleep(0.1)


def _end(children):
    """Wait until the children have ended, for a while; then make them."""
    until = time.monotonic() + PATIENCE
    for child in children:
        try:
            child.wait(max(0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _send(children, signum):
    for child in children:
        if child.poll() is None:
            child.send_signal(signum)


if __name__ == "__main__":
    cli.run(main)
