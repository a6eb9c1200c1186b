"""A training whose loss or weights are not finite stops: nothing of it may pass for finished."""

import math

import keras
import numpy as np


class DivergedError(ValueError):
    """The loss or weights of a training are not finite; the message names step and layer."""


def check(model: keras.Model, step: int, kept: str, loss: float | None = None) -> None:
    """Raises :class:`DivergedError` where the loss, if given, or else a variable of the model is not finite.

    Args:
        model: as it is after ``step`` updates.
        step: counted from 0.
        kept: what is kept of the training, in words.
        loss: of the batch of this step; where it is finite, variables are not looked at.
    """
    if loss is not None and math.isfinite(loss):
        return
    layer = _not_finite(model)
    if loss is None and layer is None:
        return
    loss_is = "" if loss is None else f"the loss is {loss:g}"
    weights_are = f"weights of {layer} are not finite" if layer else "all weights are finite"
    raise DivergedError(
        f"the training of {model.name} diverged, seen at step {step}: "
        f"{' and '.join(filter(None, (loss_is, weights_are)))}. Lower the learning rate, and look for values "
        f"that are not finite in the training images. {kept}"
    )


def _not_finite(model):
    """The first layer with a variable that is not finite, or None."""
    for variable in model.variables:
        if not np.isfinite(np.asarray(variable.numpy(), np.float64)).all():
            return variable.path.rpartition("/")[0] or variable.name
    return None
