"""The film of one neuron's pre-activations through training, from a finished run (E §4; I §4.2).

    python experiments/videos.py --run figures/mnist_mlp/seed4/runs/mnist-mlp-relu-paper-seed4.h5 \
        --layer dense2-relu --output figures/mnist_mlp/neuron_mlp-relu_dense2-relu_seed4.gif

takes a few seconds; a run is what an experiment leaves in ``runs/`` (that one: ``mnist_mlp.py --seed 4``).
The output ends in .gif, or in .mp4 where there is ffmpeg (pip install imageio-ffmpeg).
A frame is a snapshot of the recordings, which lie evenly in the logarithm of their number.

Expected: two overlapping histograms, 'low' and 'high', that come apart, though not fully.
"""

import logging
from pathlib import Path

import keras_neuronlevel as nl
from keras_neuronlevel.protocol import cli


def parser():
    options = cli.options(__doc__.splitlines()[0])
    options.add_argument("--run", type=Path, required=True, help="a records file, runs/*.h5")
    options.add_argument("--layer", required=True, help="such as dense2-relu")
    options.add_argument(
        "--neuron", type=cli.whole(0), help="its unit; default the one that dynamics.png shows"
    )
    options.add_argument("--output", type=Path, required=True, help="a .gif or .mp4 file")
    options.add_argument("--fps", type=cli.number(least=0.1, most=50), default=4, help="snapshots a second")
    options.add_argument("--width", type=cli.whole(160, 4096), default=640, help="pixels")
    options.add_argument("--seed", type=cli.seed, help="from which a neuron is drawn; default the run's own")
    return options


def main(arguments=None):
    options = parser()
    arguments = cli.parse(options, arguments)
    if arguments.neuron is not None and arguments.seed is not None:
        options.error("--seed draws a neuron, and --neuron names one; give one of them")
    unit = arguments.neuron
    if unit is None:
        with nl.records.Records(arguments.run) as records:
            own = nl.results.lookup(records.provenance, "config", "seed") or 0
            seed = own if arguments.seed is None else arguments.seed
            unit = nl.dynamics.random_units(records, arguments.layer, 1, seed)[0]
    nl.videos.render(
        arguments.run, arguments.layer, unit, arguments.output, fps=arguments.fps, width=arguments.width
    )
    logging.getLogger(__name__).info("neuron %d of %s: %s", unit, arguments.layer, arguments.output)


if __name__ == "__main__":
    cli.run(main)
