"""One experiment with several seeds, and what is the same in all of them.

    python experiments/seeds.py --experiment mnist_mlp --seeds 0 1 2

runs ``experiments/mnist_mlp.py --seed k`` for every seed (what is finished is not run again), into
``outputs/mnist_mlp`` for seed 0 and ``outputs/mnist_mlp/seed{k}`` for the others, and writes mean and spread
over the seeds to ``outputs/mnist_mlp/seeds.json``. Options after ``--`` go to the experiment
(``-- --preset reduced``). It takes as long as the experiment does, for every seed; ``--aggregate`` runs
nothing and takes together the ``metrics.json`` that these seeds have already.
"""

import logging
import signal
import subprocess
import sys
from pathlib import Path

from keras_neuronlevel import interruption, papers
from keras_neuronlevel.protocol import cli
from keras_neuronlevel.results import file_name, lookup, seeds

logger = logging.getLogger(__name__)

SCRIPTS = tuple(name for name, row in papers.EXPERIMENTS.items() if row.trained)
# What an option of the experiment is given by here, so that it may not come again after ``--``.
OURS = {"--seed": "--seeds", "--output-dir": "--results", "--dataset": "--dataset before --"}


def parser():
    options = cli.options(__doc__.splitlines()[0])
    options.add_argument("--experiment", choices=SCRIPTS, required=True)
    options.add_argument(
        "--seeds", nargs="+", type=cli.seed, help="default: 0 1 2, and with --aggregate all that are there"
    )
    options.add_argument("--results", type=cli.folder, default=Path("outputs"), help="default: outputs")
    options.add_argument("--dataset", help="as the experiment's")
    options.add_argument(
        "--aggregate", action="store_true", help="run nothing, take together what these seeds have"
    )
    options.add_argument("rest", nargs="*", metavar="-- OPTION", help="options of the experiment")
    return options


def parse(arguments=None):
    options = parser()
    parsed = cli.parse(options, arguments)
    given = parsed.seeds or []
    twice = [seed for place, seed in enumerate(given) if seed in given[:place]]
    if twice:
        options.error(f"--seeds has {twice[0]} twice; give every seed once")
    if parsed.aggregate and parsed.rest:
        options.error(f"--aggregate runs nothing, so it takes no {' '.join(parsed.rest)}")
    for given in parsed.rest:
        name = given.partition("=")[0]
        if name in OURS:
            options.error(f"{name} after -- contradicts what this script gives; use {OURS[name]}")
    return parsed


def main(arguments=None):
    arguments = parse(arguments)
    root = arguments.results / arguments.experiment
    data = ["--dataset", arguments.dataset] if arguments.dataset else []
    stand_in = arguments.dataset if arguments.dataset == "mnist32" else None
    name = file_name(stand_in)
    if arguments.aggregate:
        numbers = arguments.seeds or seeds.found(root, name) or [0]
    else:
        numbers = arguments.seeds or [0, 1, 2]
        said = [f"--{how}" for how in ("quiet", "verbose") if getattr(arguments, how)]
        _run(arguments.experiment, numbers, root, [*said, *data, *arguments.rest])
    results = seeds.load(root, numbers, name)
    for result in results:
        trained_on = lookup(result, "provenance", "data", "name")
        if arguments.dataset and trained_on not in (None, arguments.dataset):
            raise ValueError(
                f"seed {result['seed']} in {root} is of {trained_on}, not of {arguments.dataset}; give the "
                "folder of that data set as --results, or leave out --dataset"
            )
        if not result["complete"]:
            logger.warning("seed %d is unfinished: what it has is counted", result["seed"])
    seeds.write(root, results, file_name(stand_in, "seeds.json"))
    print("".join(table.text() for table in seeds.brief(results)), end="")


def _run(experiment, numbers, root, rest):
    script = Path(__file__).with_name(f"{experiment}.py")
    for number, seed in enumerate(numbers, start=1):
        logger.info("seed %d (%d of %d)", seed, number, len(numbers))
        own = ["--seed", str(seed), "--output-dir", str(seeds.folder(root, seed))]
        if _child([sys.executable, str(script), *own, *rest]):
            raise ValueError(f"{script.name} failed with seed {seed}; see above, fix it, and run this again")


def _child(command):
    """Run a command to its end and return its exit status; the signal that ends this process ends it too."""
    child = None
    try:
        with interruption.deferred():  # so that none comes while the child has no name
            # In a group of its own, Ctrl-C reaches it once: through this process.
            child = subprocess.Popen(command, process_group=0)
        return child.wait()
    except KeyboardInterrupt as stop:
        if child is not None:
            child.send_signal(getattr(stop, "signum", signal.SIGINT))
            child.wait()  # it saves what it has
        raise


if __name__ == "__main__":
    cli.run(main)
