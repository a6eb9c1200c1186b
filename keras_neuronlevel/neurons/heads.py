"""What a classifier's output is, and the logits from which it was made, read from the graph of a traced call.

Cross-entropy must be taken from logits: of probabilities it clips at 1e-7, which turns the derivative of a
confidently wrong sample into exactly zero, and a second softmax on top of one is another function altogether.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

# Operations that leave every value as it is.
_SAME = {"Identity", "Cast", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "Snapshot", "CheckNumerics"}
# Operations without weights of their own, through which a softmax is followed.
_PLAIN = _SAME | {
    "Add", "AddV2", "AddN", "Sub", "Mul", "RealDiv", "Div", "DivNoNan", "Neg", "Maximum", "Minimum", "Mean",
    "Sum", "Pack", "Unpack", "ConcatV2", "Split", "SplitV", "StridedSlice", "GatherV2", "Transpose", "Pow",
    "Select", "SelectV2", "ClipByValue", "Pad", "PadV2", "Tile", "BroadcastTo", "IdentityN", "Square", "Sqrt",
}  # fmt: skip
ACTIVATIONS = {"Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Tanh", "Softplus", "Softsign"}


@dataclass(frozen=True)
class Head:
    """``kind`` is "softmax" or "sigmoid" (``raw`` went into it), "activation" (another function ends the
    model), "mixed" (made of a softmax's values alone), "gated" (of such values and others), or "plain" (none
    of these); in the last four cases ``raw`` is the output itself."""

    kind: str
    raw: Any


def head(output: tf.Tensor) -> Head:
    """The :class:`Head` of an output tensor of a function that is being traced."""
    op = _source(output)
    if op.type in ("Softmax", "Sigmoid"):
        raw = op.inputs[0]
        if raw.shape.rank == output.shape.rank:
            return Head(op.type.lower(), raw)
        if raw.shape[-1] == output.shape[-1]:
            return Head(op.type.lower(), tf.reshape(raw, tf.shape(output)))
    if op.type in ACTIVATIONS:
        return Head("activation", output)
    softmax, others = _origins(op)
    return Head(("gated" if others else "mixed") if softmax else "plain", output)


def _source(tensor):
    op = tensor.op
    while op.type in _SAME:
        op = op.inputs[0].op
    return op


def _origins(op):
    """Whether a softmax, and whether anything else than constants, reaches the operation unweighted."""
    waiting, seen, softmax, others = [op], set(), False, False
    while waiting:
        op = waiting.pop()
        if op.name in seen:
            continue
        seen.add(op.name)
        if op.type in _PLAIN:
            waiting += [tensor.op for tensor in op.inputs if tensor.dtype.is_floating]
        elif op.type == "Softmax":
            softmax = True
        elif op.type != "Const":
            others = True
    return softmax, others


def class_logits(output: tf.Tensor) -> tf.Tensor:
    """The logits (N, K) of a classifier's output, in a function that is being traced: the output itself, or
    what went into its last softmax. Raises ``ValueError`` where they cannot be had."""
    last = head(output)
    if last.kind in ("sigmoid", "activation", "mixed"):
        raise ValueError(_no_logits("the model", _WHY[last.kind]))
    return last.raw


def check_logits(name: str, kind: str | None, outputs: Any) -> None:
    """Raises ``ValueError`` where outputs (N, K) of a head of this kind are probabilities, so no logits."""
    if kind == "plain" and looks_like_probabilities(outputs):
        why = "look like probabilities (nonnegative, with sum 1), but no softmax is found"
    elif kind == "gated" and same_sums(outputs):
        why = "have the same sum for every sample, as a softmax's have, but are not one's as it is"
    else:
        return
    raise ValueError(_no_logits(repr(name), why))


_WHY = {
    "sigmoid": "pass a sigmoid",
    "activation": "pass an activation function that is no softmax",
    "mixed": "are made of a softmax by operations that change its values",
}


def _no_logits(name, why):
    return (
        f"the outputs of {name} {why}, so its logits are not known; end it in keras.layers.Softmax or in "
        "logits (the recorder also takes loss=, a function of (y, output) -> (N,))"
    )


def pick_output(model: keras.Model, outputs: Any, output: str | int | None = None) -> Any:
    """One tensor of what the model gave: the only one, or the one called ``output`` (a name or a number)."""
    named = outputs if isinstance(outputs, dict) else dict(_numbered(model, keras.tree.flatten(outputs)))
    if output is None and len(named) == 1:
        return next(iter(named.values()))
    names = ", ".join(map(repr, named))
    if output is None:
        raise ValueError(
            f"the model {model.name!r} has {len(named)} outputs, {names}; say which one's loss is meant, "
            "with output="
        )
    if isinstance(output, int) and 0 <= output < len(named):
        return list(named.values())[output]
    if output not in named:
        raise ValueError(f"the model {model.name!r} has no output {output!r}; it has {names}")
    return named[output]


def output_name(model: keras.Model, output: str | int | None) -> str | int | None:
    """The name of the output that :func:`pick_output` takes for a number, where the model has names."""
    struct = getattr(model, "_outputs_struct", None)
    names = list(struct if isinstance(struct, dict) else getattr(model, "output_names", None) or ())
    if isinstance(output, int) and 0 <= output < len(names) == len(set(names)):
        return names[output]
    return output


def _numbered(model, tensors):
    names = getattr(model, "output_names", None)
    if names is None or len(set(names)) != len(tensors):
        names = range(len(tensors))
    return zip(names, tensors, strict=True)


def looks_like_probabilities(values: ArrayLike) -> bool:
    """Whether rows (..., K) of values are nonnegative and each sums to 1."""
    values = np.asarray(values, np.float64)
    return values.ndim > 1 and values.min() >= 0 and same_sums(values, total=1.0)


def same_sums(values, total=None) -> bool:
    """Whether all rows (..., K) sum to the same number, K at least 2: ``total``, or whichever."""
    values = np.asarray(values, np.float64)
    if values.ndim < 2 or values.shape[-1] < 2 or not np.isfinite(values).all():
        return False
    sums = values.sum(axis=-1)
    scale = np.abs(values).sum(axis=-1).max()
    total = sums.flat[0] if total is None else total
    return bool(len(sums) > 1 or total == 1) and bool(np.abs(sums - total).max() <= 1e-2 * scale)
