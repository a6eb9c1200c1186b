"""Print the lower bound of every version range in pyproject.toml, as constraints for pip.

    python .ci/lower_bounds.py > lower.txt
    pip install -r requirements.txt -e ".[dev]" -c lower.txt

installs the oldest versions that the project says it works with; docs/contributing.md has the last result.
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def bounds(project: dict) -> list[str]:
    """``name==version`` of each requirement and extra, of the versions after ``>=``.

    Args:
        project: the table ``[project]`` of a pyproject.toml.

    Raises:
        ValueError: for a requirement without a lower bound.
    """
    extras = project["optional-dependencies"].values()
    found = set()
    for requirement in [*project["dependencies"], *(row for extra in extras for row in extra)]:
        if re.split(r"[\[ ;<>=]", requirement)[0] == project["name"]:
            continue  # an extra that is made of others
        match = re.fullmatch(r"([\w.-]+)(?:\[[\w,]+\])?>=([\w.]+)(?:,.*)?", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound; give one: NAME>=VERSION")
        found.add(f"{match[1]}=={match[2]}")
    return sorted(found)


if __name__ == "__main__":
    print("\n".join(bounds(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"])))
