"""The file of one network's recordings: HDF5, written to a temporary name and renamed when complete.

Schema, version 1 (T recordings, S snapshots, N samples, U recorded neurons, P recorded positions)::

    /                       attributes: schema, schema_version, package_version, layers (JSON list, from
                            input to output), loss (its name), dtype (in which the model was
                            recorded), provenance (JSON), and of a recording in bfloat16 disagreement
                            (JSON: shares of signs that differ from float32, see ``Records``)
    recordings              (T,) table: step, epoch, batch, loss, accuracy (of the recorded samples)
    samples/index           (N,) the samples' places in the training set
    samples/label           (N,) their labels
    signs/<layer>/sign_sum  (N, U) or (N, U, P): sum over recordings of sign(∂L/∂a)
    signs/<layer>/nonzero   the same shape: number of recordings in which ∂L/∂a was not exactly zero
    snapshots/<layer>       (S, N, U') or (S, N, U', P'): pre-activations of some of the neurons
    snapshot_recordings     (S,) the recordings, 0 to T - 1, at which the snapshots were taken

Beside ``sign_sum`` stand ``neurons`` (U,) and ``snapshot_neurons`` (U',): which of the layer's units were
kept; for feature maps also ``positions`` (P,) and ``snapshot_positions`` (P',), row-major places in the
map, and the attribute ``map_shape``. The attribute ``activation`` names the layer's function φ.

Axes have the labels sample, neuron, position, snapshot and recording, and HDF5 dimension scales: ``sample``
(N,), ``recording`` (T,) and ``snapshot_recordings``, a layer's ``neurons`` and ``positions``, and for its
snapshots copies of theirs, ``<layer> snapshot_neurons`` and ``<layer> snapshot_positions``, because netCDF
looks for scales in a data set's own group and those above. ``xarray.open_datatree(path, engine="h5netcdf")``
shows axes by the names of their scales.

The first 512 bytes, which HDF5 leaves to its users, hold one line that names the format and the SHA-256 of
all that follows. It is compared before HDF5 reads anything, because one damaged byte can change numbers, hang
or end the process there. Every dataset in chunks has HDF5's own checksum (fletcher32) beside. The checksums
find damage; a file that someone made in order to deceive has right ones.
"""

from keras_neuronlevel.records.layout import SCHEMA, SCHEMA_VERSION, RecordsError, seal
from keras_neuronlevel.records.reading import Records
from keras_neuronlevel.records.room import values_size
from keras_neuronlevel.records.writing import RecordsWriter

__all__ = ["SCHEMA", "SCHEMA_VERSION", "Records", "RecordsError", "RecordsWriter", "seal", "values_size"]
