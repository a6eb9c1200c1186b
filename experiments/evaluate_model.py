"""Quantization and window binarization of any saved Keras classifier (long paper, §5).

    python experiments/evaluate_model.py my_cnn.keras --dataset cifar10 --preprocessing unit

Works on functional and Sequential models, .keras or .h5, with neuron layers of their own or fused into
``Dense`` and ``Conv2D``. Writes quantization.png, window.png, table1.{txt,csv,md} and metrics.json. The
baseline accuracy is printed first: if it is not what you know, the preprocessing is not the network's.
Quantization takes a minute; window binarization trains one readout per centre and layer (--epochs and
--max-train-samples limit it), keeps what is finished in metrics.json, and goes on there when started again.
"""

import argparse
import json
from pathlib import Path

from keras_neuronlevel import cli
from keras_neuronlevel.data.preprocessing import PREPROCESSING, preprocess


def parse(arguments=None):
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("model", type=Path, metavar="MODEL", help="a saved model, .keras or .h5")
    options.add_argument("--dataset", required=True, help="mnist, fashion_mnist, cifar10 or mnist32")
    options.add_argument("--data-dir", type=Path, help="where the data set is, if not in a known place")
    options.add_argument("--layers", nargs="+", help="neuron layers (default: first, middle, penultimate)")
    options.add_argument(
        "--preprocessing",
        choices=PREPROCESSING,
        default="unit",
        help="how the network wants its images: [0, 1] (default), [0, 255], standardized per channel of "
        "the training images, ImageNet's BGR means taken off, ImageNet's mean and std, or [-1, 1]",
    )
    both = ["quantization", "window"]
    options.add_argument("--experiments", nargs="+", choices=both, default=both)
    options.add_argument("--readout", choices=["retrain", "probe"], default="retrain")
    options.add_argument("--grid", type=int, help="positions a probe sees, grid x grid (default: 1)")
    options.add_argument("--epochs", type=int, help="upper limit for a retrained readout (default: 100)")
    options.add_argument("--repeats", type=int, default=1, help="readouts per window")
    options.add_argument("--max-train-samples", type=int, help="of the training images, for readouts")
    options.add_argument("--calibration-size", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--output-dir", type=Path, default=Path("outputs/evaluate_model"))
    return options.parse_args(arguments)


def default_layers(model):
    """The first, the middle and the penultimate (last hidden) neuron layer."""
    from keras_neuronlevel import neurons

    names = neurons.choose_layers(model)
    return list(dict.fromkeys([names[0], names[(len(names) - 1) // 2], names[-1]]))


def choose_readout(options):
    """How window bits are read; ``ValueError`` for an option that belongs to the other way."""
    from keras_neuronlevel import evaluation

    ways = {"retrain": (evaluation.Retrain, "epochs"), "probe": (evaluation.Probe, "grid")}
    for name in ("epochs", "grid"):
        if getattr(options, name) is not None and name != ways[options.readout][1]:
            raise ValueError(f"--{name} has no meaning with --readout {options.readout}; leave it out")
    way, name = ways[options.readout]
    value = getattr(options, name)
    return way() if value is None else way(**{name: value})


def evaluate(options):
    from types import SimpleNamespace

    import keras_neuronlevel as nl
    from keras_neuronlevel import evaluation, networks, neurons, pretrained

    readout = choose_readout(options)
    model = neurons.split_fused(neurons.functional(pretrained.load_model(options.model)))
    layers = neurons.choose_layers(model, options.layers or default_layers(model))
    if options.dataset == "imagenet2012":
        raise ValueError("for imagenet2012 use experiments/imagenet_resnet50.py --model FILE")
    loaded = nl.data.load(options.dataset, options.data_dir)
    statistics = networks.channel_statistics(loaded.x_train)
    scaled = [preprocess(x, options.preprocessing, statistics) for x in (loaded.x_train, loaded.x_test)]
    data = SimpleNamespace(x_train=scaled[0], y_train=loaded.y_train, x_test=scaled[1], y_test=loaded.y_test)
    baseline = evaluation.accuracy(model, data.x_test, data.y_test)
    print(
        f"baseline accuracy of {options.model.name} on {len(data.x_test)} test images of "
        f"{options.dataset}, preprocessing {options.preprocessing}: {baseline:.4f}",
        flush=True,
    )
    metrics = _Metrics(options, baseline)
    if "quantization" in options.experiments:
        curves = [
            evaluation.quantization_curve(
                model,
                layer,
                data.x_test,
                data.y_test,
                calibration=data.x_train,
                calibration_size=options.calibration_size,
                seed=options.seed,
            ).to_dict()
            for layer in layers
        ]
        metrics.add("quantization", curves)
        write_table(options, curves)
        draw(options, "quantization", curves)
    if "window" in options.experiments:
        curves = []
        for layer in layers:
            curve = evaluation.window_curve(
                model,
                layer,
                data,
                readout=readout,
                repeats=options.repeats,
                max_train_samples=options.max_train_samples,
                calibration_size=options.calibration_size,
                seed=options.seed,
                done=metrics.done(layer),
                on_result=metrics.keeper(layer),
            )
            curves.append(curve.to_dict())
        metrics.add("window", curves)
        draw(options, "window", curves)
    print(f"wrote {options.output_dir / 'metrics.json'}")


class _Metrics:
    """metrics.json: finished curves, and every single readout under ``readouts``, so that a
    run that was cut off goes on where it was."""

    def __init__(self, options, baseline):
        from keras_neuronlevel import provenance

        self._path = options.output_dir / "metrics.json"
        kept = ("output_dir", "data_dir", "layers", "experiments")
        settings = {key: value for key, value in vars(options).items() if key not in kept}
        settings["model"] = options.model.name
        self._value = {
            "settings": settings,
            "model_sha256": _digest(options.model),
            "baseline_accuracy": baseline,
            "readouts": {},
            "provenance": provenance.collect(),
        }
        self._resume()
        self._write()

    def _resume(self):
        """Take over the results of an earlier run of the same model with the same settings."""
        try:
            earlier = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if all(earlier.get(key) == self._value[key] for key in ("settings", "model_sha256")):
            for key in ("readouts", "quantization", "window"):
                if key in earlier:
                    self._value[key] = earlier[key]

    def add(self, experiment, curves):
        self._value[experiment] = curves
        self._write()

    def done(self, layer):
        return self._value["readouts"].get(layer, {})

    def keeper(self, layer):
        def keep(key, result):
            self._value["readouts"].setdefault(layer, {})[key] = result
            self._write()

        return keep

    def _write(self):
        from keras_neuronlevel import files

        files.write_json(self._path, self._value)


def _digest(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def draw(options, experiment, curves):
    from keras_neuronlevel import files
    from keras_neuronlevel.plots.curves import accuracy_grid

    title = {"quantization": "Two values per neuron", "window": "Window binarization"}[experiment]
    note = f"{options.dataset}, {curves[0]['n_test']} test images, seed {options.seed}"
    figure = accuracy_grid({options.model.stem: curves}, title=title, note=note)
    files.save_figure(options.output_dir / f"{experiment}.png", figure)


def write_table(options, curves):
    from keras_neuronlevel import files
    from keras_neuronlevel.plots.curves import table1

    for style, ending in (("text", "txt"), ("csv", "csv"), ("markdown", "md")):
        text = table1({options.model.stem: curves}, style)
        files.write_text(options.output_dir / f"table1.{ending}", text)
        if style == "text":
            print(text, end="")


def main(arguments=None):
    evaluate(parse(arguments))


if __name__ == "__main__":
    cli.run(main)
