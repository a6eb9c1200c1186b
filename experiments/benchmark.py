"""How much recording and evaluating cost, as ratios.

    python experiments/benchmark.py recording
    python experiments/benchmark.py evaluation

Absolute times depend on the machine; the ratios are medians over rounds in which the ways take turns. Let
nothing else run meanwhile.
"""

import argparse

from keras_neuronlevel import cli


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("recording", "evaluation"))
    options.add_argument("--repeats", type=int, default=7, help="rounds, at least 5 to quote")
    arguments = options.parse_args()
    from keras_neuronlevel.benchmarks import evaluation, recording

    if arguments.what == "recording":
        for network in ("mlp", "cnn"):
            print(recording.table(recording.run(network, arguments.repeats)))
    else:
        print(evaluation.table(evaluation.run(arguments.repeats)))


if __name__ == "__main__":
    cli.run(main)
