"""The Python examples of README and guide, page by page, as they stand there.

    python tests/examples.py README.md

prints those of one page, as a script.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATHS = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
BLOCK = re.compile(r"^```python\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
PAGES = {name: BLOCK.findall(path.read_text(encoding="utf-8")) for name, path in PATHS.items()}

if __name__ == "__main__":
    print("\n".join(PAGES[sys.argv[1]]), end="")
