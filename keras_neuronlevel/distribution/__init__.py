"""Several devices and processes at one work, by TensorFlow's own ``tf.distribute``.

``mirrored`` are the devices of one process, ``multiworker`` processes, on one host or many, which the
environment variable TF_CONFIG names. A model that is made in the strategy's scope, and its optimizer, are
trained together: every replica takes its share of each batch. The workers also share the recorded samples and
the test images, each its own part, at whose batches its devices take turns; what they found is gathered once,
when it is kept. The first worker, the chief, writes; the others write nothing, and need nothing of the
chief's disk.
"""

from keras_neuronlevel.distribution.beginning import WorkerLostError, begun, cluster
from keras_neuronlevel.distribution.replicas import check, check_alike, draw_apart, shared_step, whole_batches
from keras_neuronlevel.distribution.workers import Workers, of, processors

__all__ = [
    "WorkerLostError",
    "Workers",
    "begun",
    "check",
    "check_alike",
    "cluster",
    "draw_apart",
    "of",
    "processors",
    "shared_step",
    "whole_batches",
]
