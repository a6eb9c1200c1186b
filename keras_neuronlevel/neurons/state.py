"""Looking at a model must leave it as it is."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np

from keras_neuronlevel.neurons.watch import swapped


@contextlib.contextmanager
def unchanged_state(model: keras.Model) -> Iterator[None]:
    """Hold a model's variables that are not trained (statistics, seeds, states) against what they were
    before.

    Where calls inside the context change one, it is put back, also after an error, and ``ValueError`` says
    which: such calls would disturb the training, and no two of them need agree.
    """
    variables = model.non_trainable_variables
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    changed = []
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            now = keras.ops.convert_to_numpy(variable)
            if not np.array_equal(now, value, equal_nan=value.dtype.kind == "f"):
                variable.assign(value)
                changed.append(variable.path)
    if changed:
        raise ValueError(
            f"calling {model.name!r} changes its state ({', '.join(changed)}), so looking at it would "
            "change its training, and what a sample gives depends on those before it; build it without "
            "such state"
        )


@contextlib.contextmanager
def computing_in(model: keras.Model, precision: str) -> Iterator[None]:
    """Let the layers of a model whose floating-point type is float32 compute in ``precision`` ("float32" or
    "bfloat16"), from the same weights, in calls that the context traces; variables stay as they are."""
    with contextlib.ExitStack() as stack:
        for layer in model._flatten_layers() if precision != "float32" else ():
            if layer.compute_dtype == "float32":
                policy = keras.dtype_policies.get(f"mixed_{precision}")
                stack.enter_context(swapped(layer, "_dtype_policy", policy))
        yield
