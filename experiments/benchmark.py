"""How much recording and evaluating cost, as ratios.

    python experiments/benchmark.py recording
    python experiments/benchmark.py evaluation
    python experiments/benchmark.py imagenet [--data-dir IMAGENET]

Absolute times depend on the machine; the ratios are medians over rounds in which the ways take turns. Let
nothing else run meanwhile. Without IMAGENET, synthetic pictures are made.
"""

import argparse
from pathlib import Path

from keras_neuronlevel import cli


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("recording", "evaluation", "imagenet"))
    options.add_argument("--repeats", type=int, default=7, help="rounds, at least 5 to quote")
    options.add_argument("--data-dir", type=Path, help="of imagenet: a folder of pictures, by wnid")
    arguments = options.parse_args()
    if arguments.repeats < 1:
        options.error(f"--repeats is {arguments.repeats}; give at least 1")
    from keras_neuronlevel.benchmarks import evaluation, imagenet, recording

    if arguments.what == "recording":
        for network in ("mlp", "cnn"):
            print(recording.table(recording.run(network, arguments.repeats)))
    elif arguments.what == "evaluation":
        print(evaluation.table(evaluation.run(arguments.repeats)))
    else:
        print(imagenet.table(imagenet.run(arguments.repeats, data_dir=arguments.data_dir)))


if __name__ == "__main__":
    cli.run(main)
