"""How much memory the recorder takes, and how much there is."""

import keras
import numpy as np

from keras_neuronlevel.selection import BYTES_A_PAIR


def memory_estimate(selections, samples, snapshot_dtype="float16"):
    """Bytes that the recorder holds: accumulators, their copy when written, and two snapshots."""
    pairs = sum(s.pairs for s in selections.values())
    largest = max(s.pairs for s in selections.values())
    kept = sum(s.snapshot_values for s in selections.values()) * np.dtype(snapshot_dtype).itemsize
    return samples * (BYTES_A_PAIR * (pairs + 2 * largest) + 2 * kept)


def check_memory(selections, x, snapshot_dtype):
    arrays = keras.tree.flatten(x)
    needed = memory_estimate(selections, len(arrays[0]), snapshot_dtype) + sum(a.nbytes for a in arrays)
    available = available_memory()
    if available is not None and needed > available:
        raise ValueError(
            f"recording {len(arrays[0])} samples needs about {needed / 2**30:.1f} GiB and "
            f"{available / 2**30:.1f} GiB are available; give fewer samples, or numbers of neurons and "
            "positions to draw: keep=Keep(neurons=..., positions=...)"
        )


def available_memory():
    """Bytes of memory that can still be taken, or None where the system does not say."""
    try:
        with open("/proc/meminfo") as lines:
            fields = dict(line.split(":", 1) for line in lines)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
