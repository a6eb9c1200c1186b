"""The cross-entropy of clipped probabilities, at its limits, against NumPy, and beside the exact one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_neuronlevel import recording, training
from keras_neuronlevel.recording.losses import chosen_loss, clipped_log_loss, loss_name
from keras_neuronlevel.records import Records

L = keras.layers
CLIPPED = "clipped_cross_entropy"
ONE, EPSILON = np.float32(1), np.float32(1e-7)
LIMIT = ONE - EPSILON  # in float32
AFTER, BEFORE = (np.nextafter(LIMIT, np.float32(end), dtype=np.float32) for end in (1, 0))


def twin(y, p):
    """∂L/∂p of one sample by the quotient and chain rules in float64, the clip decided in float32."""
    p = np.asarray(p, np.float32)
    total = p.sum(dtype=np.float32)
    q = p[y] / total
    if q < EPSILON or q > LIMIT:
        return np.zeros(len(p))
    exact = p.astype(np.float64)
    whole = float(total)
    slope = -1 / float(q)  # of -log q
    return np.array([slope * ((k == y) / whole - exact[y] / whole**2) for k in range(len(p))])


def gradient(y, p):
    p = tf.constant(np.asarray(p, np.float32)[None])
    with tf.GradientTape() as tape:
        tape.watch(p)
        loss = clipped_log_loss(tf.constant([y]), p)
    return loss.numpy()[0], tape.gradient(loss, p).numpy()[0]


def test_the_limit_in_float32_is_two_steps_below_one():
    assert LIMIT == ONE - np.float32(2.0**-23) and AFTER == ONE - np.float32(2.0**-24)
    assert np.nextafter(AFTER, ONE, dtype=np.float32) == ONE


@pytest.mark.parametrize(
    ("y", "p", "votes"),
    [
        (0, (LIMIT, ONE - LIMIT), True),  # exactly at 1 - ε
        (0, (BEFORE, ONE - BEFORE), True),
        (0, (AFTER, ONE - AFTER), False),
        (0, (ONE, 0), False),
        (0, (EPSILON, ONE - EPSILON), True),  # exactly at ε, misclassified
        (0, (np.nextafter(EPSILON, ONE, dtype=np.float32), ONE - EPSILON), True),
        (0, (np.nextafter(EPSILON, np.float32(0), dtype=np.float32), ONE - EPSILON), False),
        (0, (np.float32(1e-30), ONE), False),
        (0, (0, ONE), False),
        (1, (0.25, 0.5, 0.25), True),
        (2, (0.7, 0.2, 0.4), True),  # does not sum to 1, and is divided
        (0, (2 * LIMIT, 2 * (ONE - LIMIT)), True),
        (0, (2 * AFTER, 2 * (ONE - AFTER)), False),
    ],
)
def test_the_derivative_is_zero_outside_of_the_clip_and_only_there(y, p, votes):
    loss, found = gradient(y, p)
    expected = twin(y, p)
    assert expected.any() == votes
    assert found.any() == votes
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * np.abs(expected).max())
    q = np.float32(p[y]) / np.asarray(p, np.float32).sum(dtype=np.float32)
    assert loss == pytest.approx(-np.log(np.float64(np.clip(q, EPSILON, LIMIT))), rel=1e-6)


def hand_weighted(weights=((1.0, -1.0), (0.5, 2.0))):
    """p = x, a = p, logits = Wᵀ a: for two classes ∂L/∂a = (1 - q_y) · (W_other - W_y)."""
    inputs = keras.Input((2,))
    a = L.Activation("linear", name="phi")(L.Dense(2, name="in")(inputs))
    model = keras.Model(inputs, L.Dense(2, name="logits")(a))
    model.get_layer("in").set_weights([np.eye(2), np.zeros(2)])
    model.get_layer("logits").set_weights([np.array(weights), np.zeros(2)])
    return model


# Margins z_y - z_other, and whether q_y = 1 / (1 + exp(-margin)) is inside of the clip.
MARGINS = [(-30, False), (-17, False), (-15, True), (-1, True), (0, True), (3, True), (14, True),
           (15.5, True), (17, False), (20, False), (90, False)]  # fmt: skip


@pytest.mark.parametrize("ends_in_softmax", [False, True])
def test_derivatives_of_samples_by_their_margin(ends_in_softmax):
    model, weights = hand_weighted(), np.array([[1.0, -1.0], [0.5, 2.0]])
    margins = np.array([margin for margin, _ in MARGINS])
    x = np.zeros((len(margins), 2), np.float32)
    x[:, 0] = margins / 2  # z = (x, -x): the margin of class 0 is 2x
    if ends_in_softmax:
        model = keras.Model(model.inputs[0], L.Softmax()(model.outputs[0]))
    y = np.zeros(len(x), np.int32)
    found = recording.activation_derivatives(model, x, y, loss=CLIPPED)["phi"]
    q = 1 / (1 + np.exp(-margins))
    inside = np.array([votes for _, votes in MARGINS])
    expected = (inside * (1 - q))[:, None] * (weights[:, 1] - weights[:, 0])
    assert (found.any(axis=1) == inside).all()
    # near 1 float32 knows 1 - q in steps of 2^-24 only
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=4 * 2.0**-24)
    exact = recording.activation_derivatives(model, x, y)["phi"]
    assert exact[~inside & (np.abs(margins) < 21)].all(), "from logits these samples vote"


def test_inside_of_the_clip_it_is_the_exact_loss(make_mlp):
    model = make_mlp("sigmoid")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4, 4, 1)).astype(np.float32), np.arange(9, dtype=np.int32) % 3
    exact = recording.activation_derivatives(model, x, y)
    for name, d in recording.activation_derivatives(model, x, y, loss=CLIPPED).items():
        np.testing.assert_allclose(d, exact[name], rtol=1e-4, atol=1e-7)


def test_several_labels_a_sample_are_averaged():
    inputs = keras.Input((3, 2))
    a = L.Activation("tanh", name="phi")(inputs)
    model = keras.Model(inputs, L.Dense(2, kernel_initializer="identity", name="logits")(a))
    x = np.zeros((4, 3, 2), np.float32)
    x[:, :, 0] = [0.0, 0.5, -0.5]
    y = np.zeros((4, 3), np.int32)
    found = recording.activation_derivatives(model, x, y, loss=CLIPPED)["phi"]
    q = 1 / (1 + np.exp(-np.tanh([0.0, 0.5, -0.5])))
    np.testing.assert_allclose(found[0, :, 0], -(1 - q) / 3, rtol=1e-5)


def test_it_is_found_by_its_name_and_takes_classes(make_mlp):
    assert chosen_loss(make_mlp(), CLIPPED) is recording.clipped_cross_entropy
    assert loss_name(recording.clipped_cross_entropy) == CLIPPED
    x = np.zeros((3, 4, 4, 1), np.float32)
    with pytest.raises(ValueError, match="3"):
        recording.activation_derivatives(make_mlp(), x, np.array([0, 1, 3]), loss=CLIPPED)


def test_a_sigmoid_is_refused():
    model = keras.Sequential(
        [keras.Input((4,)), L.Dense(3, activation="tanh"), L.Dense(1, activation="sigmoid")]
    )
    with pytest.raises(ValueError, match="clipped_cross_entropy is that of a softmax's classes"):
        recording.activation_derivatives(model, np.ones((3, 4)), np.array([0, 1, 0]), loss=CLIPPED)


def test_a_model_in_which_samples_meet_is_refused_though_all_are_classified_with_confidence():
    """Clipped, no sample would have a derivative by which that could be seen."""

    class Meeting(L.Layer):
        def call(self, x):
            return x + tf.reduce_mean(x, axis=0, keepdims=True)

    inputs = keras.Input((2,))
    a = L.Activation("tanh", name="phi")(Meeting()(inputs))
    model = keras.Model(inputs, L.Dense(2, kernel_initializer="identity", name="logits")(100 * a))
    x = np.array([[1, -1], [2, -1], [1.5, -2]], np.float32)
    with pytest.raises(ValueError, match="samples meet"):
        recording.activation_derivatives(model, x, np.zeros(3, np.int32), loss=CLIPPED)


def test_both_losses_are_recorded_in_one_training_and_change_nothing_of_it(data, make_mlp, tmp_path):
    """Against a loop that keeps all derivatives, on a network that classifies with confidence."""
    kept = {"exact": [], "clipped": []}

    class Loop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch % 3 == 0:
                for name, loss in (("exact", None), ("clipped", CLIPPED)):
                    found = recording.activation_derivatives(self.model, x, y, loss=loss)
                    kept[name].append(found["dense2-relu"])

    def trained(*callbacks):
        model = make_mlp("relu", hidden=(6, 5))
        for variable in model.trainable_variables:
            variable.assign(16 * variable)
        training.train(
            model, data, optimizer=keras.optimizers.SGD(0.5), epochs=3, batch_size=8, callbacks=callbacks,
            progress=False,
        )  # fmt: skip
        return model.get_weights()

    x, y = data.x_train[:30], data.y_train[:30]
    options = {"every": 3, "layers": ["dense2-relu"]}
    recorders = [
        recording.ActivationGradientRecorder(x, y, path=tmp_path / "exact.h5", **options),
        recording.ActivationGradientRecorder(
            x, y, path=tmp_path / "clipped.h5", loss=CLIPPED,
            snapshots=recording.Snapshots(1, neurons=1), **options,
        ),
    ]  # fmt: skip
    undisturbed, recorded = trained(), trained(*recorders, Loop())
    for one, other in zip(undisturbed, recorded, strict=True):
        np.testing.assert_array_equal(one, other)
    for name, found in kept.items():
        with Records(tmp_path / f"{name}.h5") as records:
            np.testing.assert_array_equal(records.sign_sum("dense2-relu"), np.sign(found).sum(axis=0))
            np.testing.assert_array_equal(records.nonzero("dense2-relu"), (np.array(found) != 0).sum(axis=0))
            assert np.isfinite(records.recordings["accuracy"]).all()
    silent = (np.array(kept["clipped"]) == 0).all(axis=2)
    assert 0.05 < silent.mean() < 0.95, "some samples vote, and some have stopped"
    voting = ~silent[..., None] & (np.array(kept["exact"]) != 0)
    agree = np.sign(kept["clipped"])[np.broadcast_to(voting, np.shape(kept["exact"]))]
    assert (agree == np.sign(kept["exact"])[np.broadcast_to(voting, np.shape(kept["exact"]))]).mean() > 0.95


def test_a_recording_is_not_taken_up_with_another_loss():
    from keras_neuronlevel import checkpoints
    from keras_neuronlevel.recording import taking_up

    plain = taking_up.configuration("digest", {}, 3, recording.Snapshots(), 100)
    clipped = taking_up.configuration("digest", {}, 3, recording.Snapshots(), 100, CLIPPED)
    assert "loss" not in plain
    taking_up.check_same(clipped, clipped)
    for ours, saved in ((plain, clipped), (clipped, plain)):
        with pytest.raises(checkpoints.CheckpointError, match="differs in loss from this one"):
            taking_up.check_same(ours, saved)
