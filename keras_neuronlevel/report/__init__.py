"""One page that a reader can judge the runs by: claims, the papers' figures, numbers, single neurons.

``write(results)`` makes, of what the experiments wrote beside their figures and of nothing else,
``report.html``, which needs nothing beside itself, ``REPORT.md``, ``README.md`` (the figures' page),
``evidence.csv`` and the pictures in ``papers/``; and the findings in a project's README. Nothing here imports
TensorFlow.
"""

import dataclasses
import json
import logging
import os
from pathlib import Path

from keras_neuronlevel import files, papers
from keras_neuronlevel.report import document, gather, html, markdown, pictures

logger = logging.getLogger(__name__)

__all__ = ["document", "gather", "html", "markdown", "pictures", "texts_of", "write"]


def write(results: str | Path, readme: Path | None = None, durations: Path | None = None) -> list[Path]:
    """Write all forms of the report below ``results`` and return their paths, ``report.html`` first.

    What cannot be used is left out, and named in the report and in warnings that are logged.

    Args:
        results: a folder of experiments' folders, or one experiment's folder.
        readme: a README whose findings are to be made anew, or None.
        durations: where to write how long the runs took, see ``papers.durations``, or None.

    Raises:
        ValueError: where the folder does not exist or holds no numbers, or the README has no place for them.
    """
    results = Path(results)
    found = gather.find(results)
    warnings = pictures.write(found.groups, results)
    found = dataclasses.replace(found, warnings=(*found.warnings, *warnings))
    written = texts_of(found, readme, durations)
    page = results / "README.md"
    if os.path.lexists(page) and not _ours(page):
        del written[page]
    for warning in found.warnings:
        logger.warning("warning: %s", warning)
    for path, text in written.items():
        files.write_text(path, text)
    return list(written)


def _ours(page):
    """Whether the page is one that was written here before."""
    beginning = markdown.FIGURES.encode()
    if not page.is_file():
        return False
    with open(page, "rb") as file:
        return file.read(len(beginning)) == beginning


def texts_of(
    found: gather.Found, readme: Path | None = None, durations: Path | None = None
) -> dict[Path, str]:
    """{path: text} of every form of the report, of the pictures that are there."""
    from keras_neuronlevel import claims

    contents = document.build(found, claims.assess)
    root = found.root
    texts = {
        root / "report.html": html.render(contents),
        root / "REPORT.md": markdown.report(contents),
        root / "README.md": markdown.figures(contents),
        root / "evidence.csv": contents.evidence(),
    }
    if readme is not None:
        texts[readme] = markdown.readme(readme.read_text(encoding="utf-8"), contents, readme.parent)
    if durations is not None:
        runs = [run.metrics for group in found.groups for run in group.runs]
        texts[durations] = json.dumps(papers.durations.measured(runs), indent=1) + "\n"
    return texts
