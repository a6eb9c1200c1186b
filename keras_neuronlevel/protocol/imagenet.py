"""The protocol of the ImageNet experiment: a pretrained network at full depth (I §5)."""

import argparse
import dataclasses
import hashlib
import logging
from types import SimpleNamespace

import numpy as np

from keras_neuronlevel import data as datasets
from keras_neuronlevel import evaluation, neurons, papers, results, streams
from keras_neuronlevel.data.imagenet import ImageNet, Inspection, inspect, usable
from keras_neuronlevel.data.imagenet import load as load_pictures
from keras_neuronlevel.data.images import from_array
from keras_neuronlevel.data.preprocessing import preprocess
from keras_neuronlevel.distribution import Workers
from keras_neuronlevel.protocol import pretrained, provenance, sharing
from keras_neuronlevel.protocol.study import Study, finish

logger = logging.getLogger(__name__)

PRESETS = papers.EXPERIMENTS["imagenet_resnet50"].presets
VERIFIED_ON = 200  # pictures


def main(options: argparse.Namespace) -> None:
    """Load and verify the network, quantize, probe, draw, write the numbers.

    Args:
        options: the command line's, of ``experiments/imagenet_resnet50.py``.
    """
    with sharing.begun(options.strategy) as workers:
        origin = provenance.collect()
        preset, reason = papers.choose(PRESETS, options.preset, ", ".join(origin["gpus"]))
        logger.info("%s", reason)
        pictures = datasets.load("imagenet2012", options.data_dir)
        network = workers.one_by_one(lambda: load(options))
        logger.info("network: %s", network.title)
        found = {"preset": preset.name, "network": network.digest, "pictures": pictures.digest}
        sharing.check_same(workers, options, **found)
        chosen = choose(network, pictures, preset, options, workers)
        with sharing.at_work(workers, options.output_dir):
            evaluate(network, chosen, preset, options, origin, workers)


def evaluate(
    network: pretrained.Pretrained,
    chosen: "Chosen",
    preset: papers.ImageNetPreset,
    options: argparse.Namespace,
    origin: dict,
    workers: Workers,
) -> None:
    """Quantize and probe, draw, write the numbers; no process but the workers may work in the folder."""
    if "window" in options.experiments:
        check_grids(network, chosen.layers, options.grid)
    study = begin(network, chosen, preset, options, origin, workers)
    # Complains before hours of work.
    probed = probe_data(network, preset, options, workers) if "window" in options.experiments else None
    if "quantization" in options.experiments:
        quantize(study, network, chosen, options)
    if probed:
        probe(study, *probed, preset, options)
    if not workers.chief:
        return
    stand_in = [f"stand-in: {network.stand_in}"] if network.stand_in else []
    note = "; ".join([network.title, *stand_in, study.metrics.value["scale"], f"seed {options.seed}"])
    finish(study.metrics, note, prefix(network))


def check_grids(network: pretrained.Pretrained, layers: list[str], grids: list[int]) -> None:
    """Raises ``ValueError`` for a grid that is finer than the feature maps of every layer."""
    sides = {layer: _finest_grid(network.model, layer) for layer in layers}
    for grid in grids:
        if grid > max(sides.values()):
            known = ", ".join(f"{layer} {side}" for layer, side in sides.items())
            raise ValueError(f"--grid {grid} fits no layer; the finest grids are {known}")


def _finest_grid(model, layer):
    return min(evaluation.truncate(model, layer).shape[:-1], default=1)


def load(options: argparse.Namespace) -> pretrained.Pretrained:
    """The :class:`~keras_neuronlevel.protocol.pretrained.Pretrained` that the command line names."""
    if options.model is None:
        return pretrained.resnet50(options.weights)
    return pretrained.saved(
        options.model, options.preprocessing, top1=options.expected_top1, name=options.name
    )


def split(count: int, calibration: int, test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Disjoint random places of calibration and test pictures, each sorted, of ``count``.

    Where there are too few for both, a quarter calibrates. Raises ``ValueError`` for fewer than two.
    """
    if count < 2:
        raise ValueError(f"{count} picture(s) are too few to calibrate on some and test on others")
    if calibration + test > count:
        calibration = min(calibration, max(1, count // 4))
        test = min(test, count - calibration)
    order = streams.generator(seed, "calibration and test pictures").permutation(count)
    return np.sort(order[:calibration]), np.sort(order[calibration : calibration + test])


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Layers, and the pictures that calibrate and test, of ``source``; what decoding them and verifying the
    network on some of them showed."""

    layers: list[str]
    source: dict
    calibration: ImageNet
    test: ImageNet
    inspected: tuple[Inspection, Inspection]
    verified: pretrained.Verification


def choose(
    network: pretrained.Pretrained,
    pictures: ImageNet,
    preset: papers.ImageNetPreset,
    options: argparse.Namespace,
    workers: Workers,
) -> Chosen:
    """Choose layers and pictures, check that these can be decoded, verify the network on some of them."""
    layers = list(pretrained.main_layers(network.layers))
    if options.layers:
        layers = neurons.choose_layers(network.model, dict.fromkeys(options.layers))
    places = split(len(pictures), preset.calibration, preset.test, options.seed)
    logger.info(
        "%s: %d calibrate, %d test; layers %s",
        pictures.source, len(places[0]), len(places[1]), ", ".join(layers),
    )  # fmt: skip
    parts = [decodable(pictures.subset(p), workers, skip_corrupt=options.skip_corrupt) for p in places]
    (calibration, first), (test, second) = parts
    # Spread over all of them: in a folder, pictures come class by class.
    few = test.subset(np.linspace(0, len(test) - 1, min(VERIFIED_ON, len(test))).astype(int))
    images = few.images(network.preprocessing, network.size)
    verified = pretrained.verify(network, images, few.labels, options.batch_size)
    logger.info("%s: %s", network.name, verified.verdict)
    source = {"name": pictures.name, "source": pictures.source, "digest": pictures.digest}
    return Chosen(layers, source, calibration, test, (first, second), verified)


def decodable(
    pictures: ImageNet, workers: Workers, *, skip_corrupt: bool = False
) -> tuple[ImageNet, Inspection]:
    """``usable`` pictures; every worker decodes its part of them, and all come to the same."""
    mine = inspect(pictures.subset(workers.part(len(pictures))))
    parts = workers.json(dataclasses.asdict(mine))
    found = {
        what: {name: why for part in parts for name, why in part[what].items()}
        for what in ("corrupt", "not_rgb")
    }
    return usable(pictures, skip_corrupt=skip_corrupt, found=Inspection(**found))


def begin(
    network: pretrained.Pretrained,
    chosen: Chosen,
    preset: papers.ImageNetPreset,
    options: argparse.Namespace,
    origin: dict,
    workers: Workers,
) -> Study:
    """Begin the network's study, and on the chief its ``metrics.json``."""
    return Study(
        network.name,
        network.model,
        chosen.layers,
        _begin_metrics(network, chosen, preset, options, origin) if workers.chief else None,
        options.output_dir / "runs" / network.name,
        {"network": network.digest, "preprocessing": network.preprocessing},
        options.seed,
        workers=workers,
    )


def _begin_metrics(network, chosen, preset, options, origin):
    calibration, test = chosen.calibration, chosen.test
    metrics = results.Metrics(
        options.output_dir / f"{prefix(network)}metrics.json",
        experiment="imagenet_resnet50",
        preset=preset.described(),
        scale=f"{preset.name}: {len(calibration)} calibration and {len(test)} test pictures",
        stand_in=network.stand_in,
        seed=options.seed,
        provenance={**origin, "data": chosen.source},
    )
    metrics.begin(
        network.name,
        network.described(),
        network={
            "title": network.title,
            "preprocessing": network.preprocessing,
            "sha256": network.digest,
            "verification": dataclasses.asdict(chosen.verified),
        },
        pictures={
            "calibration": calibration.names.tolist(),
            "test": _sha256(test.names),
            "corrupt": {k: v for found in chosen.inspected for k, v in found.corrupt.items()},
            "not_rgb": {k: v for found in chosen.inspected for k, v in found.not_rgb.items()},
        },
    )
    metrics.claim()
    return metrics


def prefix(network: pretrained.Pretrained) -> str:
    """What file names begin with, where the network is not the papers'."""
    return results.file_name(network.name if network.stand_in else None, "")


def quantize(
    study: Study, network: pretrained.Pretrained, chosen: Chosen, options: argparse.Namespace
) -> None:
    """I §5.1 on the pictures."""
    scale = network.preprocessing, network.size
    calibration, test = chosen.calibration, chosen.test
    study.quantize(
        test.images(*scale),
        test.labels,
        calibration.images(*scale),
        {
            "calibration": _sha256(calibration.names),
            "test": _sha256(test.names),
            "pictures": chosen.source["digest"],
        },
        batch_size=options.batch_size,
        calibration_size=len(calibration),
        in_memory=options.memory * 2**20,
    )


def probe(
    study: Study,
    data: SimpleNamespace,
    source: str,
    preset: papers.ImageNetPreset,
    options: argparse.Namespace,
) -> None:
    """I §5.2 with linear probes in place of retraining, at all layers and grids; see :func:`probe_data`."""
    sides = {layer: _finest_grid(study.model, layer) for layer in study.layers}
    for grid in options.grid:
        for layer in study.layers:
            if grid > sides[layer]:
                logger.info("%s: it has no grid of %d x %d positions", layer, grid, grid)
        study.binarize_windows(
            [layer for layer in study.layers if grid <= sides[layer]],
            data,
            {"images": data.digest},
            evaluation.Probe(grid=grid, classes=data.classes),
            said={"probe_data": source},
            kind=results.window(
                options.probe_dataset != "imagenet2012", grid if grid != options.grid[0] else None
            ),
            centers=list(preset.window_centers),
            calibration_size=preset.calibration,
            in_memory=options.memory * 2**20,
        )


def probe_data(
    network: pretrained.Pretrained,
    preset: papers.ImageNetPreset,
    options: argparse.Namespace,
    workers: Workers | None = None,
) -> tuple[SimpleNamespace, str]:
    """Training and test images of the probes, made when asked for, and where they come from.

    Raises:
        ValueError: where there are no training images, or workers found different ones.
    """
    sizes, workers = (preset.probe_train, preset.probe_test), workers or Workers()
    if options.probe_dataset == "cifar10":
        folder, seed = options.probe_data_dir, options.seed
        data, source = workers.one_by_one(lambda: _scaled_up(network, folder, sizes, seed))
    else:
        data, source = _probe_pictures(network, options, sizes, workers)
    workers.check_same("set of images for the probes", {"digest": data.digest})
    return data, source


def _scaled_up(network, data_dir, sizes, seed):
    """Random CIFAR-10 images scaled up (bilinear) to the size of the network's input."""
    import tensorflow as tf

    loaded = datasets.load("cifar10", data_dir)
    side = network.size

    def make(image):
        return preprocess(tf.image.resize(image, (side, side)), network.preprocessing)

    parts = {"classes": len(loaded.class_names), "digest": loaded.digest}
    rng = streams.generator(seed, "transfer images")
    for part, size in zip(("train", "test"), sizes, strict=True):
        x, y = getattr(loaded, f"x_{part}"), getattr(loaded, f"y_{part}")
        places = np.sort(rng.choice(len(x), min(size, len(x)), replace=False))
        parts |= {f"x_{part}": from_array(x[places], make, (side, side, 3)), f"y_{part}": y[places]}
    return SimpleNamespace(**parts), f"cifar10, scaled up to {side} x {side}: a transfer variant"


_NO_TRAINING = (
    "Linear probes need training pictures: give a folder with the folders train and val, or imagenet2012 as "
    "prepared by tensorflow_datasets with its train split; or --probe-dataset cifar10 (a transfer variant), "
    "or --experiments quantization."
)


def _probe_pictures(network, options, sizes, workers):
    """Pictures of ImageNet's training split for training, of its validation split for testing."""
    folder = options.probe_data_dir or options.data_dir
    try:
        train = load_pictures(folder, f"train[:{sizes[0]}]")  # a prepared set is in random order
        test = load_pictures(folder, "validation")
    except datasets.DataError as error:
        raise ValueError(f"{error} {_NO_TRAINING}") from None
    if train.digest == test.digest:
        raise ValueError(
            f"{train.source} has no training pictures beside those that are tested. {_NO_TRAINING}"
        )
    rng = streams.generator(options.seed, "probe pictures")
    parts, names = {"classes": None}, []
    for part, pictures, size in zip(("train", "test"), (train, test), sizes, strict=True):
        chosen = pictures.subset(np.sort(rng.permutation(len(pictures))[:size]))
        chosen, _ = decodable(chosen, workers, skip_corrupt=options.skip_corrupt)
        images = chosen.images(network.preprocessing, network.size)
        parts |= {f"x_{part}": images, f"y_{part}": chosen.labels}
        names += [chosen.digest, *chosen.names]
    return SimpleNamespace(**parts, digest=_sha256(names)), "imagenet2012"


def _sha256(names):
    return hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()
