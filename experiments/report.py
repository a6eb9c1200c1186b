"""The report: what the papers claim, what the runs measured, their figures, and single neurons to watch.

    python experiments/report.py --results figures

reads every ``metrics.json`` below the folder and writes there ``report.html``, one page that needs nothing
beside itself, ``REPORT.md``, ``README.md`` (figure by figure), ``evidence.csv`` and the pictures in
``papers/``. Of the committed results it also makes the findings in the project's README. It takes seconds;
nothing is trained or computed anew.
"""

import argparse
from pathlib import Path

from keras_neuronlevel import report
from keras_neuronlevel.protocol import cli


def main():
    options = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument(
        "--results",
        type=Path,
        default=Path("figures"),
        help="folder of the experiments' folders, or one of these",
    )
    results = options.parse_args().results
    committed = Path(__file__).resolve().parents[1] / "figures"
    readme = committed.parent / "README.md" if results.resolve() == committed else None
    print("wrote", ", ".join(map(str, report.write(results, readme))))


if __name__ == "__main__":
    cli.run(main)
