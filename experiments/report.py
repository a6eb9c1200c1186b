"""The report: what the papers claim, what the runs measured, their figures, and single neurons to watch.

    python experiments/report.py --results figures

reads every ``metrics.json`` below the folder and writes ``report.html``, one page that needs nothing beside
itself, and ``REPORT.md``. It takes seconds; nothing is trained or computed anew.
"""

import argparse
from pathlib import Path

from keras_neuronlevel import report
from keras_neuronlevel.protocol import cli


def main():
    options = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    options.add_argument(
        "--results",
        type=Path,
        default=Path("figures"),
        help="folder of the experiments' folders, or one of these",
    )
    page, text = report.write(options.parse_args().results)
    print(f"wrote {page} and {text}")


if __name__ == "__main__":
    cli.run(main)
