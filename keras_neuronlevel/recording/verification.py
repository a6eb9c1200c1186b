"""One look at a model before anything is recorded: are these really every sample's own derivatives?"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_neuronlevel import neurons as neuron_tools
from keras_neuronlevel.recording.forward import derivative_function
from keras_neuronlevel.recording.losses import clipped_cross_entropy, loss_name, of_classes
from keras_neuronlevel.recording.samples import samples_at
from keras_neuronlevel.samples import count

SAMPLES = 3
_LOSS = "loss"


def verify(
    model: keras.Model,
    layers: Sequence[str],
    x: Any,
    y: Any,
    loss: Any = None,
    output: str | int | None = None,
    step: Callable | None = None,
) -> None:
    """Hold a few samples together against each of them alone, and the watched model against the model.

    Alone is two things: in a batch of one, which may be computed in another order and so agrees but for
    rounding, and among copies of itself, which is the same computation and agrees to the last digits (64 ε of
    the model's numbers, or of its loss's), so that a sample that leaks into another by a millionth is noticed
    as well.

    Takes what ``derivatives.prepare`` gives; ``step`` is its ``derivative_function``, where there is one
    already. Labels are exchanged, so that no sample is classified so well that its derivatives vanish; of a
    sample that is then misclassified with confidence those of clipped probabilities would, so that the exact
    cross-entropy stands for them.

    Raises:
        ValueError: the watched model gives other outputs; a sample's loss or derivatives depend on the
            samples beside it, or on how many there are; the model keeps state between calls; outputs that are
            probabilities of unknown logits.
    """
    if loss is clipped_cross_entropy:
        loss = step = None
    step = step or derivative_function(model, layers, x, y, loss, output)
    index = np.linspace(0, count(x) - 1, SAMPLES).astype(int)
    labels = _others(model, x, y, output) if of_classes(loss) else y
    with neuron_tools.unchanged_state(model):
        outputs = model(samples_at(x, labels, index)[0], training=False)
        together = step(*samples_at(x, labels, index))
        alone = [step(*samples_at(x, labels, [n])) for n in index]
        copies = [step(*samples_at(x, labels, [n] * SAMPLES)) for n in index]
    _check_outputs(model, neuron_tools.pick_output(model, outputs, output), together[3])
    if of_classes(loss):
        neuron_tools.check_logits(model.name, neuron_tools.find(model, x, output).head, together[3])
    # The loss may have fewer digits than the model.
    dtypes = [*neuron_tools.float_types(model), together[2].dtype.name]
    tolerance, precision = _tolerance(dtypes), _precision(dtypes)
    for name in [_LOSS, *layers]:
        values = _of(together, name)
        _check_alone(model, name, values, [_of(one, name) for one in alone], loss, tolerance)
        among_copies = [_of(one, name)[n : n + 1] for n, one in enumerate(copies)]
        _check_alone(model, name, values, among_copies, loss, min(precision, tolerance))


def _of(result, name):
    """A step's derivatives at a layer, or its losses."""
    return np.asarray(result[2] if name is _LOSS else result[0][name], np.float64)


def _others(model, x, y, output):
    """Other labels, of the same kind."""
    found = neuron_tools.find(model, x, output)
    return 1 - y if found.head == "sigmoid" else (y + 1) % found.shape[-1]


def _tolerance(dtypes):
    return max(map(neuron_tools.tolerance, dtypes))


def _precision(dtypes):
    """64 ε of the coarsest type; any share of types coarser than float32, where others decide."""
    digits = {"float64": 52, "float32": 23}
    return max(2.0 ** (6 - digits[dtype]) if dtype in digits else 1.0 for dtype in dtypes)


def _check_outputs(model, expected, found):
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    if not neuron_tools.close(found, expected, _tolerance(neuron_tools.float_types(model))):
        raise ValueError(
            f"the model {model.name!r} gives other outputs when it is called again, by up to "
            f"{np.abs(found - expected).max():.3g}; it draws random numbers in inference mode, or its "
            "layers do something else while they are watched, and cannot be recorded"
        )


def _check_alone(model, name, together, alone, loss, tolerance):
    shapes = [tuple(one.shape) for one in alone]
    expected = [(1, *together.shape[1:])] * SAMPLES
    if together.shape[0] == SAMPLES and shapes == expected:
        alone = np.concatenate(alone)
        if not np.isfinite(together).all() or neuron_tools.close(together, alone, tolerance):
            return
        found = f"differ by {np.abs(together - alone).max():.3g} of {np.abs(alone).max():.3g}"
    else:
        found = f"have shapes {together.shape} for {SAMPLES} samples and {shapes[0]} for one"
    what = f"losses ({loss_name(loss)})" if name is _LOSS else f"derivatives at {name!r}"
    raise ValueError(
        f"samples meet in {model.name!r}: their {what} {found}, depending on which samples are evaluated "
        "together; a layer or the loss mixes or broadcasts over the first axis, where the samples are"
    )
