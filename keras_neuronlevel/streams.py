"""Named streams of random numbers: what is drawn for one purpose tells nothing of another.

Streams of new names begin with a number made of the name, so that two names never share one. Those in
``OLD`` were drawn from short lists of small numbers before streams had names, and numbers that were
published or trained depend on them; they keep their lists. Lists that differ by zeros at the end are one
stream to NumPy: the calibration subset is drawn from the numbers that shuffle the first epoch.
"""

import hashlib

import numpy as np

from keras_neuronlevel import checks

OLD: dict[str, tuple[int, ...]] = {
    "training order": (),  # and the epoch
    "random layers": (),  # and the layer's index
    "calibration subset": (),
    "probe's held-out samples": (),
    "bootstrap": (),
    "recorded neurons": (0,),  # and the layer's name, as for the three below
    "recorded positions": (1,),
    "snapshot neurons": (2,),
    "snapshot positions": (3,),
    "shown neurons": (3,),  # and the layer's name
    "recorded samples": (1,),
    "subset of the data": (2,),
    "drawn neurons": (2,),
    "calibration and test pictures": (3,),
    "transfer images": (4,),
    "probe pictures": (5,),
    "rate trials": (6,),
}


def generator(seed: int, name: str, *details: int | str) -> np.random.Generator:
    """The generator of the stream ``name``, and of its part that ``details`` name (an epoch, a layer).

    The same arguments give the same numbers on every machine. Raises ``ValueError`` for a seed that is no
    whole number from 0 on.
    """
    return np.random.default_rng(entropy(seed, name, *details))


def entropy(seed: int, name: str, *details: int | str) -> list[int]:
    """The list of whole numbers that seeds :func:`generator`."""
    start = OLD[name] if name in OLD else (_number(name),)
    parts = (list(part.encode()) if isinstance(part, str) else [part] for part in details)
    return [checks.whole("seed", seed, least=0), *start, *(number for part in parts for number in part)]


def _number(name: str) -> int:
    """Eight bytes of the name's SHA-256: two words for NumPy, where the old streams have one below 2³²."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little") | 1 << 63
