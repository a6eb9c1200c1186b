"""The papers' networks: names, order, sizes, skips, standardization, seeds."""

import itertools

import keras
import numpy as np
import pytest

from keras_neuronlevel import networks, neurons

BUILDERS = [networks.cifar_cnn, networks.cifar_resnet]
ORDERS = ["activation-norm", "norm-activation"]


def small(build, activation="relu", **options):
    return build(activation, **{"filters": 2, "input_shape": (16, 16, 3), "seed": 1, **options})


def images(count=3, shape=(16, 16, 3)):
    return np.random.default_rng(0).uniform(0, 1, (count, *shape)).astype(np.float32)


def test_the_papers_mlp():
    model = networks.mlp("relu")
    assert [layer.name for layer in model.layers] == [
        "images",
        "flatten",
        "dense1",
        "dense1-relu",
        "dropout1",
        "dense2",
        "dense2-relu",
        "dropout2",
        "logits",
    ]
    assert model.count_params() == 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10
    assert model.input_shape == (None, 28, 28, 1) and model.output_shape == (None, 10)
    assert [model.get_layer(f"dropout{i}").rate for i in (1, 2)] == [0.5, 0.5]
    assert neurons.neuron_layers(model) == ["dense1-relu", "dense2-relu"]
    assert neurons.logits(model) is model.outputs[0]


def test_mlp_options():
    model = networks.mlp("tanh", hidden=(7, 6, 5), dropout=0, input_shape=(3, 2), num_classes=4)
    assert model.count_params() == 6 * 7 + 7 + 7 * 6 + 6 + 6 * 5 + 5 + 5 * 4 + 4
    assert neurons.neuron_layers(model) == ["dense1-tanh", "dense2-tanh", "dense3-tanh"]
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)


def test_mlp_computes_what_numpy_computes(make_mlp, numpy_net):
    model = make_mlp("sigmoid", dropout=0.5)
    x = images(4, (4, 4, 1))
    np.testing.assert_allclose(model(x, training=False), numpy_net(model).values(x)["logits"], rtol=1e-4)


def test_an_activation_function_of_ones_own():
    def cube(x):
        return x * x * x

    assert neurons.neuron_layers(networks.mlp(cube, hidden=(3,))) == ["dense1-cube"]


@pytest.mark.parametrize("build", [networks.mlp, *BUILDERS])
@pytest.mark.parametrize("activation", ["rellu", 3])
def test_unknown_activations(build, activation):
    with pytest.raises(ValueError, match=f"activation {activation!r} is not known"):
        build(activation)


@pytest.mark.parametrize("seed", [0, 1])
def test_glorot_uniform(seed):
    model = networks.mlp("relu", seed=seed)
    for name, (fan_in, fan_out) in {"dense1": (784, 512), "dense2": (512, 512), "logits": (512, 10)}.items():
        kernel, bias = model.get_layer(name).get_weights()
        limit = np.sqrt(6 / (fan_in + fan_out))
        assert np.abs(kernel).max() <= limit * (1 + 1e-6)  # float32
        assert np.abs(kernel).max() > 0.99 * limit
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=0.02)  # uniform, not normal
        assert not bias.any()


@pytest.mark.parametrize("build", [networks.mlp, *BUILDERS])
def test_seeds_are_reproducible_and_different(build):
    options = {"hidden": (9, 9)} if build is networks.mlp else {"filters": 2}
    first, again, other = (build("relu", seed=seed, **options).get_weights() for seed in (4, 4, 5))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = [(a, b) for a, b in zip(first, other, strict=True) if a.ndim > 1]
    assert all(np.abs(a - b).max() > 1e-3 for a, b in kernels)


@pytest.mark.parametrize("build", [networks.mlp, *BUILDERS])
@pytest.mark.parametrize("seed", [None, 0, 3])
def test_no_two_layers_start_alike(build, seed):
    options = {"hidden": (9, 9, 9, 9)} if build is networks.mlp else {"filters": 2}
    kernels = [w for w in build("relu", seed=seed, **options).get_weights() if w.ndim > 1]
    pairs = [(a, b) for a, b in itertools.combinations(kernels, 2) if a.shape == b.shape]
    assert len(pairs) >= 3
    for a, b in pairs:
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.5


def test_dropout_masks_are_seeded_and_different():
    def masks(seed):
        model = networks.mlp("linear", hidden=(300, 300), seed=seed)
        outputs = [model.get_layer(f"dropout{i}") for i in (1, 2)]
        return [np.asarray(layer(np.ones((1, 300)), training=True)) > 0 for layer in outputs]

    first, again, other = masks(2), masks(2), masks(3)
    np.testing.assert_array_equal(first, again)
    assert (first[0] != first[1]).mean() > 0.3 and (first[0] != other[0]).mean() > 0.3


# CIFAR-10 networks ---------------------------------------------------------------------------------


def expected_names(phi, order, residual):
    names = ["images"]
    for stage in range(4):
        for layer in range(3):
            base = f"stage{stage}layer{layer}"
            act, norm = f"{base}-{phi}", f"{base}-norm"
            names += [base, *((act, norm) if order == "activation-norm" else (norm, act))]
            if residual and layer:
                names.append(f"{base}-add")
        if stage < 3:
            names.append(f"stage{stage}-pool")
    return [*names, "pool", "logits"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("build", BUILDERS)
def test_names_and_order(build, order):
    model = small(build, "linear", order=order)
    assert [layer.name for layer in model.layers] == expected_names(
        "linear", order, build is networks.cifar_resnet
    )
    found = neurons.neuron_layers(model)
    assert found == [f"stage{s}layer{n}-linear" for s in range(4) for n in range(3)]
    for name in found:
        source, act = model.get_layer(name[: -len("-linear")]), model.get_layer(name)
        norm = model.get_layer(name.replace("-linear", "-norm"))
        first, second = (act, norm) if order == "activation-norm" else (norm, act)
        assert first.input is source.output and second.input is first.output


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize("k", [2, 16])
def test_parameter_counts(build, order, k):
    channels = [3] + [k * 2**stage for stage in range(4) for _ in range(3)]
    bias = order == "activation-norm"
    convolutions = sum(9 * i * o + (o if bias else 0) for i, o in itertools.pairwise(channels))
    norms = sum(4 * o for o in channels[1:])
    model = build("relu", filters=k, order=order)
    assert model.count_params() == convolutions + norms + 8 * k * 10 + 10
    maps = [neurons.activation(model, f"stage{s}layer2-relu").shape for s in range(4)]
    assert maps == [(None, 32 // 2**s, 32 // 2**s, k * 2**s) for s in range(4)]


def test_the_network_with_norms_first_is_the_cnn_in_that_order():
    first = networks.cifar_cnn_norm_first("relu", filters=2, seed=5)
    same = networks.cifar_cnn("relu", filters=2, seed=5, order="norm-activation")
    assert [layer.name for layer in first.layers] == expected_names("relu", "norm-activation", False)
    for a, b in zip(first.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_momentum_of_batch_normalization():
    norms = [n for n in small(networks.cifar_cnn).layers if isinstance(n, keras.layers.BatchNormalization)]
    assert len(norms) == 12 and all(norm.momentum == 0.9 for norm in norms)


@pytest.mark.parametrize("order", ORDERS)
def test_identity_skips(order):
    """The output of every layer but the first of a stage is x + layer(x); the plain network has none."""
    model = small(networks.cifar_resnet, "tanh", order=order)
    adds = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert [add.name for add in adds] == [f"stage{s}layer{n}-add" for s in range(4) for n in (1, 2)]
    end = "norm" if order == "activation-norm" else "tanh"
    for add in adds:
        base = add.name.removesuffix("-add")
        tensors = [model.get_layer(base).input, model.get_layer(f"{base}-{end}").output, add.output]
        x, layer_of_x, out = (np.asarray(v) for v in keras.Model(model.inputs[0], tensors)(images()))
        np.testing.assert_allclose(out, x + layer_of_x, rtol=1e-5, atol=1e-6)
        assert np.abs(x).max() > 1e-2 and np.abs(layer_of_x).max() > 1e-6
    assert not any(isinstance(layer, keras.layers.Add) for layer in small(networks.cifar_cnn).layers)


@pytest.mark.parametrize("build", BUILDERS)
def test_standardization_inside_the_model(build):
    x = images(8)
    mean, std = networks.channel_statistics(x)
    for channel in range(3):
        assert mean[channel] == pytest.approx(np.mean(x[..., channel], dtype=float), rel=1e-9)
        assert std[channel] == pytest.approx(np.std(x[..., channel], dtype=float), rel=1e-9)
    inside, bare = small(build, mean=mean, std=std), small(build)
    by_hand = ((x - np.array(mean)) / np.array(std)).astype(np.float32)
    np.testing.assert_allclose(inside(x), bare(by_hand), rtol=1e-3, atol=1e-5)
    assert np.abs(np.asarray(bare(x)) - bare(by_hand)).max() > 1e-3
    assert inside.count_params() - bare.count_params() in (0, 7)  # no trained parameters are added
    assert len(inside.trainable_variables) == len(bare.trainable_variables)


@pytest.mark.parametrize("given", ["mean", "std"])
def test_mean_and_std_belong_together(given):
    with pytest.raises(ValueError, match="mean.*std|std.*mean"):
        small(networks.cifar_cnn, **{given: (0.5, 0.5, 0.5)})


@pytest.mark.parametrize("build", BUILDERS)
def test_unknown_order(build):
    with pytest.raises(ValueError, match="'norm-relu'.*'activation-norm'.*'norm-activation'"):
        small(build, order="norm-relu")


@pytest.mark.parametrize("build", BUILDERS)
def test_saved_and_loaded_it_is_the_same(build, tmp_path):
    model = small(build, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = images()
    np.testing.assert_array_equal(loaded(x), model(x))
    assert neurons.neuron_layers(loaded) == neurons.neuron_layers(model)


def test_saved_mlp(tmp_path):
    model = networks.mlp("sigmoid", hidden=(4,), seed=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras", compile=False)
    x = images(2, (28, 28, 1))
    np.testing.assert_array_equal(loaded(x), model(x))
    assert neurons.neuron_layers(loaded) == ["dense1-sigmoid"]
