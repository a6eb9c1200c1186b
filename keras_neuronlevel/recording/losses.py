"""A sample's own loss, from whatever was given as ``loss=`` or to ``compile``."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_neuronlevel import scores
from keras_neuronlevel.neurons import class_logits, head, output_name
from keras_neuronlevel.scores import sample_mean

logger = logging.getLogger(__name__)

EPSILON = 1e-7  # that of Keras, to which it clips probabilities
_PLAIN = ("sparse_categorical_crossentropy", "categorical_crossentropy")
# What the output must have passed for the loss to be computed from what went in: the same function, no
# clipping.
_LINKS = {
    "sparse_categorical_crossentropy": "softmax",
    "categorical_crossentropy": "softmax",
    "categorical_focal_crossentropy": "softmax",
    "binary_crossentropy": "sigmoid",
    "binary_focal_crossentropy": "sigmoid",
}


def chosen_loss(model: keras.Model, loss: Any = None, output: str | int | None = None) -> Any:
    """The loss that is meant: the given one, the compiled one, or None for :func:`own_cross_entropy`.

    None is also what a compiled cross-entropy of classes, without smoothing and ignored classes, stands for.
    Strings are looked up as ``compile`` does; beside them "clipped_cross_entropy" is
    :func:`clipped_cross_entropy`. Raises ``ValueError`` for an unknown string.
    """
    given = loss is not None
    if not given:
        loss = _compiled(model, output)
    if loss == clipped_cross_entropy.__name__:
        loss = clipped_cross_entropy
    elif isinstance(loss, str):
        loss = named("loss", keras.losses.get, loss)
    if given or loss is None:
        return loss
    if _is_plain(loss):
        return None
    return loss if _name(loss) else _as_compiled(loss)


def _as_compiled(loss):
    """A function of one's own as ``compile`` takes it: labels come in the output's type."""

    @functools.wraps(loss)
    def function(y, output):
        return loss(tf.cast(y, output.dtype), output)

    return function


def check_compiled(model, kind, output=None):
    """Raises ``ValueError`` where a compiled cross-entropy and the kind of the model's head contradict each
    other: then the training minimizes another function than a cross-entropy, and says nothing of it."""
    loss = _compiled(model, output)
    loss = named("loss", keras.losses.get, loss) if isinstance(loss, str) else loss
    if _name(loss) not in _PLAIN or kind not in ("softmax", "plain"):
        return
    if _from_logits(loss) == (kind == "softmax"):
        ends, takes = ("a softmax", "True") if kind == "softmax" else ("no softmax", "False")
        raise ValueError(
            f"the model {model.name!r} was compiled with {_name(loss)}(from_logits={takes}), but ends in "
            f"{ends}, so its training minimizes another function; compile it anew, or give loss="
        )


def _compiled(model, output):
    loss = getattr(model, "loss", None) if getattr(model, "compiled", False) else None
    if not isinstance(loss, dict | list | tuple):
        return loss
    output = output_name(model, output)
    if isinstance(loss, dict):
        several = output is not None or len(loss) > 1
        found = loss.get(output) if several else next(iter(loss.values()), None)
    else:
        struct = getattr(model, "_outputs_struct", None)  # of a dictionary, Keras sorts the keys
        names = sorted(struct) if isinstance(struct, dict) else list(getattr(model, "output_names", ()))
        place = names.index(output) if output in names else (output or 0)
        found = loss[place] if isinstance(place, int) and place < len(loss) else None
    if found is None and output is not None:
        raise ValueError(
            f"the model {model.name!r} was compiled with losses of its outputs, and with none of {output!r}; "
            "give loss="
        )
    return found


def named(what: str, get: Callable, name: str) -> Callable:
    """What Keras calls by this name, a loss or a metric (``what``), from ``keras.losses.get`` or the like.

    Raises ``ValueError`` where there is none.
    """
    try:
        return get(name)
    except ValueError as error:
        raise ValueError(
            f"there is no Keras {what} called {name!r}; give another name, or a function"
        ) from error


def _name(loss):
    """The name of the function that a Keras loss is, or None for a function of one's own."""
    if isinstance(loss, keras.losses.Loss):
        return getattr(getattr(loss, "fn", None), "__name__", type(loss).__name__)
    if getattr(loss, "__module__", "").startswith("keras.src.losses"):
        return loss.__name__
    return None


def loss_name(loss: Any) -> str:
    """What a loss from :func:`chosen_loss` is called in messages and files."""
    if loss is None:
        return "cross-entropy"
    return _name(loss) or getattr(loss, "__name__", type(loss).__name__)


def _is_plain(loss):
    if _name(loss) not in _PLAIN:
        return False
    options = loss.get_config() if isinstance(loss, keras.losses.Loss) else {}
    return not options.get("label_smoothing") and options.get("ignore_class") is None


def per_sample(loss: Any) -> Callable:
    """``function(y, output) -> (N,)`` of a loss from :func:`chosen_loss`, to be called in a traced function.

    A Keras loss gets the model's output as in ``fit``; where it takes probabilities (``from_logits=False``)
    and the output is a softmax or sigmoid, it is computed from the logits instead, which is the same without
    clipping. Its values for one sample (tokens, outputs) are averaged, masked ones left out. A function of
    one's own gets the model's output and must give (N,), or more values for each sample, which are averaged.
    Weights of samples and classes are left out: they are positive, and change no sign.
    """
    if loss is None:
        return own_cross_entropy
    return functools.partial(_keras_loss, loss) if _name(loss) else functools.partial(_own, loss)


def own_cross_entropy(y, output):
    """Each sample's cross-entropy (N,) of its class, or of its yes-or-no labels where the model ends in a
    sigmoid.

    Computed from logits, however the output was made of them; the mean where a sample has several labels.
    """
    last, mask = head(output), getattr(output, "_keras_mask", None)
    if last.kind == "sigmoid":
        logits = scores.at_least_float32(last.raw)
        labels = tf.cast(tf.reshape(y, tf.shape(logits)), logits.dtype)
        return sample_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, logits), mask)
    return sample_mean(scores.cross_entropy(y, last.raw), mask)


def clipped_cross_entropy(y: Any, output: tf.Tensor) -> tf.Tensor:
    """Each sample's cross-entropy (N,) of its class as Keras took it at the papers' time, on TensorFlow 1:
    from the softmax's probabilities, clipped.

    L = -log clip(q_y, ε, 1 - ε), with q = p / Σ p, p the softmax in float32 and ε = 1e-7: the
    ``categorical_crossentropy`` of Keras 2.0 to 2.2 with ``from_logits=False``. Outside of the clip ∂L is
    exactly 0: a sample that is classified with confidence has no derivative, nor has one that is
    misclassified with confidence. In float32 1 - ε is 1 - 2⁻²³, so q_y = 1 - 2⁻²⁴ and q_y = 1 have none; at
    both limits themselves there is one.

    Args:
        y: integer labels (N,), or (N, ...) of a sample's several outputs, which are averaged.
        output: logits, or a softmax of them, (N, ..., K), in a function that is being traced.

    Raises:
        ValueError: for an output whose logits cannot be had.
    """
    logits = class_logits(output)
    losses = clipped_log_loss(y, tf.nn.softmax(tf.cast(logits, tf.float32)))
    return sample_mean(losses, getattr(output, "_keras_mask", None))


def clipped_log_loss(y, probabilities):
    """-log clip(p_y / Σ p, ε, 1 - ε), (N, ...), of classes (N, ...) and float32 probabilities (N, ..., K)."""
    share = probabilities / tf.reduce_sum(probabilities, axis=-1, keepdims=True)
    epsilon = tf.constant(EPSILON, share.dtype)
    kept = tf.clip_by_value(share, epsilon, 1.0 - epsilon)
    return -tf.reduce_sum(tf.one_hot(y, share.shape[-1], dtype=share.dtype) * tf.math.log(kept), axis=-1)


def of_classes(loss) -> bool:
    """Whether a loss from :func:`chosen_loss` is a cross-entropy of ours, which takes integer labels."""
    return loss is None or loss is clipped_cross_entropy


def _own(loss, y, output):
    losses = tf.convert_to_tensor(loss(y, output))
    _check_rank(losses)
    return sample_mean(losses)


def _check_rank(losses):
    if not losses.shape.rank:
        raise ValueError(
            f"the loss gave shape {losses.shape}; it must give one value for each sample, shape (N,): give "
            "such a function, or the name of a Keras loss, as loss="
        )


def _keras_loss(loss, y, output):
    loss, output, mask = _linked(loss, output)
    if isinstance(loss, keras.losses.Loss):
        y, output = tf.cast(y, loss.dtype), tf.cast(output, loss.dtype)
        losses = loss.call(y, output)
    else:
        if y.dtype.is_integer and not loss_name(loss).startswith("sparse"):
            y = tf.cast(y, output.dtype)
        losses = loss(y, output)
    _check_rank(losses)
    return sample_mean(losses, mask, getattr(losses, "_keras_mask", None))


def _linked(loss, output):
    """The loss, and what it is to be given, computed from logits where the output is made of them."""
    mask, last, name = getattr(output, "_keras_mask", None), head(output), _name(loss)
    from_logits = _from_logits(loss)
    if from_logits and last.kind in ("softmax", "sigmoid"):
        raise ValueError(
            f"the loss {name} takes logits (from_logits=True), but the model ends in a {last.kind}; give the "
            "loss with from_logits=False"
        )
    if name not in _LINKS or from_logits:
        return loss, output, mask
    if last.kind == "plain" and output.shape[-1] != 1:
        logger.warning(
            "the loss %s takes probabilities (from_logits=False), and no softmax or sigmoid was found at "
            "the model's end; if it ends in logits, give the loss with from_logits=True",
            name,
        )
    if last.kind != _LINKS[name]:
        return loss, output, mask
    if isinstance(loss, keras.losses.Loss):
        return type(loss).from_config({**loss.get_config(), "from_logits": True}), last.raw, mask
    return _FromLogits(loss), last.raw, mask


def _from_logits(loss):
    if isinstance(loss, keras.losses.Loss):
        return loss.get_config().get("from_logits", False)
    return False


class _FromLogits:
    """A Keras loss function that is given logits."""

    def __init__(self, function):
        self._function, self.__name__, self.__module__ = function, function.__name__, function.__module__

    def __call__(self, y, output):
        return self._function(y, output, from_logits=True)


def count_correct(y, output, loss=None):
    """How many samples are classified right, a float64 scalar (the mean where a sample has several labels);
    NaN for a loss that is not :func:`of_classes`."""
    if not of_classes(loss):
        return tf.constant(float("nan"), tf.float64)
    last = head(output)
    if last.kind != "sigmoid" and last.raw.shape.rank == 2:
        return tf.cast(scores.count_correct(y, last.raw), tf.float64)
    if last.kind == "sigmoid":
        hits = tf.equal(tf.cast(tf.reshape(y, tf.shape(last.raw)), tf.int32), tf.cast(last.raw > 0, tf.int32))
    else:
        hits = tf.equal(tf.argmax(last.raw, axis=-1, output_type=tf.int32), tf.cast(y, tf.int32))
    return tf.reduce_sum(sample_mean(tf.cast(hits, tf.float64), getattr(output, "_keras_mask", None)))
