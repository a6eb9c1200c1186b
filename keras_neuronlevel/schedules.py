"""When to record, and which recordings also keep a snapshot."""

from collections.abc import Callable, Iterable

import numpy as np

from keras_neuronlevel import checks

__all__ = ["due", "planned_recordings", "planned_snapshots", "snapshot_recordings"]

Every = int | Callable[[int, int, int], object]


def due(every: Every) -> Callable[[int, int, int], bool]:
    """The function (epoch, batch, step) -> bool for ``every``, a number of batches or such a function.

    A number n means: the batch's index within its epoch is divisible by n. At 469 batches an epoch and
    n = 10 that gives 47 recordings an epoch, the papers' 2350 in 50 epochs. All indices count from 0.
    Raises ``ValueError`` for anything else.
    """
    if callable(every):
        return lambda epoch, batch, step: bool(every(epoch, batch, step))
    try:
        number = checks.whole("every", every, least=1)
    except ValueError as error:
        raise ValueError(f"{error}, of batches, or a function of (epoch, batch, step)") from None
    return lambda epoch, batch, step: batch % number == 0


def planned_recordings(
    is_due: Callable[[int, int, int], bool], epochs: int | range, steps: int, first_step: int = 0
) -> list[tuple[int, int, int]]:
    """The (epoch, batch, step) of every recording in ``epochs`` epochs of ``steps`` batches.

    ``epochs`` is a number of epochs, or a range of them that begins at ``first_step``.
    """
    epochs = epochs if isinstance(epochs, range) else range(checks.whole("epochs", epochs, least=0))
    steps = checks.whole("steps", steps, least=0)
    first_step = checks.whole("first_step", first_step, least=0)
    announced = (
        (epoch, batch, first_step + past * steps + batch)
        for past, epoch in enumerate(epochs)
        for batch in range(steps)
    )
    return [place for place in announced if is_due(*place)]


def snapshot_recordings(snapshots: int | Iterable[int], total: int | None) -> Callable[[int], bool]:
    """The function (recording) -> bool that says which recordings, counted from 0, keep a snapshot.

    A number is spread evenly in the logarithm of the recording's number over ``total`` recordings, the
    first and last among them; where the total is not known beforehand, recordings 0, 1, 3, 7, 15, ...
    are kept. A sequence names the recordings. (The recorder adds the last one in any case.)
    """
    if isinstance(snapshots, Iterable) and not isinstance(snapshots, str):
        chosen = {0, *(checks.whole("a snapshot's recording", number, least=0) for number in snapshots)}
        return chosen.__contains__
    snapshots = checks.whole("snapshots", snapshots, least=1)
    if total is None:
        return lambda recording: (recording + 1) & recording == 0
    total = max(checks.whole("total", total, least=0), 1)
    chosen = {round(float(r)) - 1 for r in np.geomspace(1, total, snapshots)}
    return chosen.__contains__


def planned_snapshots(keeps: Callable[[int], bool], total: int | None) -> int:
    """How many of ``total`` recordings keep a snapshot: those that :func:`snapshot_recordings` names and the
    last one, which always does; 1, the least, where the total is not known."""
    return 1 if total is None else len({total - 1, *filter(keeps, range(total))})
