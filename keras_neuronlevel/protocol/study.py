"""A trained network under the two interventions of I §5, layer by layer: one study for every network."""

import dataclasses
import functools
import logging
import urllib.parse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_neuronlevel import evaluation, results
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.protocol import figures
from keras_neuronlevel.results.forms import ACCURACY, ANY, COUNT, FLAG, MORE, REAL, TEXT

logger = logging.getLogger(__name__)


# What is kept while curves are made: a layer's curve, or the counts for each layer and rank; the result, or
# what each window's readout reached.
_QUANTIZED = {"tallies": {MORE: {"images": COUNT, "correct": REAL, "loss": TEXT}}}
_QUANTIZED |= {MORE: results.schema.form("quantization")}
_READ = {"result": results.schema.form("window"), MORE: {"accuracy": ACCURACY, "converged": FLAG, MORE: ANY}}


@dataclasses.dataclass
class Study:
    """Quantization and window binarization of a network's layers; finished curves are not computed again.

    Attributes:
        name: of the network in ``metrics.json`` and in figures.
        model: a functional model that ends in logits or in a softmax.
        layers: names of the neuron layers to look into.
        metrics: the ``results.Metrics`` where the numbers go, which has begun the network; None on workers
            that write nothing.
        kept: what the files begin with that keep finished work, a path.
        config: everything JSON-able that determines the curves, beside what the methods are given.
        seed: of everything that is drawn.
        forget: measure anew what is finished.
        workers: those that share the work, and call every method alike; the first one writes.
    """

    name: str
    model: keras.Model
    layers: list[str]
    metrics: Any
    kept: Path
    config: dict
    seed: int
    forget: bool = False
    workers: Workers = dataclasses.field(default_factory=Workers)

    def _store(self, name, config, form):
        if not self.workers.chief:
            return _NoStore(self.workers.told())
        # The name of a layer may have slashes.
        path = self.kept.with_name(f"{self.kept.name}.{urllib.parse.quote(name, safe='')}.json")
        config = {**self.config, "seed": self.seed, **config}
        store = results.Store(path, config, form=form, forget=self.forget)
        if store.other is not None:
            raise ValueError(
                f"{path} holds results that differ in {store.differences}; give another --output-dir, or "
                "move that file away"
            )
        self.workers.told(store.kept)
        return store

    def _keep(self, kind, curves):
        if self.metrics is not None:
            for layer, curve in curves.items():
                self.metrics.keep(self.name, layer, kind, curve)
            self.metrics.write()

    def quantize(self, x, y, calibration, data: dict, *, batch_size: int = 256, **options) -> None:
        """I §5.1 at all layers, in one pass over the test images; what was counted is kept.

        Args:
            x, y: test images (N, ...) and labels (N,).
            calibration: images that percentiles are taken of.
            data: what says which images these are.
            batch_size: of the pass; changes no result.
            options: of ``evaluation.quantization_curves``.
        """
        store = self._store("quantization", {**data, **options}, _QUANTIZED)
        missing = [layer for layer in self.layers if layer not in store.kept]
        if missing:
            curves = evaluation.quantization_curves(
                self.model,
                missing,
                x,
                y,
                calibration=calibration,
                batch_size=batch_size,
                seed=self.seed,
                done=store.kept,
                on_result=store.keep,
                workers=self.workers,
                **options,
            )
            store.keep_all({curve.layer: curve.to_dict() for curve in curves})
        self._keep("quantization", {layer: store.kept[layer] for layer in self.layers})

    def binarize_windows(
        self,
        layers: Sequence[str],
        data,
        config: dict,
        readout: evaluation.Retrain | evaluation.Probe,
        *,
        kind: str = "window",
        said: dict | None = None,
        **options,
    ) -> None:
        """I §5.2 layer by layer: what reads its bits is trained anew for every window, or is a linear probe.

        Several workers share the windows of a layer. The windows of a probe, though, take one pass of the
        network over all images, however many they are: of them each worker takes whole layers.

        Args:
            layers: their names.
            data: has x_train, y_train, x_test, y_test.
            config: what determines the curves beside readout and options.
            readout: how the bits are read.
            kind: under which name the curves are kept.
            said: what becomes part of the curves, and determines them.
            options: of ``evaluation.window_curve``.
        """
        read = {"readout": readout.kind, **dataclasses.asdict(readout)}
        # Results from before the random streams had names held other images out.
        config = {**config, **(said or {}), **read, **options, "streams": "named"}
        stores = {layer: self._store(f"{kind}.{layer}", config, _READ) for layer in layers}
        alone = isinstance(readout, evaluation.Probe)

        def compute(layer, done, keep):
            found = evaluation.window_curve(
                self.model,
                layer,
                data,
                readout=readout,
                seed=self.seed,
                done=done,
                on_result=keep,
                workers=None if alone else self.workers,
                **options,
            )
            return {**found.to_dict(), **(said or {})}

        def curve(layer):
            return stores[layer].result(functools.partial(compute, layer))

        missing = [layer for layer in layers if "result" not in stores[layer].kept]
        together = self.workers.count if alone else 1
        for start in range(0, max(1, len(missing)), together):
            turn = missing[start : start + together]
            found = self.workers.each(turn, curve) if alone else [curve(layer) for layer in turn]
            for layer, result in zip(turn, found, strict=True):
                stores[layer].keep_all({"result": result})
            finished = [layer for layer in layers if "result" in stores[layer].kept]
            self._keep(kind, {layer: stores[layer].kept["result"] for layer in finished})


class _NoStore:
    """What the chief's ``results.Store`` holds, for a worker that keeps nothing."""

    def __init__(self, kept: dict):
        self.kept = kept

    def keep(self, key: str, value: object) -> None:
        pass

    def keep_all(self, values: dict) -> None:
        self.kept |= values

    def result(self, compute: Callable[[dict, Callable], object]) -> object:
        return self.kept["result"] if "result" in self.kept else compute(self.kept, self.keep)


def finish(metrics: results.Metrics, note: str, prefix: str = "") -> None:
    """Draw the networks' curves (I Fig. 3, 4), write Table 1 and the complete numbers, and print them.

    Args:
        metrics: the run's, with the networks of earlier commands; figures go beside it.
        note: what stands below every figure, and what it was measured on after it.
        prefix: what the names of files begin with.
    """
    figures.evaluation_figures(metrics.networks, metrics.path.parent, note=note, prefix=prefix)
    metrics.write(complete=True)
    print(results.tables.text(metrics.networks), end="")
    logger.info("figures and metrics.json are in %s", metrics.path.parent)
