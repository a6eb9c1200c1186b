"""Training that diverges stops, says where, and leaves nothing that passes for finished."""

import keras
import numpy as np
import pytest

from keras_neuronlevel import checkpoints, divergence, training


def run(model, data, rate, **options):
    options = {"epochs": 3, "batch_size": 8, "progress": False} | options
    return training.train(model, data, optimizer=keras.optimizers.SGD(rate), **options)


def test_a_loss_that_is_not_finite_stops_at_once(make_mlp, data):
    with pytest.raises(
        divergence.DivergedError, match=r"seen at step \d: the loss is (nan|inf).*Nothing of it"
    ):
        run(make_mlp("linear"), data, 1e30)


def test_weights_behind_a_relu_are_seen_at_the_end_of_the_epoch(make_mlp, data):
    """Where ReLU turns NaN into 0, the loss stays finite."""
    model = make_mlp()
    divergence.check(model, 4, "")
    kernel = model.get_layer("dense2").kernel
    values = kernel.numpy()
    values[-1, -1] = np.inf
    kernel.assign(values)
    divergence.check(model, 4, "", loss=0.5)
    with pytest.raises(
        divergence.DivergedError, match="seen at step 4: weights of .*dense2.* are not finite"
    ):
        divergence.check(model, 4, "")


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_a_loss_alone(loss, make_mlp):
    with pytest.raises(divergence.DivergedError, match=f"the loss is {loss:g} and all weights are finite"):
        divergence.check(make_mlp(), 0, "", loss=loss)


def test_the_last_good_checkpoint_is_named_and_stays(make_mlp, data, tmp_path):
    path = tmp_path / "run.checkpoint"
    spoilt = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: model.layers[-1].bias.assign([np.nan] * 3) if epoch == 1 else None
    )
    model = make_mlp()
    with pytest.raises(
        divergence.DivergedError, match=r"run.checkpoint, is of epoch 1 after 0 batches"
    ) as error:
        run(model, data, 0.1, checkpoint=path, checkpoint_every=0, callbacks=[spoilt])
    assert "seen at step 7" in str(error.value)
    state, arrays = checkpoints.load(path)
    assert state["place"]["epoch"] == 1
    assert all(np.isfinite(values).all() for values in arrays.values())
