"""Write files whole or not at all: to a temporary name first, then renamed."""

import json
import math
import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path):
    """Give a temporary path beside ``path`` with the same ending; rename it when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path, value):
    """Write a value as JSON (RFC 8259: NaN and infinities become null), numbers to seven digits."""
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(as_written(value), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )


def as_written(value):
    """What :func:`write_json` makes of a value, to be compared with what a file holds."""
    return _rounded(plain(value))


def write_text(path, text):
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_figure(path, figure, dpi=110):
    """Save a matplotlib figure as PNG, without a date in it: the same figure gives the same bytes."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi, metadata={"Software": None})


def plain(value):
    """Arrays, NumPy numbers and containers of them as JSON values; NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value
