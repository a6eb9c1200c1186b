"""Record ∂L/∂a of every sample and neuron while a network trains, in constant memory (E §3, I §4.1).

L is a sample's own cross-entropy, taken from logits; regularization terms are left out. The model runs in
inference mode, so that batch normalization lets no other sample into a sample's derivative and dropout
drops nothing.
"""

from keras_neuronlevel.recording.accumulators import accumulate, pick, recording_step, zero_sums
from keras_neuronlevel.recording.derivatives import activation_derivatives, forward_and_derivatives
from keras_neuronlevel.recording.memory import available_memory, memory_estimate
from keras_neuronlevel.recording.recorder import ActivationGradientRecorder
from keras_neuronlevel.recording.samples import batches, check_samples, selections_of

__all__ = [
    "ActivationGradientRecorder",
    "accumulate",
    "activation_derivatives",
    "available_memory",
    "batches",
    "check_samples",
    "forward_and_derivatives",
    "memory_estimate",
    "pick",
    "recording_step",
    "selections_of",
    "zero_sums",
]
