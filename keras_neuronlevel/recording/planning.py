"""What will be recorded: how often, with how many snapshots, how large; said in one line beforehand."""

import dataclasses
import logging
from collections.abc import Callable, Mapping

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.memory import memory_estimate
from keras_neuronlevel.schedules import planned_recordings, planned_snapshots, snapshot_recordings
from keras_neuronlevel.selection import Selection, Snapshots

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The recordings of a training that begins in ``first_epoch``: ``total`` of them (None: not known
    beforehand), of which ``keeps(recording)`` says whether it keeps a snapshot."""

    first_epoch: int
    total: int | None
    keeps: Callable[[int], bool]

    @property
    def recordings(self) -> int:
        """How many recordings there will be, at least."""
        return self.total or 1

    @property
    def snapshots(self) -> int:
        """How many snapshots there will be, at least."""
        return planned_snapshots(self.keeps, self.total)


def plan(
    is_due: Callable[[int, int, int], bool],
    snapshots: Snapshots,
    params: Mapping,
    first_epoch: int = 0,
    first_step: int = 0,
) -> Plan:
    """Plan from Keras' ``params`` (epochs, and steps of an epoch, where they are known).

    Raises ``ValueError`` where ``is_due`` never says yes.
    """
    steps, total = params.get("steps"), None
    if steps is not None:
        epochs = range(first_epoch, params["epochs"])
        total = len(planned_recordings(is_due, epochs, steps, first_step))
        if not total:
            raise ValueError(
                f"every never says yes in {len(epochs)} epochs of {steps} batches; record more often"
            )
    return planned(snapshots, first_epoch, total)


def planned(snapshots: Snapshots, first_epoch: int, total: int | None) -> Plan:
    """The plan of a training whose number of recordings is known already, or will not be known."""
    return Plan(first_epoch, total, snapshot_recordings(snapshots.recordings, total))


def announce(
    selections: Mapping[str, Selection],
    samples: int,
    snapshot_dtype: str,
    plan: Plan,
    found,
    chosen: bool,
    held: int | None = None,
    revocable: bool = False,
) -> None:
    """Say in one line what is recorded, what is not and why.

    ``found`` is what ``neurons.find`` gives, ``held`` and ``revocable`` as in ``memory_estimate``. Where
    neurons stay unseen it is a warning, unless the layers were ``chosen`` by name.
    """
    layers = "; ".join(f"{name}: {selected}" for name, selected in selections.items())
    needed = memory_estimate(selections, samples, snapshot_dtype, plan.recordings, held, revocable) / 2**20
    left = [f"{name} ({why})" for name, why in found.left_out.items()]
    unseen = any(why not in neuron_tools.HARMLESS for why in found.left_out.values())
    logger.log(
        logging.WARNING if unseen and not chosen else logging.INFO,
        "recording %d samples, %s recordings, %.0f MiB: %s%s",
        samples,
        "an unknown number of" if plan.total is None else plan.total,
        needed,
        layers,
        f"; not recorded: {'; '.join(left)}" if left else "",
    )
