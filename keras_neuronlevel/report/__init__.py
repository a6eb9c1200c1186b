"""One page that a reader can judge the runs by: claims, numbers, pictures, single neurons.

``write(results)`` makes ``report.html``, which needs nothing beside itself, and ``REPORT.md``, which links
the pictures. Both are made of what the experiments wrote beside their figures. Nothing here
imports TensorFlow.
"""

from pathlib import Path

from keras_neuronlevel import files
from keras_neuronlevel.report import document, gather, html, markdown

__all__ = ["document", "gather", "html", "markdown", "write"]


def write(results: str | Path) -> tuple[Path, Path]:
    """Write ``<results>/report.html`` and ``<results>/REPORT.md`` and return both paths.

    ``results`` is a folder of experiments' folders, or one experiment's folder. Raises ``ValueError`` where
    it does not exist or holds no numbers.
    """
    from keras_neuronlevel import claims

    results = Path(results)
    found = document.build(gather.find(results), claims.assess)
    page, text = results / "report.html", results / "REPORT.md"
    files.write_text(page, html.render(found))
    files.write_text(text, markdown.render(found))
    return page, text
