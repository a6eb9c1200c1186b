"""Quantization and window binarization of a pretrained ImageNet network (I Fig. 3 and 4, row 5; Table 1).

    python experiments/imagenet_resnet50.py --data-dir IMAGENET

loads Keras' pretrained ResNet50 (or ``--weights FILE``, or any other classifier with ``--model FILE.keras
--preprocessing imagenet-torch``), verifies it on labelled pictures, replaces the pre-activations of some
layers by two values per neuron at eleven percentile ranks, and trains linear probes on window-binarized ones.
IMAGENET is a folder of pictures, one folder per wnid, or imagenet2012 as prepared by tensorflow_datasets.
Probes need training pictures; without any, ``--probe-dataset cifar10`` is a transfer variant.

Several processes share the pictures and the layers: ``experiments/workers.py`` starts local ones, with
``--one-gpu-each`` a GPU each; docs/devices.md says how on several hosts.

Expected: robust at every layer but the very first, ``conv1``; windows symmetric around rank 50.
"""

from pathlib import Path

from keras_neuronlevel import papers
from keras_neuronlevel.data.preprocessing import PREPROCESSING
from keras_neuronlevel.protocol import cli

ROW = papers.EXPERIMENTS["imagenet_resnet50"]
EXPERIMENTS = ("quantization", "window")
SCALES = tuple(how for how in PREPROCESSING if how != "standardize")  # of one picture, without statistics


def parser():
    options = cli.options(__doc__.splitlines()[0], cli.presets(ROW))
    which = options.add_mutually_exclusive_group()
    which.add_argument(
        "--weights", default="imagenet", help="'imagenet' (Keras downloads them), or the file of ResNet50's"
    )
    which.add_argument("--model", type=Path, help="any saved ImageNet classifier, .keras or .h5, instead")
    options.add_argument("--preprocessing", choices=SCALES, help="of a --model: how it wants its images")
    options.add_argument(
        "--name", type=cli.file_part, help="of a --model: what it is called in tables and file names"
    )
    options.add_argument(
        "--expected-top1",
        type=cli.number(above=0, most=1),
        metavar="SHARE",
        help="of a --model: what it should reach, 0 to 1",
    )
    options.add_argument("--preset", choices=("auto", *ROW.presets), default="auto")
    options.add_argument("--layers", nargs="+", help="neuron layers (default: first, middle ones, last two)")
    options.add_argument("--experiments", nargs="+", choices=EXPERIMENTS, default=list(EXPERIMENTS))
    options.add_argument("--data-dir", type=Path, help="a folder of pictures by wnid, or a prepared set's")
    options.add_argument(
        "--skip-corrupt", action="store_true", help="leave out pictures that cannot be decoded"
    )
    options.add_argument(
        "--probe-dataset",
        choices=("imagenet2012", "cifar10"),
        default="imagenet2012",
        help="what the linear probes learn; cifar10, images scaled up, is a transfer variant",
    )
    options.add_argument("--probe-data-dir", type=Path, help="where the probes' data set is")
    options.add_argument(
        "--grid",
        nargs="+",
        type=cli.whole(1),
        default=[1],
        help="cells a side that probes see of a feature map",
    )
    options.add_argument("--batch-size", type=cli.whole(1), default=32)
    options.add_argument(
        "--memory", type=cli.whole(0), default=512, help="MiB of pre-activations kept at a time"
    )
    options.add_argument("--seed", type=cli.seed, default=0)
    options.add_argument("--output-dir", type=cli.folder, default=Path("outputs/imagenet_resnet50"))
    cli.strategy(options)
    return options


def parse(arguments=None):
    options = parser()
    parsed = cli.parse(options, arguments)
    if parsed.model and not parsed.preprocessing:
        options.error(f"--model needs its --preprocessing, one of {', '.join(SCALES)}")
    if not parsed.model and (parsed.preprocessing or parsed.name or parsed.expected_top1 is not None):
        options.error("--preprocessing, --name and --expected-top1 belong to a --model")
    if "window" not in parsed.experiments:
        for name in ("grid", "probe_dataset", "probe_data_dir"):
            if getattr(parsed, name) != options.get_default(name):
                text = name.replace("_", "-")
                options.error(f"--{text} belongs to the windows, which --experiments leaves out")
    if len(set(parsed.grid)) < len(parsed.grid):
        options.error(f"--grid is {' '.join(map(str, parsed.grid))}; give every number once")
    return parsed


def main(arguments=None):
    options = parse(arguments)
    cli.start_tensorflow(options)
    from keras_neuronlevel.protocol import imagenet

    imagenet.main(options)


if __name__ == "__main__":
    cli.run(main)
