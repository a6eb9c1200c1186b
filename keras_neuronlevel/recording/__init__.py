"""Record ∂L/∂a of every sample and neuron while a network trains, in constant memory (E §3, I §4.1).

L is a sample's own cross-entropy, taken from logits; regularization terms are left out.
``loss="clipped_cross_entropy"`` is what the Keras of the papers' time took it from. The model runs in
inference mode, so that batch normalization lets no other sample into a sample's derivative and dropout
drops nothing.
"""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.backend.backend()}, and recording needs TensorFlow; set the environment "
        "variable KERAS_BACKEND=tensorflow before Keras is imported"
    )

from keras_neuronlevel.recording.accumulators import accumulate, pick, recording_step, unpacked, zero_counts
from keras_neuronlevel.recording.derivatives import activation_derivatives
from keras_neuronlevel.recording.forward import forward_and_derivatives
from keras_neuronlevel.recording.losses import chosen_loss, clipped_cross_entropy, loss_name, per_sample
from keras_neuronlevel.recording.memory import available_memory, memory_estimate
from keras_neuronlevel.recording.recorder import ActivationGradientRecorder
from keras_neuronlevel.recording.samples import batches, check_samples, selections_of
from keras_neuronlevel.recording.summaries import TensorBoardSummaries, separation_scalar, sign_scalars
from keras_neuronlevel.recording.verification import verify
from keras_neuronlevel.selection import Keep, Snapshots

__all__ = [
    "ActivationGradientRecorder",
    "Keep",
    "Snapshots",
    "TensorBoardSummaries",
    "accumulate",
    "activation_derivatives",
    "available_memory",
    "batches",
    "check_samples",
    "chosen_loss",
    "clipped_cross_entropy",
    "forward_and_derivatives",
    "loss_name",
    "memory_estimate",
    "per_sample",
    "pick",
    "recording_step",
    "selections_of",
    "separation_scalar",
    "sign_scalars",
    "unpacked",
    "verify",
    "zero_counts",
]
