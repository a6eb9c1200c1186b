"""Works that are prepared one after the other and done beside each other: the readouts of one layer.

They are not one batched computation. With stacked weights small dense readouts gained more in trials than
with a thread each, but convolutional ones, which take the time, next to nothing, and every kind of layer
would need a second implementation; ``experiments/benchmark.py readouts`` measures the threads.
"""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeAlias, TypeVar

Result = TypeVar("Result")
GoOn: TypeAlias = Callable[[], None]  # raises where the work shall end unfinished
Work: TypeAlias = Callable[[GoOn], Result]


class _Ended(Exception):
    """In a thread whose result nobody waits for any more."""


def results(
    works: Iterable[tuple[str, Work[Result]]], at_once: int
) -> Generator[tuple[str, Result], None, None]:
    """The key and the result of every work, as they end.

    Works are taken from ``works`` in the caller's thread, the next one when less than ``at_once`` are under
    way, and each is done in a thread of its own (in the caller's, where it is one at a time). TensorFlow
    computes outside of Python, so threads fill the cores that a small network leaves idle; what a work
    computes does not depend on its neighbours. Close the iterator where an exception may leave it early:
    then, and where a work raises, the others end at their next ``go_on()``.
    """
    if at_once == 1:
        for key, work in works:
            yield key, work(_on)
        return
    ending = threading.Event()

    def go_on():
        if ending.is_set():
            raise _Ended

    under_way: dict[Future, str] = {}
    with ThreadPoolExecutor(at_once) as pool:
        try:
            for key, work in works:
                under_way[pool.submit(work, go_on)] = key
                if len(under_way) == at_once:
                    yield from _ended(under_way, ending)
            while under_way:
                yield from _ended(under_way, ending)
        finally:
            ending.set()


def _on():
    pass


def _ended(under_way, ending):
    """Wait until at least one work has ended, and take those that have from ``under_way``. Where one has
    failed, all end: those that were done give their results before the error is raised."""
    done = wait(under_way, return_when=FIRST_COMPLETED).done
    failed = [future for future in done if future.exception()]
    if failed:
        ending.set()
        done = wait(under_way).done
    for future in done:
        key = under_way.pop(future)
        if not future.exception():
            yield key, future.result()
    for future in failed[:1]:
        future.result()
