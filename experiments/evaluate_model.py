"""Quantization and window binarization of any saved Keras classifier (long paper, §5).

    python experiments/evaluate_model.py my_cnn.keras --dataset cifar10 --preprocessing unit
    python experiments/evaluate_model.py my_cnn.keras --data mine.npz --import my_layers

Works on functional and Sequential models, .keras or .h5, with neuron layers of their own or fused into
``Dense`` and ``Conv2D``. Writes quantization.png, window.png, table1.{txt,csv,md} and metrics.json. The
baseline accuracy is printed first: if it is not what you know, the preprocessing is not the network's.
Quantization takes a minute; window binarization trains one readout per centre and layer (--centers, --epochs
and --max-train-samples limit it), keeps what is finished, and goes on there when started again.

Several processes share calibrations, test images, and windows or, of probes, layers: experiments/workers.py
starts local ones, docs/devices.md says how on several hosts.

An .npz file holds x_train, y_train, x_test and y_test, images as the network wants them. Own layers have to
be registered (keras.saving.register_keras_serializable) by the module that --import names.
"""

import hashlib
import importlib
import logging
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import keras_neuronlevel as nl
from keras_neuronlevel import papers, results
from keras_neuronlevel.data.preprocessing import PREPROCESSING, preprocess
from keras_neuronlevel.protocol import cli, provenance

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
NO_SETTINGS = (  # options that determine no curve
    "output_dir", "data_dir", "layers", "experiments", "module", "strategy", "quiet", "verbose"
)  # fmt: skip


def parser():
    options = cli.options(__doc__)
    options.add_argument("model", type=Path, metavar="MODEL", help="a saved model, .keras or .h5")
    images = options.add_mutually_exclusive_group(required=True)
    images.add_argument("--dataset", help="mnist, fashion_mnist, cifar10 or mnist32")
    images.add_argument("--data", type=Path, metavar="FILE.npz", help="images and labels of your own")
    options.add_argument("--import", dest="module", metavar="MODULE", help="that registers your own layers")
    options.add_argument("--data-dir", type=Path, help="where the data set is, if not in a known place")
    options.add_argument("--layers", nargs="+", help="neuron layers (default: first, middle, penultimate)")
    options.add_argument(
        "--preprocessing",
        choices=PREPROCESSING,
        help="of a --dataset, how the network wants its images: [0, 1] (unit, the default), [0, 255], "
        "standardized per channel of the training images, ImageNet's BGR means taken off, ImageNet's mean "
        "and std, or [-1, 1]",
    )
    both = ["quantization", "window"]
    options.add_argument("--experiments", nargs="+", choices=both, default=both)
    options.add_argument("--readout", choices=["retrain", "probe"], default="retrain")
    options.add_argument("--grid", type=cli.whole(1), help="positions a probe sees, grid x grid (default: 1)")
    options.add_argument(
        "--epochs", type=cli.whole(1), help="upper limit for a retrained readout (default: 100)"
    )
    options.add_argument(
        "--centers",
        nargs="+",
        type=cli.number(least=0, most=100),
        help="percentile ranks of the windows' centres (default: 5 15 ... 95)",
    )
    options.add_argument("--repeats", type=cli.whole(1), default=1, help="readouts per window")
    options.add_argument(
        "--max-train-samples", type=cli.whole(2), help="of the training images, for readouts"
    )
    options.add_argument("--calibration-size", type=cli.whole(1), default=10_000)
    options.add_argument("--seed", type=cli.seed, default=0)
    options.add_argument("--output-dir", type=cli.folder, default=Path("outputs/evaluate_model"))
    cli.strategy(options)
    return options


def parse(arguments=None):
    options = parser()
    parsed = cli.parse(options, arguments)
    if parsed.data and parsed.preprocessing:
        options.error("--preprocessing belongs to a --dataset; a --data file has images as the network wants")
    if parsed.data and parsed.data_dir:
        options.error("--data-dir belongs to a --dataset; --data names its file itself")
    if "window" not in parsed.experiments:
        for name in ("readout", "grid", "epochs", "centers", "repeats", "max_train_samples"):
            if getattr(parsed, name) != options.get_default(name):
                text = name.replace("_", "-")
                options.error(f"--{text} belongs to the windows, which --experiments leaves out")
    return parsed


def choose_readout(options):
    """How window bits are read; ``ValueError`` for an option that belongs to the other way."""
    ways = {"retrain": (nl.evaluation.Retrain, "epochs"), "probe": (nl.evaluation.Probe, "grid")}
    for name in ("epochs", "grid"):
        if getattr(options, name) is not None and name != ways[options.readout][1]:
            raise ValueError(f"--{name} has no meaning with --readout {options.readout}; leave it out")
    way, name = ways[options.readout]
    value = getattr(options, name)
    return way() if value is None else way(**{name: value})


def load(options):
    """The images on the network's scale, and {name, source, digest} of what they are."""
    if options.data:
        arrays = own_arrays(options.data)
        digest = nl.data.arrays.digest(arrays.values())
        return SimpleNamespace(**arrays), {"name": options.data.stem, "source": "a file", "digest": digest}
    if options.dataset == "imagenet2012":
        raise ValueError("for imagenet2012 use experiments/imagenet_resnet50.py --model FILE")
    loaded = nl.data.load(options.dataset, options.data_dir)
    how, statistics = options.preprocessing or "unit", nl.networks.channel_statistics(loaded.x_train)
    scaled = {part: preprocess(getattr(loaded, part), how, statistics) for part in ("x_train", "x_test")}
    labels = {part: getattr(loaded, part) for part in ("y_train", "y_test")}
    known = {"name": loaded.name, "source": f"preprocessing {how}", "digest": loaded.digest}
    return SimpleNamespace(**scaled, **labels), known


def own_arrays(path):
    """{name: array} of an .npz file. Raises ``ValueError`` for a file that does not hold all four."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no .npz file; make one by np.savez(path, x_train=..., ...)")
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in ARRAYS if name in file}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} cannot be read as an .npz file: {reason}") from None
    missing = [name for name in ARRAYS if name not in found]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}; it must hold the arrays {', '.join(ARRAYS)}")
    return found


def own_layers(module):
    """Import the module that registers them, from the working directory too."""
    sys.path.insert(0, "")
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"--import {module}: {error}; give a module that Python finds from here") from None
    finally:
        sys.path.pop(0)


def code_digest(module):
    """The SHA-256 of the code of the package that own layers come from: what they compute is not in the
    model's file."""
    top = module.split(".")[0]
    files = {
        found.__file__
        for name, found in list(sys.modules.items())
        if name.split(".")[0] == top and getattr(found, "__file__", None)
    }
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in sorted(files))).hexdigest()


def begin(options, model, data, known, described):
    """Print the baseline accuracy, and begin ``metrics.json`` with it."""
    try:
        baseline = nl.evaluation.accuracy(model, data.x_test, data.y_test)
    except ValueError as error:
        raise ValueError(f"with x_test as x and y_test as y: {error}") from None
    print(
        f"baseline accuracy of {options.model.name} on {len(data.x_test)} test images of "
        f"{known['name']}, {known['source']}: {baseline:.4f}",
        flush=True,
    )
    if baseline <= np.bincount(np.asarray(data.y_test)).max() / len(data.y_test):
        logging.getLogger(__name__).warning(
            "that is no more than chance: the preprocessing or the order of the classes is not the network's"
        )
    settings = {key: value for key, value in vars(options).items() if key not in NO_SETTINGS}
    settings = {key: str(value) for key, value in settings.items() if key != "model" and value is not None}
    metrics = results.Metrics(
        options.output_dir / "metrics.json",
        experiment=results.MODEL,
        preset=None,
        scale=", ".join(f"{key} {value}" for key, value in settings.items() if key != "seed"),
        stand_in=None,
        seed=options.seed,
        provenance=provenance.collect(data=known),
    )
    metrics.begin(
        options.model.stem,
        {"activation": None, "family": None, "owner": papers.OURS, "roles": {}},
        training={"test_accuracy": baseline, "config": {"dataset": known["name"]}},
        network=described,
    )
    metrics.claim()
    return metrics


def evaluate(options, workers):
    from keras_neuronlevel.protocol import pretrained, saved_models, sharing
    from keras_neuronlevel.protocol.study import Study, finish

    if options.module:
        own_layers(options.module)
    model = nl.neurons.split_fused(nl.neurons.functional(saved_models.load(options.model)))
    few = pretrained.main_layers(pretrained.paper_layers(model))
    layers = nl.neurons.choose_layers(model, options.layers or few)
    readout = choose_readout(options)
    data, known = workers.one_by_one(lambda: load(options))
    digest = hashlib.sha256(options.model.read_bytes()).hexdigest()
    described = {"title": options.model.name, "sha256": digest}
    if options.module:
        described["code"] = code_digest(options.module)
    sharing.check_same(workers, options, network=digest, images=known["digest"])
    metrics = begin(options, model, data, known, described) if workers.chief else None
    name, kept = options.model.stem, options.output_dir / "runs" / options.model.stem
    config = {"network": described, "data": known}
    study = Study(name, model, layers, metrics, kept, config, options.seed, workers=workers)
    if "quantization" in options.experiments:
        study.quantize(data.x_test, data.y_test, data.x_train, {}, calibration_size=options.calibration_size)
    if "window" in options.experiments:
        shared = ("repeats", "max_train_samples", "calibration_size")
        given = {key: getattr(options, key) for key in shared}
        if options.centers:
            given["centers"] = options.centers
        study.binarize_windows(layers, data, {}, readout, **given)
    if workers.chief:
        finish(metrics, f"{known['name']}, seed {options.seed}")


def main(arguments=None):
    options = parse(arguments)
    cli.start_tensorflow(options)
    from keras_neuronlevel.protocol import sharing

    with sharing.begun(options.strategy) as workers, sharing.at_work(workers, options.output_dir):
        evaluate(options, workers)


if __name__ == "__main__":
    cli.run(main)
