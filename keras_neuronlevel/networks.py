"""The papers' networks, each ending in logits (layer ``logits``), with neuron layers named as there."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_neuronlevel import checks

__all__ = [
    "activation_function",
    "channel_statistics",
    "cifar_cnn",
    "cifar_cnn_norm_first",
    "cifar_resnet",
    "mlp",
]

Activation = str | Callable

STAGES = 4
LAYERS_PER_STAGE = 3


def activation_function(activation: Activation) -> tuple[Callable, str]:
    """φ and its name, given either; raises ``ValueError`` for a name that Keras does not know."""
    try:
        function = keras.activations.get(activation)
    except (ValueError, TypeError):
        raise ValueError(
            f"activation {activation!r} is not known to Keras; give a name such as 'relu', 'sigmoid' or "
            "'linear', or a function"
        ) from None
    return function, getattr(function, "__name__", type(function).__name__).lower()


class _Seeds:
    """A fresh seed for every layer, drawn from one number; None throughout when that is None."""

    def __init__(self, seed):
        self._seed = None if seed is None else checks.seed(seed)
        self._drawn = 0

    def __call__(self):
        if self._seed is None:
            return None
        self._drawn += 1
        return self._seed * 1000 + self._drawn


def mlp(
    activation: Activation,
    *,
    hidden: Sequence[int] = (512, 512),
    dropout: float = 0.5,
    input_shape: tuple[int, ...] = (28, 28, 1),
    num_classes: int = 10,
    seed: int | None = None,
) -> keras.Model:
    """The multi-layer perceptron of both papers (E §2): 784-512-512-10, dropout after each hidden layer.

    Hidden layer i is ``Dense(name="dense{i}")`` followed by ``Activation(name="dense{i}-{activation}")``,
    the neuron layer. Weights start from the normalized ("Glorot uniform") initialization. The output is
    the logits, shape (N, K). ``activation`` is any Keras activation; with ``seed`` the weights and the
    dropout masks are reproducible.
    """
    phi, name = activation_function(activation)
    checks.number("dropout", dropout, least=0, below=1)
    seeds = _Seeds(seed)
    sides = [
        checks.whole("a side of input_shape", n, least=1) for n in checks.sequence("input_shape", input_shape)
    ]
    inputs = keras.Input(sides, name="images")
    x = keras.layers.Flatten(name="flatten")(inputs)
    for i, units in enumerate(checks.sequence("hidden", hidden), start=1):
        glorot = keras.initializers.GlorotUniform(seeds())
        units = checks.whole("a hidden layer's size", units, least=1)
        x = keras.layers.Dense(units, kernel_initializer=glorot, name=f"dense{i}")(x)
        x = keras.layers.Activation(phi, name=f"dense{i}-{name}")(x)
        if dropout:
            x = keras.layers.Dropout(dropout, seed=seeds(), name=f"dropout{i}")(x)
    return keras.Model(inputs, _logits(x, num_classes, seeds), name=f"mlp-{name}")


def _logits(x, num_classes, seeds):
    checks.whole("num_classes", num_classes, least=1)
    glorot = keras.initializers.GlorotUniform(seeds())
    return keras.layers.Dense(num_classes, kernel_initializer=glorot, name="logits")(x)


def channel_statistics(x: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of images x (N, H, W, C), two tuples of C floats.

    Raises ``ValueError`` for no image, another shape, and what is no number.
    """
    x = np.asarray(x)
    if x.ndim != 4 or not x.size or x.dtype.kind not in "iuf":
        raise ValueError(f"x has shape {x.shape} and type {x.dtype}; give images (N, H, W, C), at least one")
    mean = x.mean(axis=(0, 1, 2), dtype="float64")
    std = x.std(axis=(0, 1, 2), dtype="float64")
    return tuple(float(m) for m in mean), tuple(float(s) for s in std)


def cifar_cnn(activation: Activation, *, filters: int = 16, **options: Any) -> keras.Model:
    """The 12-layer CNN of the long paper: 4 stages of 3 layers, max-pooling between the stages.

    A layer is a 3 × 3 'same' convolution ``stage{s}layer{l}``, the neuron layer
    ``stage{s}layer{l}-{activation}`` and a batch normalization; stage s has ``filters * 2 ** s`` channels.
    Global average pooling and a dense layer give the logits (N, K). ``options``:

    - ``order``: ``"activation-norm"`` (default) or ``"norm-activation"``, batch normalization first;
    - ``mean``, ``std``: the training images' channel statistics (see :func:`channel_statistics`); given,
      the model standardizes its images itself;
    - ``input_shape=(32, 32, 3)``, ``num_classes=10``, ``seed=None``.

    Filters and order follow the authors' later code, as the paper does not state them. The momentum of
    batch normalization is 0.9 (ours), so that inference mode, in which derivatives are recorded, follows
    the weights closely from the first recordings on.
    """
    return _cifar_network("cifar-cnn", activation, filters, residual=False, **options)


def cifar_resnet(activation: Activation, *, filters: int = 16, **options: Any) -> keras.Model:
    """The residual twin of :func:`cifar_cnn`, ours: the same stages, layers, names and options.

    An identity skip leads around every layer that keeps its shape: x + layer(x) for all but the first
    layer of a stage. It asks whether the papers' findings survive skip connections.
    """
    return _cifar_network("cifar-resnet", activation, filters, residual=True, **options)


def cifar_cnn_norm_first(activation: Activation, *, filters: int = 16, **options: Any) -> keras.Model:
    """:func:`cifar_cnn` with every batch normalization before the activation function, ours: the order
    that is more usual today. The papers do not state theirs, and pre-activations are what it centres, so
    a finding about percentile ranks may depend on it (I §5.2, Table 1)."""
    order = "norm-activation"
    return _cifar_network("cifar-cnn-norm-first", activation, filters, residual=False, order=order, **options)


def _cifar_network(
    title,
    activation,
    filters,
    *,
    residual,
    order="activation-norm",
    mean=None,
    std=None,
    input_shape=(32, 32, 3),
    num_classes=10,
    seed=None,
):
    if order not in ("activation-norm", "norm-activation"):
        raise ValueError(
            f"order is {order!r}; it must be 'activation-norm' (as in the authors' later code) or "
            "'norm-activation'"
        )
    if (mean is None) != (std is None):
        raise ValueError(f"mean is {mean} and std {std}; give both, one number a channel, or neither")
    phi, name = activation_function(activation)
    checks.whole("filters", filters, least=1)
    seeds = _Seeds(seed)
    inputs = keras.Input(input_shape, name="images")
    x = inputs if mean is None else _standardized(inputs, mean, std)
    for stage in range(STAGES):
        for layer in range(LAYERS_PER_STAGE):
            y = _layer(x, filters * 2**stage, f"stage{stage}layer{layer}", phi, name, order, seeds)
            skips = residual and layer > 0
            x = keras.layers.Add(name=f"stage{stage}layer{layer}-add")([x, y]) if skips else y
        if stage < STAGES - 1:
            x = keras.layers.MaxPooling2D(2, name=f"stage{stage}-pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, _logits(x, num_classes, seeds), name=f"{title}-{name}")


def _standardized(inputs, mean, std):
    mean, std, channels = checks.reals("mean", mean), checks.reals("std", std), inputs.shape[-1]
    if mean.shape != (channels,) or std.shape != (channels,):
        raise ValueError(
            f"mean has shape {mean.shape} and std {std.shape}; give one number for each of the {channels} "
            "channels"
        )
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise ValueError(f"mean is {mean.tolist()} and std {std.tolist()}; give finite numbers, std above 0")
    variance = [s * s for s in std.tolist()]
    return keras.layers.Normalization(mean=mean.tolist(), variance=variance, name="standardize")(inputs)


def _layer(x, channels, layer, phi, phi_name, order, seeds):
    first = order == "activation-norm"
    x = keras.layers.Conv2D(
        channels,
        3,
        padding="same",
        use_bias=first,  # a bias in front of a batch normalization would be taken out again
        kernel_initializer=keras.initializers.GlorotUniform(seeds()),
        name=layer,
    )(x)
    norm = keras.layers.BatchNormalization(momentum=0.9, name=f"{layer}-norm")
    act = keras.layers.Activation(phi, name=f"{layer}-{phi_name}")
    return norm(act(x)) if first else act(norm(x))
