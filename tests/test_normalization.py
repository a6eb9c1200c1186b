"""Batch normalization by one operation, against NumPy and against what Keras does by itself."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import networks, normalization, training

L = keras.layers


def one_layer(shape, **options):
    """A model of one batch normalization with weights and averages that are not those of the beginning."""
    layer = L.BatchNormalization(momentum=0.7, name="norm", **options)
    model = keras.Sequential([keras.Input(shape), layer])
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2, w.shape).astype(np.float32) for w in layer.get_weights()])
    return model, layer


def passed(model, x, direction):
    """(y, ∂Σ(y·direction)/∂x, the same of the weights) in training mode, and whether one operation did it."""
    found = []

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = model(x, training=True)
            total = tf.reduce_sum(tf.cast(y, tf.float32) * direction)
        found.extend(op.type for op in tf.compat.v1.get_default_graph().get_operations())
        return y, tape.gradient(total, [x, *model.trainable_variables])

    y, gradients = step(tf.constant(x))
    return y.numpy(), [g.numpy() for g in gradients], "FusedBatchNormV3" in found


def by_hand(x, direction, gamma, beta, epsilon):
    """The same in NumPy, float64: y, ∂/∂x, ∂/∂γ, ∂/∂β, and the mean and variance of each channel."""
    x, direction = x.astype(np.float64), direction.astype(np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    scale = 1 / np.sqrt(variance + epsilon)
    z = (x - mean) * scale
    d = direction * gamma
    to_x = scale * (d - d.mean(axes) - z * (d * z).mean(axes))
    return gamma * z + beta, to_x, (direction * z).sum(axes), direction.sum(axes), mean, variance


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (2, 1, 1, 16), (1, 3, 3, 1)])
def test_against_numpy(shape, center, scale):
    model, layer = one_layer(shape[1:], scale=scale, center=center, epsilon=0.01)
    rng = np.random.default_rng(0)
    x = (3 + 2 * rng.normal(size=shape)).astype(np.float32)
    direction = rng.normal(size=shape).astype(np.float32)
    gamma = layer.gamma.numpy() if scale else 1.0
    beta = layer.beta.numpy() if center else 0.0
    before = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    with normalization.fused(model):
        y, (to_x, *others), fused = passed(model, x, direction)
    assert fused
    expected = by_hand(x, direction, gamma, beta, 0.01)
    np.testing.assert_allclose(y, expected[0], atol=1e-4)
    np.testing.assert_allclose(to_x, expected[1], atol=1e-4)
    of_weights = [value for value, there in zip(expected[2:4], (scale, center), strict=True) if there]
    for value, wanted in zip(others, of_weights, strict=True):
        np.testing.assert_allclose(value, wanted, atol=1e-3)
    averages = layer.moving_mean, layer.moving_variance
    for average, first, new in zip(averages, before, expected[4:], strict=True):
        np.testing.assert_allclose(average.numpy(), 0.7 * first + 0.3 * new, rtol=1e-4)


def test_a_channel_of_one_value_and_a_single_value():
    """Variance 0: y = β. A batch of one value has no unbiased variance to be taken back to σ²."""
    for shape in ((4, 3, 3, 2), (1, 1, 1, 2)):
        model, layer = one_layer(shape[1:])
        variance = layer.moving_variance.numpy()
        with normalization.fused(model):
            y, (to_x, *_), fused = passed(model, np.full(shape, 7, np.float32), np.ones(shape, np.float32))
        assert fused
        np.testing.assert_allclose(y, np.broadcast_to(layer.beta.numpy(), shape), atol=1e-5)
        np.testing.assert_allclose(to_x, 0, atol=1e-4)
        np.testing.assert_allclose(layer.moving_variance.numpy(), 0.7 * variance, rtol=1e-5)


class Own(L.BatchNormalization):
    """A layer of somebody else's."""


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((4, 4, 3), Own()),
        ((3, 4, 4), L.BatchNormalization(axis=1)),
        ((4, 4, 3), L.BatchNormalization(epsilon=1e-6)),
        ((4, 4, 3), L.BatchNormalization(renorm=True)),
        ((4, 4, 3), L.BatchNormalization(synchronized=True)),
        ((4, 4, 3), L.BatchNormalization(trainable=False)),
        ((4, 4, 3), L.BatchNormalization(dtype="mixed_float16")),
        ((4, 4, 3), L.BatchNormalization(dtype="mixed_bfloat16")),
        ((4, 4, 3), L.BatchNormalization(dtype="float64")),
        ((6,), L.BatchNormalization()),
        ((4, 6), L.BatchNormalization()),
    ],
    ids=lambda value: None if isinstance(value, tuple) else type(value).__name__,
)
def test_what_is_left_to_keras(shape, layer):
    model = keras.Sequential([keras.Input(shape), layer])
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    weights = layer.get_weights()
    plain = passed(model, x, np.float32(1)), layer.get_weights()
    layer.set_weights(weights)
    with normalization.fused(model):
        again = passed(model, x, np.float32(1)), layer.get_weights()
    assert not again[0][2]
    for one, other in zip(keras.tree.flatten(plain), keras.tree.flatten(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_inference_is_left_to_keras():
    model, _ = one_layer((4, 4, 3))
    x = np.random.default_rng(0).normal(size=(5, 4, 4, 3)).astype(np.float32)
    plain = model(x, training=False).numpy()
    with normalization.fused(model):
        np.testing.assert_array_equal(model(x, training=False).numpy(), plain)


def test_a_layer_that_is_applied_several_times():
    """To each of two time steps, after which both have moved the averages."""
    x = np.random.default_rng(0).normal(size=(5, 2, 4, 4, 3)).astype(np.float32)

    def found(fuse):
        layer = L.BatchNormalization(momentum=0.7)
        model = keras.Sequential([keras.Input((2, 4, 4, 3)), L.TimeDistributed(layer)])
        with normalization.fused(model) if fuse else contextlib.nullcontext():
            y, gradients, fused = passed(model, x, np.float32(x[:, :, ::-1]))
        return fused, [y, *gradients, *layer.get_weights()]

    (is_fused, one), (is_not, other) = found(True), found(False)
    assert is_fused and not is_not
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_mask_is_left_to_keras():
    model, layer = one_layer((2, 2, 3))
    x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    mask = np.ones((5, 2, 2), bool)
    mask[3:] = False
    with normalization.fused(model):
        layer(x, training=True, mask=tf.constant(mask))
    expected = 0.3 * x[:3].mean((0, 1, 2))
    before = one_layer((2, 2, 3))[1].moving_mean.numpy()
    np.testing.assert_allclose(layer.moving_mean.numpy(), 0.7 * before + expected, rtol=1e-4)


def test_layers_are_as_before_afterwards_after_an_error_too():
    model, layer = one_layer((4, 4, 3))
    with pytest.raises(RuntimeError, match="in the middle"), normalization.fused(model):
        assert "call" in vars(layer)
        raise RuntimeError("in the middle")
    assert "call" not in vars(layer)


def test_a_step_of_a_network_is_that_of_keras_up_to_rounding(monkeypatch):
    """All weights and running averages after two steps, with single operations and with one."""
    x = np.random.default_rng(0).normal(size=(9, 16, 16, 3)).astype(np.float32)
    y = np.arange(9) % 4

    def weights():
        model = networks.cifar_resnet("relu", filters=2, input_shape=(16, 16, 3), num_classes=4, seed=3)
        step = training.training_step(model, keras.optimizers.SGD(0.05))
        losses = [float(step(x, y)[0]) for _ in range(2)]
        return [*model.get_weights(), np.float32(losses)]

    fused = weights()
    monkeypatch.setattr(normalization, "LEAST_EPSILON", np.inf)
    plain = weights()
    differences = [np.abs(one - other).max() for one, other in zip(fused, plain, strict=True)]
    assert 0 < max(differences) < 1e-4


def test_training_normalizes_by_one_operation():
    model = networks.cifar_cnn("relu", filters=2, num_classes=4, seed=3)
    step = training.training_step(model, keras.optimizers.SGD(0.05))
    specs = tf.TensorSpec((None, 32, 32, 3)), tf.TensorSpec((None,), tf.int64)
    operations = step.get_concrete_function(*specs).graph.get_operations()
    assert sum(op.type == "FusedBatchNormV3" for op in operations) == 12
