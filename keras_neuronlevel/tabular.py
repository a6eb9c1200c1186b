"""Data frames where pandas is installed, and one sentence where it is not."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["pandas"]


def pandas() -> ModuleType:
    """The module pandas, an optional extra.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError:
        raise ImportError("a data frame needs pandas, which is not installed: `pip install pandas`") from None
