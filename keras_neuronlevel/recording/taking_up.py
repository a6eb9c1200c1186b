"""What must be the same for an interrupted recording to be taken up, and which saved state fits."""

import logging
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from keras_neuronlevel import checkpoints, resuming
from keras_neuronlevel.schedules import Every
from keras_neuronlevel.selection import Selection, Snapshots

logger = logging.getLogger(__name__)


def configuration(
    samples: str,
    selections: Mapping[str, Selection],
    every: Every,
    snapshots: Snapshots,
    batch_size: int,
    loss: str | None = None,
    precision: str = "float32",
) -> dict:
    """A recording's settings as JSON-able values.

    Args:
        samples: the digest of samples and labels.
        loss: its name, None for the cross-entropy that is taken where none is given.
    """
    chosen = [
        values
        for s in selections.values()
        for values in (s.neurons, s.positions, s.snapshot_neurons, s.snapshot_positions)
        if values is not None
    ]
    return {
        "samples": samples,
        "layers": list(selections),
        "neurons and positions": resuming.digest(*chosen),
        "every": "a function" if callable(every) else int(every),
        "snapshots": np.asarray(snapshots.recordings).tolist(),
        "snapshot_dtype": snapshots.dtype,
        "batch_size": batch_size,
        **({"loss": loss} if loss else {}),
        **({"precision": precision} if precision != "float32" else {}),
    }


def check_same(ours: Mapping, saved: Mapping) -> None:
    """Raises ``checkpoints.CheckpointError``, naming what differs between two configurations."""
    changed = [key for key in {**ours, **saved} if ours.get(key) != saved.get(key)]
    if changed:
        raise checkpoints.CheckpointError(
            f"the recording that was interrupted differs in {', '.join(changed)} from this one; record "
            "as before, or delete the checkpoint to start from the beginning"
        )


def fitting(path: Path, step: int, model: keras.Model) -> tuple[dict, dict] | None:
    """The newest (state, arrays) saved at ``path`` that is not ahead of the ``model``, which is at ``step``.

    Raises ``checkpoints.CheckpointError`` where its weights at this very step were others.
    """
    saved = checkpoints.generations(path)
    usable = [(state, arrays) for state, arrays in saved if state["step"] <= step]
    if not usable:
        if saved:
            logger.warning("the training starts again at step %d: what was recorded of it is dropped", step)
        return None
    state, arrays = usable[0]
    if state["step"] == step and state["weights"] != resuming.weights_digest(model):
        raise checkpoints.CheckpointError(
            f"{path} belongs to another training: at step {step} its weights were others; delete it, or give "
            "another path"
        )
    return state, arrays


def lacking(saved: tuple[dict, dict] | None, step: int) -> str | None:
    """What a recording that goes on at ``step`` from this saved state will lack, in words."""
    if saved is None:
        return f"everything before step {step}" if step else None
    before = saved[0]["step"]
    return f"recordings between steps {before} and {step}" if before < step else None
