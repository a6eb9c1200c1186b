"""The recording pass in bfloat16: which models can, how they are made to, and how many signs differ then."""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel.recording.forward import derivative_function, forward_and_derivatives
from keras_neuronlevel.recording.samples import specs

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
ARITHMETIC = {"avx512_bf16", "amx_bf16"}  # flags of x86 processors that compute in bfloat16


def check_precision(model: keras.Model, layers: Sequence[str], x, y, loss, output, precision: str) -> None:
    """Raises ``ValueError`` for an unknown ``precision``, and where a model's recording pass cannot be taken
    in bfloat16: layers that are quantized or do not compute in float32, or that mix in float32 numbers of
    their own. Warns of a processor that has no such arithmetic. Takes what ``derivatives.prepare`` gives."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision is {precision!r}; give 'float32' or 'bfloat16'")
    if precision == "float32":
        return
    for layer in model._flatten_layers():
        quantized = getattr(layer.dtype_policy, "quantization_mode", None)
        if quantized or ("float" in str(layer.compute_dtype) and layer.compute_dtype != "float32"):
            raise ValueError(
                f"precision is 'bfloat16', and layer {layer.name!r} of {model.name!r} computes in "
                f"{quantized or layer.compute_dtype}; that is for models that compute in float32: leave "
                "precision out"
            )
    try:
        derivative_function(model, layers, x, y, loss, output, precision)
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"{model.name!r} cannot compute in bfloat16 ({first}); leave precision out"
        ) from error
    if lacks_arithmetic(processor_flags()) and not tf.config.list_physical_devices("GPU"):
        logger.warning(
            "this processor has no arithmetic in bfloat16, so recording in it takes longer than in float32, "
            "convolutions many times as long; leave precision out"
        )


def lacks_arithmetic(flags: set[str] | None) -> bool:
    """Whether a processor with these flags (None: not known) has no arithmetic in bfloat16."""
    return flags is not None and not flags & ARITHMETIC


def processor_flags() -> set[str] | None:
    """What Linux says that an x86 processor can, or None."""
    flags = of_processor("flags")
    return None if flags is None else set(flags.split())


def of_processor(what: str) -> str | None:
    """What Linux says of the first processor under a name such as "flags" or "model name", or None."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, text = line.partition(":")
            if name.strip() == what:
                return text.strip()
    return None


def differing_signs(
    model: keras.Model, layers: Sequence[str], loss=None, output=None, precision: str = "bfloat16"
):
    """``function(x, y) -> {layer: how many derivatives of the batch have another sign}``, compiled: in
    ``precision`` against float32, at the model's present weights."""

    @tf.function(autograph=False)
    def compare(x, y):
        d, *_ = forward_and_derivatives(model, layers, x, y, loss, output)
        coarse, *_ = forward_and_derivatives(model, layers, x, y, loss, output, precision)
        return {name: _count_differing(d[name], coarse[name]) for name in layers}

    return compare


def _count_differing(one, other):
    same = tf.equal(one > 0, other > 0) & tf.equal(one < 0, other < 0)
    return tf.math.count_nonzero(~same)


class Disagreement:
    """How many signs differ between the recording pass and one in float32: measured at the first and the
    last recording, in ``found`` [{"step": int, "share": {layer: share of all samples, neurons and
    positions}}]."""

    def __init__(self, model, shapes: Mapping[str, tuple], x, y, loss, output, precision):
        compare = differing_signs(model, list(shapes), loss, output, precision)
        self._compare = compare.get_concrete_function(*specs(x, y))
        self._places = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        self._precision = precision
        self.found: list[dict] = []

    def measure(self, step: int, batches: Iterable) -> None:
        """Measure and say it, at the model's present weights, before batch ``step`` of the training."""
        different, samples = dict.fromkeys(self._places, 0), 0
        for x, y in batches:
            counts = self._compare(x, y)
            samples += len(keras.tree.flatten(x)[0])
            different = {name: count + int(counts[name]) for name, count in different.items()}
        share = {name: different[name] / (samples * places) for name, places in self._places.items()}
        self.found.append({"step": step, "share": share})
        logger.warning(
            "recording in %s: at step %d, %.2f %% of all signs differ from float32 (%s)",
            self._precision,
            step,
            100 * sum(different.values()) / (samples * sum(self._places.values())),
            ", ".join(f"{name} {100 * value:.2f} %" for name, value in share.items()),
        )
