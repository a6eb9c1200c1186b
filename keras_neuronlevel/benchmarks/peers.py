"""The same recording as a user of JAX or PyTorch would write it: equal work, equal signs.

Both take the Keras model's weights and the recorder's batches, and add sign(∂L/∂a) and ∂L/∂a ≠ 0 of every
activation to two int16 sums in place. Install them with
``pip install -r keras_neuronlevel/benchmarks/requirements-peers.txt``.
"""

import dataclasses
import importlib.util
from collections.abc import Callable

import keras
import numpy as np

from keras_neuronlevel import neurons


@dataclasses.dataclass
class Peer:
    """``record()`` takes one recording of all batches and returns its mean loss; ``signs()`` gives what was
    summed so far, {layer: sign of the sum, (N, U) or (N, ..., U)}."""

    record: Callable[[], float]
    signs: Callable[[], dict[str, np.ndarray]]


def installed() -> dict[str, Callable]:
    """{name: function (model, batches) -> Peer} of those that are there."""
    known = {"jax": with_jax, "torch": with_torch}
    return {name: build for name, build in known.items() if importlib.util.find_spec(name)}


def operations(model):
    """A plain chain of layers as [(kind, name, arrays)], in NumPy."""
    chain = []
    for layer in model.layers[1:]:
        if not isinstance(layer, keras.layers.Dropout):
            chain.append((type(layer).__name__, layer.name, [np.array(w) for w in layer.get_weights()]))
    return chain


def with_jax(model, batches):
    """JAX: one jitted function of batch and sums, whose sums are donated."""
    import jax
    import jax.numpy as jnp

    chain = [(kind, name, [jnp.asarray(w) for w in arrays]) for kind, name, arrays in operations(model)]
    layers = neurons.neuron_layers(model)
    batches = [(jnp.asarray(np.asarray(x)), jnp.asarray(np.asarray(y))) for x, y in batches]

    def losses(taps, x, y):
        for kind, name, arrays in chain:
            x = _apply_jax(kind, x, arrays, model.get_layer(name))
            x = x + taps[name] if name in layers else x
        picked = jnp.take_along_axis(jax.nn.log_softmax(x), y[:, None], axis=1)
        return -picked.sum()

    def zeros(x):
        pairs = {}
        for kind, name, arrays in chain:
            x = _apply_jax(kind, x, arrays, model.get_layer(name))
            if name in layers:
                pairs[name] = jnp.zeros(x.shape, jnp.int16), jnp.zeros(x.shape, jnp.int16)
        return pairs

    def record(sums, x, y):
        taps = {name: jnp.zeros(pair[0].shape, jnp.float32) for name, pair in sums.items()}
        loss, d = jax.value_and_grad(losses)(taps, x, y)
        added = {
            name: (sign_sum + jnp.sign(d[name]).astype(jnp.int16), nonzero + (d[name] != 0))
            for name, (sign_sum, nonzero) in sums.items()
        }
        return added, loss

    record = jax.jit(record, donate_argnums=0)
    sums = [jax.jit(zeros)(x) for x, _ in batches]

    def go():
        total = 0.0
        for number, (x, y) in enumerate(batches):
            sums[number], loss = record(sums[number], x, y)
            total += loss
        jax.block_until_ready(sums)
        return float(total) / sum(len(y) for _, y in batches)

    def signs():
        return {
            name: np.sign(np.concatenate([np.asarray(part[name][0]) for part in sums])) for name in layers
        }

    return Peer(go, signs)


def _apply_jax(kind, x, arrays, layer):
    import jax
    import jax.numpy as jnp

    if kind == "Flatten":
        return x.reshape(len(x), -1)
    if kind == "Dense":
        return x @ arrays[0] + arrays[1]
    if kind == "Activation":
        return jnp.maximum(x, 0)
    if kind == "Conv2D":
        axes = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, arrays[0], (1, 1), "SAME", dimension_numbers=axes) + arrays[1]
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = arrays
        return (x - mean) * (gamma / jnp.sqrt(variance + layer.epsilon)) + beta
    if kind == "MaxPooling2D":
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return x.mean(axis=(1, 2))


def with_torch(model, batches):
    """PyTorch: autograd with a hook on every activation, which adds its gradient's signs in place."""
    import torch

    chain = [(kind, name, _for_torch(kind, arrays)) for kind, name, arrays in operations(model)]
    layers = neurons.neuron_layers(model)
    batches = [(_images(np.array(x)), torch.from_numpy(np.array(y)).long()) for x, y in batches]
    sums = [{} for _ in batches]

    def add(number, name, d):
        if name not in sums[number]:
            sums[number][name] = [torch.zeros_like(d, dtype=torch.int16) for _ in range(2)]
        sign_sum, nonzero = sums[number][name]
        sign_sum.add_(d.sign().to(torch.int16))
        nonzero.add_(d != 0)

    def one(number, x, y):
        for kind, name, arrays in chain:
            x = _apply_torch(kind, x, arrays, model.get_layer(name))
            if name in layers:
                x = x if x.requires_grad else x.requires_grad_()
                x.register_hook(lambda d, name=name: add(number, name, d))
        loss = torch.nn.functional.cross_entropy(x, y, reduction="sum")
        loss.backward()
        return loss.item()

    def go():
        total = sum(one(number, x, y) for number, (x, y) in enumerate(batches))
        return total / sum(len(y) for _, y in batches)

    def signs():
        found = {name: torch.cat([part[name][0] for part in sums]).sign() for name in layers}
        return {name: (s.permute(0, 2, 3, 1) if s.ndim == 4 else s).numpy() for name, s in found.items()}

    return Peer(go, signs)


def _images(x):
    import torch

    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    return x.contiguous(memory_format=torch.channels_last)


def _for_torch(kind, arrays):
    import torch

    if kind == "Conv2D":
        arrays = [np.ascontiguousarray(arrays[0].transpose(3, 2, 0, 1)), arrays[1]]
    if kind == "Dense":
        arrays = [np.ascontiguousarray(arrays[0].T), arrays[1]]
    return [torch.from_numpy(a) for a in arrays]


def _apply_torch(kind, x, arrays, layer):
    from torch.nn import functional

    if kind == "Flatten":
        return x.flatten(1)
    if kind == "Dense":
        return functional.linear(x, *arrays)
    if kind == "Activation":
        return functional.relu(x)
    if kind == "Conv2D":
        return functional.conv2d(x, *arrays, padding=1)
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = arrays
        return functional.batch_norm(x, mean, variance, gamma, beta, eps=layer.epsilon)
    if kind == "MaxPooling2D":
        return functional.max_pool2d(x, 2)
    return x.mean(dim=(2, 3))
