"""How much recording, evaluating and checkpoints cost, as ratios; and what a training survives.

    python experiments/benchmark.py recording [--peers --output docs/recording_cost.json]
    python experiments/benchmark.py growth [--output growth.json]
    python experiments/benchmark.py evaluation
    python experiments/benchmark.py readouts [--output docs/readouts_cost.json]
    python experiments/benchmark.py imagenet [--data-dir IMAGENET]
    python experiments/benchmark.py checkpoint
    python experiments/benchmark.py faults --kills 25 --output faults.json
    python experiments/benchmark.py rates --output figures/cifar10_cnn/rates.json
    python experiments/benchmark.py plan --experiment imagenet_resnet50 --devices 8

Absolute times depend on the machine; the ratios are medians over rounds in which the ways take turns. Let
nothing else run meanwhile. Without IMAGENET, synthetic pictures are made. ``faults`` wants MNIST and takes
some minutes; ``rates`` wants CIFAR-10, and about an hour on one core. ``plan`` runs no experiment: it times
a few batches, or takes the rates of an earlier plan (``--rates``), and says what all of it would take.
"""

import dataclasses
import importlib
from pathlib import Path

from keras_neuronlevel import papers
from keras_neuronlevel.protocol import cli

# What is measured, and which options it takes.
WHAT = {
    "recording": {"repeats", "peers", "output"},
    "growth": {"repeats", "output"},
    "evaluation": {"repeats"},
    "readouts": {"repeats", "output"},
    "imagenet": {"repeats", "data_dir", "output"},
    "checkpoint": {"repeats"},
    "faults": {"kills", "every_byte", "data_dir", "output"},
    "rates": {"data_dir", "output"},
    "plan": {"experiment", "preset", "devices", "rates", "repeats", "output"},
}
OPTIONS = set().union(*WHAT.values())


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
        help="of recording, growth, readouts, imagenet, rates, faults and plan: where the numbers go, a "
        ".json file (of recording and growth also a page with tables beside it)",
    )
    options.add_argument("--experiment", choices=list(papers.EXPERIMENTS), help="of plan: which")
    options.add_argument("--preset", help="of plan: its scale (default: paper)")
    options.add_argument("--devices", type=cli.whole(1), help="of plan: how many share it (default: 1)")
    options.add_argument(
        "--rates", type=Path, metavar="FILE", help="of plan: what it wrote with --output, perhaps elsewhere"
    )
    return options


def main(arguments=None):
    options = parser()
    arguments = cli.parse(options, arguments)
    for name in sorted(OPTIONS - WHAT[arguments.what]):
        if getattr(arguments, name) is not None:
            options.error(f"--{name.replace('_', '-')} has no meaning with {arguments.what}; leave it out")
    if arguments.what == "plan":
        _check_plan(options, arguments)
    cli.start_tensorflow(arguments)
    print(_table(arguments))


def _check_plan(options, arguments):
    if not arguments.experiment:
        options.error(f"plan needs --experiment, one of {', '.join(papers.EXPERIMENTS)}")
    presets = papers.EXPERIMENTS[arguments.experiment].presets
    arguments.preset = arguments.preset or "paper"
    if arguments.preset not in presets:
        options.error(f"{arguments.experiment} has no preset {arguments.preset}, only {', '.join(presets)}")


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
        readouts,
    )

    repeats = arguments.repeats or 7
    if arguments.what == "recording":
        return _recording(repeats, arguments.peers, arguments.output)
    if arguments.what == "growth":
        found = growth.run(repeats)
        _write(arguments.output, found, growth.markdown)
        return growth.table(found)
    if arguments.what == "evaluation":
        return evaluation.table(evaluation.run(repeats))
    if arguments.what == "readouts":
        found = readouts.run(repeats)
        _write(arguments.output, found)
        return "\n".join(map(readouts.table, found))
    if arguments.what == "imagenet":
        found = imagenet.run(repeats, data_dir=arguments.data_dir)
        _write(arguments.output, found)
        return imagenet.table(found)
    if arguments.what == "checkpoint":
        return checkpoint.table(checkpoint.run(repeats))
    if arguments.what == "faults":
        trainings = faults.run(arguments.kills or 25, recipe=faults.Recipe(arguments.data_dir))
        damages = damage.run(arguments.every_byte or 5)
        if arguments.output:
            told = [dataclasses.asdict(fault) for fault in trainings]
            files.write_json(arguments.output, {"trainings": told, "records": damages})
        return f"{faults.table(trainings)}\n\n{damage.table(damages)}"
    if arguments.what == "plan":
        return _plan(arguments)
    found = rates.run(data.load("cifar10", arguments.data_dir), ("relu", "linear"), rates.RATES)
    if arguments.output:
        files.write_json(arguments.output, found)
    return rates.table(found)


def _write(output, results, page=None):
    """Results and where they come from, where an ``output`` is asked for, and beside it a page that
    ``page(results, machine)`` makes of them."""
    from keras_neuronlevel import files
    from keras_neuronlevel.benchmarks.recording import machine
    from keras_neuronlevel.protocol import provenance

    if output:
        files.write_json(output, {"provenance": provenance.collect(machine=machine()), "results": results})
        if page:
            files.write_text(output.with_suffix(".md"), page(results, machine()))


def _recording(repeats, with_peers, output):
    from keras_neuronlevel.benchmarks import peers, recording

    others = peers.installed() if with_peers else {}
    results = [recording.run(network, repeats, others=others) for network in ("mlp", "cnn")]
    _write(output, results, recording.markdown)
    page = recording.markdown(results, recording.machine())
    return "\n".join([*map(recording.table, results), "", page])


def _plan(arguments):
    from keras_neuronlevel.benchmarks import plan
    from keras_neuronlevel.protocol import pipeline, pretrained

    row = papers.EXPERIMENTS[arguments.experiment]
    preset = row.presets[arguments.preset]
    given = plan.read(arguments.rates, row.name) if arguments.rates else None
    script = importlib.import_module(row.name)
    asked = script.parser()
    if row.trained:
        options = asked.parse_args([])
        experiment = pipeline.Experiment(row, plan.made_up_data(row, preset), preset, options, {}, 0.0)
        known = [plan.Trained(script.recipe(experiment, a), experiment.data) for a in options.activation]
    else:
        batch, memory = asked.get_default("batch_size"), asked.get_default("memory") * 2**20
        known = [plan.Pretrained(pretrained.resnet50(None).model, preset, batch, memory)]
    found = plan.run(known, arguments.devices or 1, given, arguments.repeats or 3)
    _write(arguments.output, {"experiment": row.name, "preset": preset.name, **found})
    return f"{row.name}, {preset}\n\n{plan.table(found)}"


if __name__ == "__main__":
    cli.run(main)
