"""Every model of the zoo: right against a brute force, or refused with its reason."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import zoo

from keras_neuronlevel import evaluation, neurons, recording

RIGHT = [
    pytest.param(
        case, id=case.name, marks=[pytest.mark.slow] * case.slow + [pytest.mark.exhaustive] * case.largest
    )
    for case in zoo.CASES
    if case.refused is None
]
REFUSED = [pytest.param(case, id=case.name) for case in zoo.CASES if case.refused]


def built(case):
    keras.backend.clear_session(free_memory=False)  # names of layers begin anew
    keras.utils.set_random_seed(1)
    return case.build()


class Hooked:
    """The model with ``change(p, a) -> a`` at one place, by plain assignment, until the context ends."""

    def __init__(self, model, at, change):
        self.owner, self.attribute = at(model)
        self.change = change

    def __enter__(self):
        self.kept = vars(self.owner).get(self.attribute)
        function = getattr(self.owner, self.attribute)

        def hooked(p, *args, **kwargs):
            return self.change(p, lambda p: function(p, *args, **kwargs))

        vars(self.owner)[self.attribute] = hooked

    def __exit__(self, *error):
        if self.kept is None:
            del vars(self.owner)[self.attribute]
        else:
            vars(self.owner)[self.attribute] = self.kept


def as_tensors(x):
    return keras.tree.map_structure(tf.constant, x)


def brute_force(case, model, shape, dtype):
    """∂L_n/∂a: in eager mode, a zero variable of a's shape is added to a."""
    zero = tf.Variable(tf.zeros(shape, dtype))
    with tf.GradientTape() as tape:
        if case.at is None:
            cell = getattr(model, "cell", None)
            if cell is not None:
                cell[0] = zero
            else:
                model.zero = zero
            outputs = model(as_tensors(case.x), training=False)
        else:
            with Hooked(model, case.at, lambda p, phi: phi(p) + zero):
                outputs = model(as_tensors(case.x), training=False)
        output = neurons.pick_output(model, outputs, case.options.get("output"))
        loss = tf.reduce_sum(case.by_hand(case.y, output))
    return tape.gradient(loss, zero).numpy()


@pytest.mark.parametrize("case", RIGHT)
def test_zoo_derivatives_are_those_of_brute_force(case):
    model = built(case)
    count = len(keras.tree.flatten(case.x)[0])
    zoo.N, kept = count, zoo.N
    try:
        found = recording.activation_derivatives(model, case.x, case.y, [case.layer], **case.options)[
            case.layer
        ]
        shape, half = (
            np.moveaxis(found, -1, 1).shape if case.channels_first else found.shape,
            "bfloat16" in case.name,
        )
        dtype = "bfloat16" if half else "float64" if case.name == "float64" else "float32"
        expected = brute_force(case, model, shape, dtype).astype(np.float64)
        expected = np.moveaxis(expected, 1, -1) if case.channels_first else expected
    finally:
        zoo.N = kept
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found, expected, atol=(2e-2 if half else 2e-5) * scale, rtol=0)


CURVES = [
    pytest.param(case, id=case.name) for case in zoo.CASES if not (case.refused or case.slow or case.curve)
]
NO_CURVES = [pytest.param(case, id=case.name) for case in zoo.CASES if not case.refused and case.curve]


@pytest.mark.parametrize("case", CURVES)
def test_zoo_curves_are_those_of_pre_activations_replaced_by_hand(case):
    model, output = built(case), case.options.get("output")
    options = {"output": output, "metric": case.metric and case.metric[0]}
    curve = evaluation.quantization_curve(
        model, case.layer, case.x, case.y, ranks=[50], calibration=case.x, **options
    )
    twin = neurons.split_fused(model)
    assert neurons.neuron_layers(twin) == neurons.neuron_layers(model)
    values = [np.array(found[0]) for found in (curve.low, curve.high, curve.thresholds)]
    if case.channels_first:
        values = [v.reshape(-1, *[1] * (np.ndim(case.x) - 2)) for v in values]
    low, high, threshold = values

    def replaced(p, phi):
        return phi(tf.cast(tf.where(tf.cast(p, tf.float32) < threshold, low, high), p.dtype))

    def outputs():
        return neurons.pick_output(model, model(as_tensors(case.x), training=False), output)

    plain = outputs()
    with Hooked(model, case.at, replaced):
        by_hand = outputs()
    assert_scores(case, curve.baseline_score, curve.baseline_loss, plain)
    assert_scores(case, curve.score[0], curve.loss[0], by_hand)


def assert_scores(case, score, loss, output):
    """What the curve says of one output, against NumPy."""
    kept, output = getattr(output, "_keras_mask", None), np.asarray(output)
    if case.metric:
        np.testing.assert_allclose(score, case.metric[1](case.y, output), rtol=1e-5)
        assert np.isnan(loss)
        return
    y = np.asarray(case.y)
    y = (
        y.argmax(-1)
        if y.ndim == output.ndim and y.shape[-1] == output.shape[-1] > 1
        else y.reshape(output.shape[:-1])
    )
    right = answers(output) == y
    kept = np.ones(right.shape, bool) if kept is None else np.asarray(kept)
    shares = [np.mean(r[k]) for r, k in zip(np.atleast_1d(right), kept, strict=True)]
    assert score == pytest.approx(np.mean(shares), rel=1e-12)
    if case.order_only:
        assert np.isnan(loss)
        return
    own = (
        zoo.of_yes_or_no
        if output.shape[-1] == 1
        else zoo.of_probabilities
        if neurons.looks_like_probabilities(output)
        else lambda y, output: zoo.cross_entropy(y, output, kept.astype(float))
    )
    rounding = 2e-2 if "bf" in case.name else 1e-4
    np.testing.assert_allclose(loss, np.mean(own_loss(own, y, output)), rtol=rounding)


def answers(output):
    return output[:, 0] > 0.5 if output.shape[-1] == 1 else output.argmax(axis=-1)


def own_loss(own, y, output):
    zoo.N, kept = len(y), zoo.N
    try:
        return own(y, output).numpy()
    finally:
        zoo.N = kept


@pytest.mark.parametrize("case", NO_CURVES)
def test_zoo_curves_say_why_they_cannot_be_had(case):
    with pytest.raises(ValueError, match=case.curve):
        evaluation.quantization_curve(
            built(case), case.layer, case.x, case.y, output=case.options.get("output")
        )


@pytest.mark.parametrize("case", REFUSED)
def test_zoo_refuses_with_a_reason_and_leaves_the_model_as_it_was(case):
    model = built(case)
    before = [np.copy(value) for value in state_of(model)]
    with pytest.raises(ValueError, match=case.refused):
        recording.activation_derivatives(model, case.x, case.y, [case.layer], **case.options)
    for value, now in zip(before, state_of(model), strict=True):
        np.testing.assert_array_equal(value, now)


def state_of(model):
    """All that variables of a model hold, those among them that Keras does not know."""
    if not isinstance(model, keras.Layer):
        return []
    own = [variable for layer in model._flatten_layers() for variable in getattr(layer, "counters", ())]
    return [np.asarray(v) for v in (*model.variables, *model.metrics_variables, *own)]
