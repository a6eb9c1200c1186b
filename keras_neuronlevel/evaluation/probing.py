"""Linear probes as readouts of window bits: features pooled during one pass over the images, on disk."""

import functools
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from keras_neuronlevel import checks
from keras_neuronlevel.evaluation.injection import inside
from keras_neuronlevel.evaluation.readout import Fits
from keras_neuronlevel.evaluation.scoring import ACCURACY, Accuracy, Metric
from keras_neuronlevel.evaluation.sources import Window, passes
from keras_neuronlevel.evaluation.truncation import Truncation
from keras_neuronlevel.probes import LinearProbe, check_grid, pool
from keras_neuronlevel.samples import count

PROBE_BATCH = 4096  # samples whose features are in memory together


@dataclass(frozen=True)
class Probe:
    """Reads p, or its window bits, with a :class:`~keras_neuronlevel.probes.LinearProbe` (I §5.2, ResNet50).

    Attributes:
        grid: a feature map is averaged over ``grid`` × ``grid`` cells (1: the mean over all positions), its
            window bits after they were binarized: a share of bits per cell.
        classes: how many classes the labels of the data have, where they are not the network's (a transfer).
        held_out: the share of the training images on which the probe's L2 strength is chosen.
    """

    kind: ClassVar[str] = "probe"
    grid: int = 1
    classes: int | None = None
    held_out: float = 0.1

    def __post_init__(self):
        object.__setattr__(self, "grid", checks.whole("grid", self.grid, least=1))  # 3.0 as 3
        checks.number("held_out", self.held_out, above=0, below=1)
        if self.classes is not None:
            object.__setattr__(self, "classes", checks.whole("classes", self.classes, least=1))

    def check(self, truncation: Truncation, scored: Accuracy | Metric = ACCURACY) -> None:
        """Raises ``ValueError`` where the layer's feature maps have no fixed size, or fewer cells, and where
        not one class for each sample is asked for."""
        if scored is not ACCURACY:
            raise ValueError(
                f"a probe learns one class for each sample, and {scored.name} is measured on the model's own "
                "outputs; leave metric= out, or use readout=Retrain(...)"
            )
        if self.classes is None and (truncation.classes is None or len(truncation.output_shape) > 1):
            raise ValueError(
                f"a sample's output of {truncation.name!r} has shape {truncation.output_shape}, and a probe "
                "learns one class for each sample; give such labels and readout=Probe(classes=...), or use "
                "Retrain(...)"
            )
        *sides, _ = truncation.shape
        if None in sides:
            raise ValueError(
                f"the feature maps of {truncation.layer} have no fixed size ({truncation.shape}); give the "
                "network an input of fixed size to train probes on it"
            )
        check_grid(self.grid, sides)

    def at_once(self, truncation: Truncation, in_memory: float, scored: Accuracy | Metric = ACCURACY) -> int:
        """One probe after the other: its solver fills all cores."""
        return 1

    def fits(
        self,
        truncation: Truncation,
        train: tuple,
        test: tuple,
        windows: Sequence[Window],
        in_memory: float | None = None,
        scored: Accuracy | Metric = ACCURACY,
    ) -> Fits:
        """For each window, a function seed -> the work that fits a probe to its bits, and says what it
        reached; all in one group."""
        if not windows:
            return
        made = functools.partial(Features, truncation, windows, self.grid)
        with made(*train) as fitted, made(*test) as tested:
            batches = [
                [functools.partial(features.batches, number) for features in (fitted, tested)]
                for number in range(len(windows))
            ]
            classes = self.classes or truncation.classes
            yield [functools.partial(functools.partial, self._fit, classes, *pair) for pair in batches]

    def _fit(self, classes, train, test, seed, go_on):
        """A probe fitted to some batches and tested on others: {accuracy, loss, strength, ...}."""
        start = time.perf_counter()
        probe = LinearProbe(classes, held_out=self.held_out, seed=seed).fit_batches(train)
        accuracy, loss = probe.evaluate_batches(test)
        seconds = time.perf_counter() - start
        return {"accuracy": accuracy, "loss": loss, **probe.report(), "seconds": seconds}


class Features:
    """What probes read of one image set: for each window its bits, pooled, and for None p, pooled.

    One pass of the network over the images writes them to nameless temporary files, which are gone with the
    object, or with the process however it ends. Pooled features take 4 · N · grid² · U bytes a window; bits
    that are not pooled (a dense layer, a cell for each position) are packed, N · U / 8. In memory are the
    pre-activations of one batch, then the features of ``PROBE_BATCH`` samples.
    """

    def __init__(self, truncation: Truncation, windows: Sequence[Window], grid: int, images, labels):
        *sides, units = truncation.shape
        self._labels = labels
        self._features = grid ** len(sides) * units
        alone = grid ** len(sides) == np.prod(sides, dtype=int)  # a cell is one position
        self._packed = [alone and window is not None for window in windows]
        with ExitStack() as stack:
            self._check_space(count(images))
            self.files = [stack.enter_context(tempfile.TemporaryFile()) for _ in windows]
            for p, _ in passes(truncation, images):
                for file, window, packed in zip(self.files, windows, self._packed, strict=True):
                    values = p if window is None else inside(p, *window).astype(np.float32)
                    values = pool(values, grid)
                    rows = np.packbits(values != 0, axis=1) if packed else values.astype(np.float32)
                    file.write(rows.data)
            self._stack = stack.pop_all()

    def _row(self, number):
        """(type, length) of what is stored of one image."""
        return (np.uint8, -(-self._features // 8)) if self._packed[number] else (np.float32, self._features)

    def _check_space(self, images):
        rows = [self._row(number) for number in range(len(self._packed))]
        needed = images * sum(np.dtype(dtype).itemsize * length for dtype, length in rows)
        free = shutil.disk_usage(tempfile.gettempdir()).free
        if needed > free:
            raise ValueError(
                f"the probes' features take {needed / 2**30:.1f} GiB, but {tempfile.gettempdir()} has "
                f"{free / 2**30:.1f} GiB free; set TMPDIR to a larger disk, or take fewer images"
            )

    def batches(self, number: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(features (n, grid² · U) float32, labels (n,)) of the window with this number, n ≤ PROBE_BATCH."""
        dtype, length = self._row(number)
        file = self.files[number]
        for start in range(0, len(self._labels), PROBE_BATCH):
            y = self._labels[start : start + PROBE_BATCH]
            file.seek(start * length * np.dtype(dtype).itemsize)
            rows = np.fromfile(file, dtype, len(y) * length).reshape(len(y), length)
            if self._packed[number]:
                rows = np.unpackbits(rows, axis=1, count=self._features).astype(np.float32)
            yield rows, y

    def __enter__(self) -> "Features":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()
