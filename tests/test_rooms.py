"""The rooms of the package, and who may import whom: CONTRIBUTING.md shows them."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import aiodjango

PACKAGE = Path(aiodjango.__file__).parent

# A module or a folder at the top of the package, and what else of the package it imports.
IMPORTS = {
    "runtime": "",
    "conf": "",
    "converters": "",
    "resources": "",
    "gateway": "runtime",
    "orm": "conf runtime",
    "urlconf": "converters",
    "notes": "runtime urlconf",
    "broadcast": "conf runtime",
    "fallback": "gateway orm resources urlconf",
    "files": "gateway resources runtime",
    "views": "fallback gateway urlconf orm broadcast converters resources conf runtime notes",
    "routes": "views gateway urlconf converters resources runtime",
    "checks": "views urlconf broadcast conf",
    "apps": "checks views",
    "subapp": "routes views fallback files urlconf orm broadcast conf runtime notes",
    "runner": "gateway runtime",
    "worker": "runner",
    "dev": "subapp runner gateway conf",
    "test": "dev subapp runner gateway views orm broadcast conf runtime",
    "management": "aiodjango dev subapp broadcast urlconf notes",
    "aiodjango": "subapp runner fallback views urlconf orm notes",
}
# Rooms of which others import the face, `__init__.py`, and no module.
WITH_FACES = {"gateway", "orm", "notes"}
# Rooms whose modules need each other's types.
WITH_CYCLES = {"orm"}
# As a chain of imports from room to room.
MAX_FLOORS = 8
# In lines.
MAX_FILE, MAX_FUNCTION = 350, 50
# What the gateway is without.
NOT_FOR_THE_GATEWAY = {"django", "yarl"}


def modules():
    for path in PACKAGE.rglob("*.py"):
        *folders, name = path.relative_to(PACKAGE).with_suffix("").parts
        yield path, [*folders, name]


def room(parts):
    return parts[0] if parts and parts[0] != "__init__" else "aiodjango"


def imported(path, parts):
    """The names of the modules that a module imports anywhere, ours as lists of parts."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")
        elif isinstance(node, ast.ImportFrom):
            above = ["aiodjango", *parts[: len(parts) - node.level]] if node.level else []
            module = [*above, *(node.module or "").split(".")] if node.module else above
            for alias in node.names:
                yield [*module, alias.name]


def is_module(parts):
    path = PACKAGE.joinpath(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def rooms_imported(path, parts):
    for name in imported(path, parts):
        if name[0] == "aiodjango":
            inner = name[1:]
            yield room(inner[:1] if is_module(inner[:1]) else [])


@cache
def imports_of_rooms():
    found = {}
    for path, parts in modules():
        here = room(parts)
        found.setdefault(here, set()).update(set(rooms_imported(path, parts)) - {here})
    return found


def module_of(name):
    """The longest beginning of a dotted name, as a list of parts, that is a module of ours."""
    while name and not is_module(name):
        name = name[:-1]
    return ".".join(name)


@cache
def imports_inside_rooms():
    """What each module imports, in functions and for types too, by room."""
    found = {}
    for path, parts in modules():
        own = ".".join(part for part in parts if part != "__init__")
        names = [name[1:] for name in imported(path, parts) if name[0] == "aiodjango"]
        found.setdefault(room(parts), {})[own] = {module_of(name) for name in names} - {own}
    return found


def test_every_room_is_known():
    assert imports_of_rooms().keys() == IMPORTS.keys()


@pytest.mark.parametrize("name", IMPORTS)
def test_a_room_imports_what_the_table_says(name):
    assert imports_of_rooms()[name] == set(IMPORTS[name].split())


def contributing():
    return PACKAGE.parent.joinpath("CONTRIBUTING.md").read_text()


def rows_of_the_map():
    for line in contributing().splitlines():
        if line.startswith("| `"):
            names = line.split("|")[1].split(",")
            yield [name.strip(" `/").removesuffix(".py") for name in names]


def test_the_map_shows_every_room_above_those_that_it_imports():
    places = {name: place for place, row in enumerate(rows_of_the_map()) for name in row}
    assert places.keys() | {"aiodjango"} == IMPORTS.keys()
    for name, place in places.items():
        for other in imports_of_rooms()[name] - {"aiodjango"}:
            assert place <= places[other], (name, other)


def test_what_the_map_names_exists():
    named = re.findall(r"`([a-z_/]+(?:\.py|/))`", contributing().partition("## The map")[2])
    assert named
    for name in named:
        assert (PACKAGE / name).exists() or (PACKAGE.parent / name).exists(), name


def test_faces_are_what_others_import():
    for path, parts in modules():
        for name in imported(path, parts):
            if name[0] == "aiodjango" and room(name[1:]) in WITH_FACES - {room(parts)}:
                assert module_of(name[1:]) == room(name[1:]), path


@pytest.mark.parametrize("name", sorted(IMPORTS.keys() - WITH_CYCLES))
def test_modules_of_a_room_import_one_way(name):
    # A cycle is a CycleError.
    TopologicalSorter(imports_inside_rooms()[name]).prepare()


def test_imports_go_down():
    @cache
    def floor(name):
        return 1 + max(map(floor, imports_of_rooms()[name]), default=0)

    # A cycle would be a RecursionError.
    assert max(floor(name) for name in IMPORTS if name not in ("aiodjango", "management")) <= (
        MAX_FLOORS
    )


def test_files_and_functions_are_short():
    for path, _ in modules():
        text = path.read_text()
        assert text.count("\n") <= MAX_FILE, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < MAX_FUNCTION, (path, node.name)


def test_the_gateway_knows_nothing_of_django():
    for path, parts in modules():
        if room(parts) == "gateway":
            assert not NOT_FOR_THE_GATEWAY & {name[0] for name in imported(path, parts)}, path
