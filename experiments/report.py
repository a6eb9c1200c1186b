"""The report: what the papers claim, what the runs measured, their figures, and single neurons to watch.

    python experiments/report.py --results figures

reads every ``metrics.json`` below the folder and writes there ``report.html``, one page that needs nothing
beside itself, ``REPORT.md``, ``README.md`` (figure by figure), ``evidence.csv`` and the pictures in
``papers/``. Of the committed results it also makes the findings in the project's README, and the
durations that ``--help`` names. It takes seconds; nothing is trained or computed anew.
"""

from pathlib import Path

from keras_neuronlevel import papers, report
from keras_neuronlevel.protocol import cli


def parser():
    options = cli.options(__doc__.splitlines()[0])
    options.add_argument(
        "--results",
        type=Path,
        default=Path("figures"),
        help="folder of the experiments' folders, or one of these",
    )
    return options


def main(arguments=None):
    results = cli.parse(parser(), arguments).results
    root = Path(__file__).resolve().parents[1]
    committed = results.resolve() == root / "figures"
    more = {"readme": root / "README.md", "durations": papers.durations.FILE} if committed else {}
    print("wrote", ", ".join(map(str, report.write(results, **more))))


if __name__ == "__main__":
    cli.run(main)
