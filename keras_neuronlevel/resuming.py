"""What a checkpoint of ``training.train`` holds, and how a training goes on from it bit for bit.

Held are: the place (epoch, batch, sums of the epoch's loss and hits), all variables of the model (weights,
statistics, states of random layers) and of the optimizer (iterations and moments), the history, whether the
training was asked to stop, and the state of every callback that has one. The order of the images is drawn
anew from (seed, epoch); a digest of epoch 0's order says whether this NumPy still draws the same. What must
be the same for the rest to be the same (data, network, optimizer, settings) is compared, and refused by name.

A callback takes part by two methods: ``checkpoint_state() -> (state, arrays)``, JSON-able values and arrays,
and ``resume_from(state, arrays)``, called after ``on_train_begin``.
"""

import dataclasses
import hashlib
import json
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from keras_neuronlevel import checkpoints, distribution, divergence
from keras_neuronlevel.interruption import Deferred, Interrupted, deferred

logger = logging.getLogger(__name__)

AGREE_EVERY = 16  # batches: so often do several workers ask each other whether to save or to stop

# Callbacks of Keras that hold nothing that the rest of a training depends on.
_STATELESS = (
    keras.callbacks.LambdaCallback,
    keras.callbacks.LearningRateScheduler,
    keras.callbacks.TerminateOnNaN,
)


@dataclasses.dataclass
class Place:
    """How far a training is: ``batch`` of ``epoch`` is the next one, and what the epoch has summed so far."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0


class NoKeeper:
    """A training without checkpoints: nothing is saved, nothing taken up, signals do what they always do."""

    def __init__(self, callbacks: Sequence[keras.callbacks.Callback]):
        self._callbacks = callbacks

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            _say_finish(self._callbacks)

    kept = "Nothing of it is saved."

    def restore(self, settings: dict, data) -> Place:
        return Place()

    def after_batch(self, place: Place) -> None:
        pass

    def save(self, place: Place) -> None:
        pass


def _say_finish(callbacks):
    """After an interruption, say how to keep what callbacks such as the recorder hold."""
    for callback in callbacks:
        if hasattr(callback, "checkpoint_state") and hasattr(callback, "finish"):
            logger.warning("interrupted; the recorder's finish() writes all that was recorded so far")


class Keeper:
    """The checkpoints of one training, as a context: saves it in time, takes it up, and stops it when asked.

    Args:
        path: the checkpoint; ``every``: seconds between two of them.
        model: compiled, with an optimizer that is built.
        callbacks: those of the training.
        order: gives the order of the first epoch.

    Raises:
        ValueError: ``every`` is negative, or a callback may have a state that it cannot hand over.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        every: float,
        model: keras.Model,
        callbacks: Sequence[keras.callbacks.Callback],
        order: Callable[[], np.ndarray],
    ):
        if not every >= 0:
            raise ValueError(f"checkpoint_every is {every}; give seconds, 0 or more")
        self._path, self._every = Path(path), every
        self._model, self._order = model, order
        self._workers = distribution.of(model)
        self._stateful = [callback for callback in callbacks if hasattr(callback, "checkpoint_state")]
        for callback in callbacks:
            if callback not in self._stateful and type(callback) not in _STATELESS:
                raise ValueError(
                    f"the callback {type(callback).__name__} may hold a state that a checkpoint does not; "
                    f"give "
                    "it the methods checkpoint_state() and resume_from(state, arrays), or train without "
                    "checkpoint="
                )
        self._configuration: dict = {}
        self._saved = 0.0
        self._last: Place | None = None
        self._signals, self._context = Deferred(), None
        self.seconds = 0.0

    def __enter__(self):
        self._context = deferred()
        self._signals = self._context.__enter__()
        return self

    def __exit__(self, *exception):
        return self._context.__exit__(*exception)

    def restore(self, settings: dict, data) -> Place:
        """Take up the checkpoint, if there is one: variables, history, callbacks; returns the place."""
        self._configuration = self._fingerprints(settings, data)
        self._workers.check_same("training", self._configuration)
        self._saved = time.monotonic()
        found = checkpoints.load(self._path) if self._workers.chief else None
        state = self._workers.told(found and found[0])
        if state is None:
            return Place()
        arrays = self._workers.told_arrays(found[1] if found else {})
        self._compare(state["configuration"])
        self._check_callbacks(state["callbacks"])
        self._assign(arrays)
        self._model.stop_training = state["stop_training"]
        self._model.history.history, self._model.history.epoch = state["history"], state["epochs"]
        for number, callback in enumerate(self._stateful):
            mine = self._workers.own(_under(arrays, f"callback{number}/"))
            callback.resume_from(state["callbacks"][number], mine)
        place = Place(**state["place"])
        if place.epoch >= settings["epochs"] or self._model.stop_training:
            logger.warning(
                "%s has ended before: its weights and history are taken from the checkpoint %s, and nothing "
                "is trained",
                self._model.name,
                self._path,
            )
        else:
            logger.info("%s goes on at epoch %d, batch %d", self._model.name, place.epoch, place.batch)
        self._last = dataclasses.replace(place)
        return place

    def _fingerprints(self, settings, data):
        """What must be the same for the rest of a training to be the same: {what: value}."""
        variables = [(list(v.shape), str(v.dtype)) for v in self._variables()]
        arrays = {part: getattr(data, part) for part in ("x_train", "y_train", "x_test", "y_test")}
        return {
            **settings,
            "optimizer": _sha256(json.dumps(_settings_of(self._model.optimizer), default=str).encode()),
            "network": _sha256(json.dumps([_structure(self._model), variables], default=str).encode()),
            **{part: _sha256(values) for part, values in arrays.items()},
            "order of the images": _sha256(self._order()),
            "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        }

    def _compare(self, before):
        ours = self._configuration
        changed = [key for key in {**ours, **before} if before.get(key) != ours.get(key)]
        if changed == ["versions"]:
            logger.warning(
                "the checkpoint was made with %s, this is %s: rounding may differ from an undisturbed run",
                before["versions"],
                self._configuration["versions"],
            )
        elif changed:
            differences = ", ".join(
                f"{key} ({before.get(key)!r} there, {ours.get(key)!r} here)"
                if key in ("epochs", "batch_size", "seed", "jit_compile", "replicas", "workers")
                else key
                for key in changed
            )
            raise checkpoints.CheckpointError(
                f"the checkpoint {self._path} belongs to another training; it differs in {differences}. Give "
                f"another path, or {checkpoints.how_to_start_anew(self._path)}"
            )

    def _check_callbacks(self, states):
        if len(states) != len(self._stateful):
            raise checkpoints.CheckpointError(
                f"the checkpoint {self._path} holds the state of {len(states)} callbacks such as recorders, "
                f"and {len(self._stateful)} are given; give the same ones, another path, or "
                f"{checkpoints.how_to_start_anew(self._path)}"
            )

    def _variables(self):
        return [*self._model.variables, *self._model.optimizer.variables]

    def _assign(self, arrays):
        for number, variable in enumerate(self._variables()):
            values = arrays[f"variable{number}"]
            # NumPy knows no bfloat16 and keeps its bytes without a type
            variable.assign(values.view(variable.numpy().dtype) if values.dtype.kind == "V" else values)

    @property
    def kept(self) -> str:
        """What is saved of the training, in words."""
        if self._last is None:
            return "No checkpoint was saved."
        place = self._last
        return (
            f"The last good checkpoint, {self._path}, is of epoch {place.epoch} after {place.batch} batches."
        )

    def after_batch(self, place: Place) -> None:
        """Save if it is time to, or if a signal came; in that case raise :class:`Interrupted`."""
        if self._workers.count > 1 and place.batch % AGREE_EVERY:
            return
        signum = self._signals.signum
        due = self._workers.chief and time.monotonic() - self._saved >= self._every
        stop, due = self._workers.any(signum is not None, due)
        if not stop and not due:
            return
        self.save(place)
        if stop:
            self._signals.signum = None
            raise Interrupted(
                signum or signal.SIGTERM,  # what another worker was sent
                f"stopped in epoch {place.epoch} after {place.batch} batches; all of it is saved in "
                f"{self._path}: "
                "run the same command again to go on from there",
            )

    def save(self, place: Place) -> None:
        """Write the checkpoint of this place, unless it is there already."""
        if place == self._last:
            return
        start = time.perf_counter()
        divergence.check(self._model, int(self._model.optimizer.iterations.numpy()) - 1, self.kept)
        arrays = {f"variable{i}": np.asarray(v.numpy()) for i, v in enumerate(self._variables())}
        states = []
        for number, callback in enumerate(self._stateful):
            state, more = callback.checkpoint_state()
            states.append(state)
            more = self._workers.union(more)
            arrays |= {f"callback{number}/{name}": values for name, values in more.items()}
        state = {
            "configuration": self._configuration,
            "place": dataclasses.asdict(place),
            "history": self._model.history.history,
            "epochs": self._model.history.epoch,
            "stop_training": bool(self._model.stop_training),
            "callbacks": states,
        }
        if self._workers.chief:
            checkpoints.save(self._path, state, arrays)
        self._saved, self._last = time.monotonic(), dataclasses.replace(place)
        self.seconds += time.perf_counter() - start


def keeper(
    path: str | os.PathLike | None,
    every: float,
    model: keras.Model,
    callbacks: Sequence[keras.callbacks.Callback],
    order: Callable[[], np.ndarray],
) -> Keeper | NoKeeper:
    """The :class:`Keeper` of a training, or :class:`NoKeeper` where ``path`` is None."""
    return NoKeeper(callbacks) if path is None else Keeper(path, every, model, callbacks, order)


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 over the types, shapes and values of arrays, in hexadecimal digits."""
    return _sha256("".join(map(_sha256, arrays)).encode())


def weights_digest(model: keras.Model) -> str:
    """SHA-256 over all variables of a model, in hexadecimal digits."""
    return _sha256(b"".join(np.asarray(v.numpy()).tobytes() for v in model.variables))


def _sha256(values):
    if not isinstance(values, np.ndarray):
        return hashlib.sha256(values).hexdigest()
    sha256 = hashlib.sha256(f"{values.dtype}{values.shape}".encode())
    if values.dtype.kind == "O":  # words: its memory holds where they are
        for value in values.flat:
            word = value if isinstance(value, bytes) else str(value).encode()
            sha256.update(len(word).to_bytes(8, "little") + word)
    else:
        sha256.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
    return sha256.hexdigest()


def _structure(model):
    """What a model is made of and, as far as it can say so, how its layers are connected."""
    layers = [_settings_of(layer) for layer in model.layers]
    try:
        return layers, _settings_of(model)
    except (NotImplementedError, TypeError, ValueError):  # a class that only its code describes
        return layers, type(model).__name__


def _settings_of(thing):
    """The kind and configuration of a layer, an optimizer or a model, with numbers in place of the names of
    layers, which Keras may count up."""
    return type(thing).__name__, _numbered(thing.get_config(), {})


_NAMING = ("name", "keras_history", "input_layers", "output_layers")


def _numbered(config, numbers, named=False):
    if isinstance(config, dict):
        policy = "DTypePolicy" in str(config.get("class_name"))  # its name says which
        return {
            key: value if policy else _numbered(value, numbers, named or key in _NAMING)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return [_numbered(value, numbers, named) for value in config]
    return numbers.setdefault(config, len(numbers)) if named and isinstance(config, str) else config


def _under(arrays, prefix):
    return {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
