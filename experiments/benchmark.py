"""How much recording, evaluating and checkpoints cost, as ratios; and what a training survives.

    python experiments/benchmark.py recording [--peers --output docs/recording_cost.json]
    python experiments/benchmark.py growth [--output growth.json]
    python experiments/benchmark.py evaluation
    python experiments/benchmark.py imagenet [--data-dir IMAGENET]
    python experiments/benchmark.py checkpoint
    python experiments/benchmark.py faults --kills 25 --output faults.json
    python experiments/benchmark.py rates --output figures/cifar10_cnn/rates.json

Absolute times depend on the machine; the ratios are medians over rounds in which the ways take turns. Let
nothing else run meanwhile. Without IMAGENET, synthetic pictures are made. ``faults`` wants MNIST and takes
some minutes; ``rates`` wants CIFAR-10, and about an hour on one core.
"""

import dataclasses
from pathlib import Path

from keras_neuronlevel.protocol import cli

# What is measured, and which options it takes.
WHAT = {
    "recording": {"repeats", "peers", "output"},
    "growth": {"repeats", "output"},
    "evaluation": {"repeats"},
    "imagenet": {"repeats", "data_dir"},
    "checkpoint": {"repeats"},
    "faults": {"kills", "every_byte", "data_dir", "output"},
    "rates": {"data_dir", "output"},
}


def parser():
    options = cli.options(__doc__.splitlines()[0])
    options.add_argument("what", choices=list(WHAT))
    options.add_argument("--repeats", type=cli.whole(1), help="rounds, at least 5 to quote (default: 7)")
    options.add_argument(
        "--kills", type=cli.whole(1), help="of faults: how often SIGKILL is sent (default: 25)"
    )
    options.add_argument(
        "--every-byte",
        type=cli.whole(1),
        help="of faults: a records file is damaged at every such byte (default: 5)",
    )
    options.add_argument("--data-dir", type=Path, help="the data set, or of imagenet: pictures, by wnid")
    options.add_argument(
        "--peers",
        action="store_const",
        const=True,
        help="of recording: beside the same in JAX and PyTorch, where they are installed",
    )
    options.add_argument(
        "--output",
        type=Path,
        help="of recording, growth, rates and faults: where the numbers go, a .json file (of recording also "
        "the ratios, a table beside it)",
    )
    return options


def main(arguments=None):
    options = parser()
    arguments = cli.parse(options, arguments)
    for name in ("repeats", "kills", "every_byte", "data_dir", "peers", "output"):
        if getattr(arguments, name) is not None and name not in WHAT[arguments.what]:
            options.error(f"--{name.replace('_', '-')} has no meaning with {arguments.what}; leave it out")
    cli.start_tensorflow(arguments)
    print(_table(arguments))


def _table(arguments):
    from keras_neuronlevel import data, files
    from keras_neuronlevel.benchmarks import (
        checkpoint,
        damage,
        evaluation,
        faults,
        growth,
        imagenet,
        rates,
    )

    repeats = arguments.repeats or 7
    if arguments.what == "recording":
        return _recording(repeats, arguments.peers, arguments.output)
    if arguments.what == "growth":
        found = growth.run(repeats)
        _write(arguments.output, found)
        return growth.table(found)
    if arguments.what == "evaluation":
        return evaluation.table(evaluation.run(repeats))
    if arguments.what == "imagenet":
        return imagenet.table(imagenet.run(repeats, data_dir=arguments.data_dir))
    if arguments.what == "checkpoint":
        return checkpoint.table(checkpoint.run(repeats))
    if arguments.what == "faults":
        trainings = faults.run(arguments.kills or 25, recipe=faults.Recipe(arguments.data_dir))
        damages = damage.run(arguments.every_byte or 5)
        if arguments.output:
            told = [dataclasses.asdict(fault) for fault in trainings]
            files.write_json(arguments.output, {"trainings": told, "records": damages})
        return f"{faults.table(trainings)}\n\n{damage.table(damages)}"
    found = rates.run(data.load("cifar10", arguments.data_dir), ("relu", "linear"), rates.RATES)
    if arguments.output:
        files.write_json(arguments.output, found)
    return rates.table(found)


def _write(output, results):
    """Results and where they come from, where an ``output`` is asked for."""
    from keras_neuronlevel import files
    from keras_neuronlevel.benchmarks.recording import machine
    from keras_neuronlevel.protocol import provenance

    if output:
        files.write_json(output, {"provenance": provenance.collect(machine=machine()), "results": results})


def _recording(repeats, with_peers, output):
    from keras_neuronlevel.benchmarks import peers, recording

    others = peers.installed() if with_peers else {}
    results = [recording.run(network, repeats, others=others) for network in ("mlp", "cnn")]
    page = recording.markdown(results, recording.machine())
    _write(output, results)
    if output:
        output.with_suffix(".md").write_text(page, encoding="utf-8")
    return "\n".join([*map(recording.table, results), "", page])


if __name__ == "__main__":
    cli.run(main)
