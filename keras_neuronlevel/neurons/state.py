"""Looking at a model must leave it as it is."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from keras_neuronlevel.neurons.names import layer_paths
from keras_neuronlevel.neurons.watch import swapped

# Of the operations that TensorFlow says have state, those that leave it as it is, or only call others.
_HARMLESS = frozenset({
    "Assert", "Case", "If", "LookupTableFindV2", "LookupTableSizeV2", "PartitionedCall", "ReadVariableOp",
    "ResourceGather", "ResourceGatherNd", "StatefulPartitionedCall", "VariableShape", "While",
})  # fmt: skip


@contextlib.contextmanager
def unchanged_state(model: keras.Model) -> Iterator[None]:
    """Hold a model's variables (weights, statistics, seeds, states, metrics, and TensorFlow's own that are
    attributes of its layers) against what they were before.

    Where calls inside the context change one, it is put back, also after an error, and ``ValueError`` says
    which: such calls would disturb the training, and no two of them need agree.
    """
    with put_back(_variables(model)) as changed:
        yield
    if changed:
        paths = ", ".join(getattr(variable, "path", variable.name) for variable in changed)
        raise ValueError(
            f"calling {model.name!r} changes its state ({paths}), so looking at it would "
            "change its training, and what a sample gives depends on those before it; build it without "
            "such state"
        )


@contextlib.contextmanager
def put_back(variables: Sequence[Any]) -> Iterator[list]:
    """Give variables the values back that they had before, also after an error; those that had others are in
    the list afterwards."""
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    changed: list[Any] = []
    try:
        yield changed
    finally:
        for variable, value in zip(variables, before, strict=True):
            if not _same(keras.ops.convert_to_numpy(variable), value):
                variable.assign(value)
                changed.append(variable)


def _same(one, other):
    """To the bit, NaN too; strings by what they say."""
    return np.array_equal(one, other) if one.dtype.kind == "O" else one.tobytes() == other.tobytes()


def _variables(model):
    found = [*model.variables, *model.metrics_variables]
    for _, layer in layer_paths(model).values():
        for value in vars(layer).values():
            values = value.values() if isinstance(value, dict) else value
            values = values if isinstance(value, list | tuple | dict) else [value]
            found += [each for each in values if isinstance(each, tf.Variable)]
    return list({id(variable): variable for variable in found}.values())


def float_types(model: keras.Model) -> list[str]:
    """The types of floating-point numbers that a model's layers compute with."""
    found = {layer.compute_dtype for layer in model._flatten_layers()}
    return [dtype for dtype in found if dtype and "float" in dtype]


def side_effects(function: Any) -> set[str]:
    """The names of the operations in a traced function, a concrete one, and in those it calls, that do more
    than compute: they write variables, draw random numbers, or run Python. Calls of such a function beside
    each other may get in each other's way."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for called in graph.library.function for node in called.node_def)]
    names = {node.op for node in nodes} - _HARMLESS
    definitions = {name: op_def_registry.get(name) for name in names}
    return {name for name, known in definitions.items() if known is not None and known.is_stateful}


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
