"""Read a records file, lazily."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_neuronlevel.records import frames
from keras_neuronlevel.records.checking import FAULTS, opened
from keras_neuronlevel.records.layout import RecordsError
from keras_neuronlevel.selection import of_snapshot
from keras_neuronlevel.statistics import average_sign

if TYPE_CHECKING:
    import pandas


class Records:
    """Read a records file lazily: arrays come from the disk when asked for.

    Use it as a context manager, or ``close()`` it. Opening reads the whole file once to compare its checksum
    (about a second for a GiB); ``verify=False`` saves that, and then damage may change numbers without a word
    or end the process. A file of an earlier release has no checksum and is read with a warning.

    ``disagreement`` says of a recording in bfloat16 which share of signs differed from float32, measured at
    its first and last recording: [{"step": int, "share": {layer: float}}]; it is empty for one in float32.

    Raises ``RecordsError``, naming the file, where there is none, where it is unfinished (the training was
    interrupted, or still runs), damaged, or no records file.
    """

    def __init__(self, path: str | os.PathLike, *, verify: bool = True):
        self.path = Path(path)
        self._file = opened(self.path, verify)
        try:
            with self._named():
                self.layers = json.loads(self._file.attrs["layers"])
                self.labels = self._file["samples/label"][()]
                self.sample_index = self._file["samples/index"][()]
                self.recordings = self._file["recordings"][()]
                self.snapshot_recordings = self._file["snapshot_recordings"][()]
                self.provenance = json.loads(self._file.attrs["provenance"])
                self.disagreement = json.loads(self._file.attrs.get("disagreement", "[]"))
            self._check_moments()
        except BaseException:
            self._file.close()
            raise

    def _check_moments(self):
        moments = self.snapshot_recordings
        if not (np.diff(moments, prepend=-1) > 0).all() or (moments >= len(self.recordings)).any():
            raise RecordsError(
                f"{self.path} is damaged: its snapshots are of recordings {moments.tolist()}, which do not "
                f"ascend within 0 to {len(self.recordings) - 1}"
            )

    @contextlib.contextmanager
    def _named(self):
        """Whatever HDF5 cannot read in the block is a ``RecordsError`` that names the file."""
        try:
            yield
        except FAULTS as error:
            raise RecordsError(f"{self.path} is damaged: {str(error) or type(error).__name__}") from error

    def _read(self, layer, part):
        signs = self._signs(layer)
        with self._named():
            return (self._file[f"snapshots/{layer}"] if part == "snapshots" else signs[part])[()]

    def __repr__(self):
        if not self._file:
            return f"<Records {self.path}, closed>"
        return (
            f"<Records {self.path}: {len(self.recordings)} recordings of {len(self.labels)} samples, layers "
            f"{', '.join(self.layers)}>"
        )

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self) -> None:
        """Close the file; what was read of it stays."""
        self._file.close()

    def _signs(self, layer):
        if not self._file:
            raise RecordsError(f"{self.path} was closed; open it again with Records({str(self.path)!r})")
        if layer not in self._file["signs"]:
            raise RecordsError(f"{self.path} holds no layer {layer!r}; it holds {', '.join(self.layers)}")
        return self._file[f"signs/{layer}"]

    def neurons(self, layer: str) -> np.ndarray:
        """Which of the layer's units were recorded, (U,)."""
        return self._read(layer, "neurons")

    def positions(self, layer: str) -> np.ndarray | None:
        """Which positions of the feature map were recorded, (P,), or None for a dense layer."""
        return self._positions(layer, "positions")

    def _positions(self, layer, name):
        return self._read(layer, name) if name in self._signs(layer) else None

    def sign_sum(self, layer: str) -> np.ndarray:
        """Sum over recordings of sign(∂L/∂a), integer (N, U[, P])."""
        return self._read(layer, "sign_sum")

    def nonzero(self, layer: str) -> np.ndarray:
        """Number of recordings in which ∂L/∂a was not exactly zero, integer (N, U[, P])."""
        nonzero = self._read(layer, "nonzero")
        if (nonzero < 0).any() or (nonzero > len(self.recordings)).any():
            raise RecordsError(
                f"{self.path} is damaged: derivatives of {layer} are nonzero in more than its "
                f"{len(self.recordings)} recordings, or in fewer than none"
            )
        return nonzero

    def average_sign(self, layer: str) -> np.ndarray:
        """s, float32 (N, U[, P]) in [-1, 1], NaN where every recording was zero (E §3)."""
        sign_sum, nonzero = self.sign_sum(layer), self.nonzero(layer)
        if (np.abs(sign_sum) > nonzero).any():
            raise RecordsError(f"{self.path} is damaged: {layer} has sums of more signs than were not zero")
        return average_sign(sign_sum, nonzero)

    def snapshots(self, layer: str) -> np.ndarray:
        """Pre-activations at ``snapshot_recordings``, (S, N, U'[, P'])."""
        return self._read(layer, "snapshots")

    def snapshot_average_sign(self, layer: str) -> np.ndarray:
        """s of the neurons and positions that the snapshots hold, (N, U'[, P'])."""
        return of_snapshot(
            self.average_sign(layer),
            self.neurons(layer),
            self.snapshot_neurons(layer),
            self.positions(layer),
            self.snapshot_positions(layer),
        )

    def snapshot_neurons(self, layer: str) -> np.ndarray:
        """Which of the layer's units the snapshots hold, (U',)."""
        return self._read(layer, "snapshot_neurons")

    def activation(self, layer: str) -> str:
        """The name of the layer's activation function φ, without its options; where the file tells none, the
        part of the layer's name after the last hyphen."""
        told = self._signs(layer).attrs.get("activation", "")
        return str(told) or layer.rsplit("-", 1)[-1]

    def snapshot_positions(self, layer: str) -> np.ndarray | None:
        """Which positions of the feature map the snapshots hold, (P',), or None for a dense layer."""
        return self._positions(layer, "snapshot_positions")

    def to_dataframe(
        self,
        layers: Sequence[str] | None = None,
        *,
        neurons: Sequence[int] | None = None,
        samples: Sequence[int] | None = None,
        max_rows: int = 1_000_000,
    ) -> pandas.DataFrame:
        """The average signs in long form: one row for every layer, sample, neuron and position.

        Needs pandas. The columns are layer, neuron, sample (its place in the training set), position (none
        in a dense layer), average_sign (s, NaN where every recording was zero), category ("low", "high" or
        "undefined": s is NaN or 0, E §4) and label.

        Args:
            layers: all where none are given.
            neurons: units, as ``neurons`` names them, that every chosen layer must have; all by default.
            samples: places in the training set, as ``sample_index`` names them; all by default.
            max_rows: the most rows that are made.

        Raises:
            ValueError: for more than ``max_rows`` rows, and for neurons or samples that were not recorded.
            RecordsError: for a layer that the file does not hold.
            ImportError: where pandas is missing.
        """
        return frames.long_form(self, layers, neurons, samples, max_rows)
