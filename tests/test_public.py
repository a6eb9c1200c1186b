"""What is promised is exported and documented: every name that a public room has in its ``__all__``."""

import ast
import importlib
import inspect
import re
import types

import pytest

import keras_neuronlevel as nl

ROOMS = {name: importlib.import_module(f"keras_neuronlevel.{name}") for name in nl.__all__}


def members(kind):
    """{dotted name: value} of what a class promises itself, its properties as the functions they are."""
    plain = {name: inspect.unwrap(getattr(value, "__func__", value)) for name, value in vars(kind).items()}
    plain = {name: value.fget if isinstance(value, property) else value for name, value in plain.items()}
    own = {name: value for name, value in plain.items() if inspect.isfunction(value)}
    return {name: value for name, value in own.items() if name[0] != "_"}


def promised(module):
    """{name: function or class} of a room, with the methods and properties of its classes."""
    found = {}
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value):
            found |= {name: value, **{f"{name}.{inner}": what for inner, what in members(value).items()}}
        elif inspect.isfunction(value):
            found[name] = inspect.unwrap(value)
    return found


def untyped(function):
    """The arguments of a function that have no type hint, and ``return`` where its value has none."""
    signature = inspect.signature(function)
    named = [one for one in signature.parameters.values() if one.name not in ("self", "cls")]
    missing = [one.name for one in named if one.annotation is one.empty]
    silent = signature.return_annotation is signature.empty and function.__name__ != "__init__"
    return missing + ["return"] * silent


def undescribed(function, text):
    """What an ``Args:`` section names that is no argument of the function, and what it leaves out."""
    section = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", text, flags=re.DOTALL | re.MULTILINE)
    if section is None:
        return set()
    rows = re.findall(r"^    (\*{0,2}\w[\w, *]*):", section[1], flags=re.MULTILINE)
    named = {name.strip(" *") for row in rows for name in row.split(",")}
    parameters = inspect.signature(function).parameters.values()
    wanted = {one.name for one in parameters if one.kind is not one.VAR_KEYWORD} - {"self", "cls"}
    return wanted - named if any(one.kind is one.VAR_KEYWORD for one in parameters) else wanted ^ named


PROMISED = {
    f"{room}.{name}": what for room, module in ROOMS.items() for name, what in promised(module).items()
}
FUNCTIONS = {name: what for name, what in PROMISED.items() if not inspect.isclass(what)}
MADE = {
    name: what.__init__
    for name, what in PROMISED.items()
    if inspect.isclass(what) and inspect.isfunction(what.__init__)
}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_promises(room):
    """``__all__`` has no private name, and no public function or class of the room's own file is left out."""
    module = ROOMS[room]
    tree = ast.parse(inspect.getsource(module))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert sorted(set(module.__all__)) == sorted(module.__all__)
    assert [name for name in module.__all__ if name[0] == "_" or not hasattr(module, name)] == []
    assert {name for name in defined if name[0] != "_"} - set(module.__all__) == set()


def test_what_is_promised_has_a_docstring():
    assert [name for name, what in PROMISED.items() if not inspect.getdoc(what)] == []
    modules = [m for room in ROOMS.values() for m in vars(room).values() if isinstance(m, types.ModuleType)]
    ours = [m for m in [*ROOMS.values(), *modules] if m.__name__.startswith("keras_neuronlevel")]
    assert [module.__name__ for module in ours if not module.__doc__] == []


def test_what_is_promised_has_type_hints():
    found = {name: untyped(what) for name, what in {**FUNCTIONS, **MADE}.items()}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_sections_of_arguments_name_every_argument_and_no_other():
    texts = {name: inspect.getdoc(what) or "" for name, what in PROMISED.items()}
    found = {name: undescribed({**FUNCTIONS, **MADE}[name], texts[name]) for name in {**FUNCTIONS, **MADE}}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
