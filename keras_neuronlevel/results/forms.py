"""Forms of JSON values, and what is wrong with a value that should have one.

A form is one of the words below, a list [form] of any length, or a dictionary of forms by key.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

MOST = 2**53  # of a count; beyond, not every whole number has a float of its own

NUMBER, REAL, COUNT, TEXT = "a number or null", "a number", "a whole number from 0 on", "text"
SHARE, ACCURACY, RANK = "a number from 0 to 1, or null", "a number from 0 to 1", "a number from 0 to 100"
PAIR, FLAG, ANY = "two numbers or null", "true or false", "anything"
MORE = "..."  # a key: the form of all keys beside those that are named, of which there may be any


def _is_real(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST


_FITS = {
    NUMBER: lambda v: v is None or _is_real(v),
    REAL: _is_real,
    PAIR: lambda v: v is None or (isinstance(v, list) and len(v) == 2 and all(map(_is_real, v))),
    SHARE: lambda v: v is None or (_is_real(v) and 0 <= v <= 1),
    ACCURACY: lambda v: _is_real(v) and 0 <= v <= 1,
    RANK: lambda v: _is_real(v) and 0 <= v <= 100,
    COUNT: _is_count,
    TEXT: lambda v: isinstance(v, str),
    FLAG: lambda v: isinstance(v, bool),
    ANY: lambda v: True,
}


def problems(value: Any, form: Any, where: str, complete: bool) -> Iterator[str]:
    """What is wrong with a value, a sentence each.

    Args:
        value: to be looked at.
        form: that it should have.
        where: what it is called in the sentences.
        complete: whether dictionaries must have all keys of their form, and no others.
    """
    if isinstance(form, dict):
        yield from _of_object(value, form, where, complete)
    elif isinstance(form, list):
        if not isinstance(value, list):
            yield f"{where} should be a list; it is {value!r:.40}"
            return
        for i, item in enumerate(value):
            yield from problems(item, form[0], f"{where}[{i}]", complete)
    elif not _FITS[form](value):
        yield f"{where} should be {form}; it is {value!r:.40}"


def _of_object(value, form, where, complete):
    if not isinstance(value, dict):
        yield f"{where} should be an object; it is {value!r:.40}"
        return
    for key in form:
        if key in value and key != MORE:
            yield from problems(value[key], form[key], f"{where}/{key}", complete)
        elif complete and key != MORE:
            yield f"{where} lacks {key!r}"
    for key in value:
        if key not in form and MORE in form:
            yield from problems(value[key], form[MORE], f"{where}/{key}", complete)
        elif key not in form and complete:
            yield f"{where} has {key!r}, which the schema does not know{nearest(key, form)}"


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence that names what is spelt alike."""
    near = difflib.get_close_matches(str(name), known, n=2)
    return f"; nearest: {', '.join(near)}" if near else ""
