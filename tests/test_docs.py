"""What the documentation says of names, options, settings, commands and checks is what they are."""

import ast
import importlib
import inspect
import re
import textwrap
from functools import reduce
from pathlib import Path

import pytest
from django.core.management import call_command, load_command_class
from django.core.management.base import BaseCommand

import aiodjango
import aiodjango.test
import pytest_aiodjango
from aiodjango.checks import BYPASSED
from aiodjango.conf import (
    broadcast_setting,
    load_aio_application,
    load_aio_application_factory,
    orm_thread_count,
    transaction_timeout,
    watch_interval,
)
from aiodjango.gateway import Gateway

UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.rst"))
REFERENCE = ROOT / "docs" / "reference.rst"
SOURCE = "".join(path.read_text() for path in sorted((ROOT / "aiodjango").rglob("*.py")))
CHECK = r"aiodjango\.[EW]\d{3}"


def section(page, title):
    """The text under a title, until the next title of any kind."""
    text = page.read_text()
    start = re.search(rf"^{re.escape(title)}\n([=~-])\1+\n", text, re.MULTILINE)
    assert start, f"{page.name} has no {title!r}"
    rest = text[start.end() :]
    end = re.search(r"^.+\n([=~-])\1{2,}\n", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text):
    """The first two cells of a table's rows whose first one is a literal."""
    found = re.findall(r"^   \* - (?:manage\.py )?``(.+)``\n     - (.+)\n", text, re.MULTILINE)
    names = [name for name, _ in found]
    assert len(set(names)) == len(names)
    return dict(found)


def as_number(text):
    number, _, unit = text.partition(" ")
    return int(number) * UNITS.get(unit, 1) if number.isdecimal() else text


def checks():
    """The ids of all system checks. That of a bypassed middleware ends with its path."""
    return {*re.findall(rf'id="({CHECK})"', SOURCE), BYPASSED}


# ---- Names ----


def test_the_names_of_the_package_are_in_the_reference():
    names = re.findall(
        r"^\.\. (?:autofunction|autoclass|data):: (\w+)$", REFERENCE.read_text(), re.MULTILINE
    )
    assert sorted(names) == sorted(aiodjango.__all__)


def test_the_names_for_tests_are_in_the_reference():
    names = re.findall(r"^\.\. auto\w+:: aiodjango\.test\.(\w+)", REFERENCE.read_text(), re.M)
    assert sorted(names) == sorted(aiodjango.test.__all__)


@pytest.mark.parametrize("page", [REFERENCE, ROOT / "docs" / "testing.rst"], ids=lambda p: p.stem)
def test_the_fixtures_are_documented(page):
    source = inspect.getsource(pytest_aiodjango)
    fixtures = re.findall(r"@pytest\.fixture\ndef ([a-z]\w+)\(", source)
    assert len(fixtures) == 3
    assert {name for name in fixtures if f"``{name}``" in page.read_text()} == set(fixtures)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_names_that_a_page_refers_to_exist(page):
    module = "aiodjango"
    found = re.compile(
        r"^\.\. currentmodule:: (.+)$"
        r"|:(?:func|class|meth|data):`[~!]?([\w.]+)`"
        r"|^\.\. auto(?:function|class):: ([\w.]+)",
        re.MULTILINE,
    )
    for current, role, directive in found.findall(page.read_text()):
        module = current or module
        name = role or directive
        if name:
            resolve(name if name.startswith("aiodjango.") else f"{module}.{name}")


def resolve(dotted):
    """Import what a dotted name stands for. Raises ImportError or AttributeError."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        name = ".".join(parts[:count])
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Of the name itself, or of a module in front of it: the rest are attributes.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
        else:
            return reduce(getattr, parts[count:], module)
    raise ModuleNotFoundError(dotted)


def test_a_name_that_does_not_exist_is_found_out():
    with pytest.raises(AttributeError, match="set_up"):
        resolve("aiodjango.set_up")
    with pytest.raises(AttributeError, match="nowhere"):
        resolve("aiodjango.nowhere.function")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_in_a_page_is_python_and_imports_what_exists(page):
    """Most examples are files that other tests run. These are the others, with parts left out."""
    blocks = re.findall(
        r"^( *)\.\. code-block:: python\n((?:\1   .*\n|\n)+)", page.read_text(), re.MULTILINE
    )
    for _, block in blocks:
        code = textwrap.dedent(re.sub(r"^ +:\w+:.*\n", "", block, flags=re.MULTILINE))
        tree = compile(code, page.name, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and is_installed(node.module):
                module = importlib.import_module(node.module)
                for name in node.names:
                    assert hasattr(module, name.name), f"{node.module}.{name.name}"


def is_installed(module):
    """Whether a module is no part of a project that an example is about."""
    return module is not None and module.partition(".")[0] in {"aiodjango", "aiohttp", "django"}


# ---- Options ----


def fallback_options():
    parameters = list(inspect.signature(Gateway).parameters.values())[1:]
    defaults = {parameter.name: parameter.default for parameter in parameters}
    del defaults["at_thread_end"]  # the fallback's own
    return defaults


def test_every_option_of_the_fallback_is_documented_with_its_default():
    defaults = fallback_options()
    documented = {
        name: as_number(text) for name, text in rows(section(REFERENCE, "Options")).items()
    }
    assert documented.pop("forwarded_allow_ips") == "``$FORWARDED_ALLOW_IPS`` or ``127.0.0.1,::1``"
    assert defaults.pop("forwarded_allow_ips") is None
    assert documented == defaults


def test_every_option_of_the_fallback_is_explained_in_the_source():
    explained = re.findall(r"^([a-z_]+): ", inspect.getdoc(Gateway), re.MULTILINE)
    assert explained == ["application", *fallback_options(), "at_thread_end"]


@pytest.mark.parametrize("name", ["setup", "get_aio_subapp", "get_aio_routes"])
def test_every_parameter_of_an_entry_point_is_documented(name):
    function = getattr(aiodjango, name)
    documented = re.findall(r"^:param (\w+):", inspect.getdoc(function), re.MULTILINE)
    assert documented == list(inspect.signature(function).parameters)


def test_an_application_takes_the_parameters_of_setup():
    _, *of_setup = inspect.signature(aiodjango.setup).parameters.values()
    assert list(inspect.signature(aiodjango.get_aio_application).parameters.values()) == of_setup


# ---- Settings ----


def test_every_setting_is_documented_with_its_default(settings):
    defaults = {
        "AIO_APPLICATION": load_aio_application(),
        "AIO_APPLICATION_FACTORY": load_aio_application_factory(),
        "AIO_BROADCAST": broadcast_setting()["BACKEND"],
        "AIO_ORM_THREADS": orm_thread_count(),
        "AIO_TRANSACTION_TIMEOUT": transaction_timeout(),
        "AIO_WATCH_INTERVAL": watch_interval(),
    }
    assert not any(hasattr(settings, name) for name in defaults)
    assert set(re.findall(r'getattr\(settings, "(AIO_\w+)"', SOURCE)) == set(defaults)
    documented = rows(section(REFERENCE, "Settings"))
    for name in ("AIO_APPLICATION", "AIO_APPLICATION_FACTORY"):
        assert documented.pop(name) == "not set"
        assert defaults.pop(name) is None
    assert documented.pop("AIO_BROADCAST") == "the memory back end"
    assert defaults.pop("AIO_BROADCAST").endswith("MemoryBackend")
    assert documented == {name: str(default) for name, default in defaults.items()}


# ---- Commands ----


def options(command):
    """The options of a command's parser."""
    parser = command.create_parser("manage.py", "command")
    return {text for action in parser._actions for text in action.option_strings}


def own_options(name):
    """Those that neither every command has nor Django's of that name."""
    command = load_command_class("aiodjango", name)
    base = type(command).__base__
    others = BaseCommand() if base is BaseCommand else base()
    return options(command) - options(others)


def test_the_commands_are_documented_with_their_options():
    folder = ROOT / "aiodjango" / "management" / "commands"
    names = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    documented = {
        name.removeprefix("manage.py "): set(re.findall(r"``(--\w+)``", cell))
        for name, cell in rows(section(REFERENCE, "Commands")).items()
    }
    assert documented == {name: own_options(name) for name in names}


def test_the_options_of_runserver_are_documented():
    text = section(ROOT / "docs" / "runserver.rst", "Options")
    documented = set(re.findall(r"``(--?\w[\w-]*)``", text))
    assert documented <= options(load_command_class("aiodjango", "runserver"))
    assert own_options("runserver") <= documented


def test_the_formats_of_aioroutes_are_documented(capsys):
    command = load_command_class("aiodjango", "aioroutes")
    parser = command.create_parser("manage.py", "aioroutes")
    (choices,) = [
        action.choices for action in parser._actions if "--format" in action.option_strings
    ]
    text = section(REFERENCE, "Commands")
    for form in choices:
        assert f"``{form}``" in text
        call_command("aioroutes", format=form)
        assert capsys.readouterr().out


# ---- Checks and logs ----


def test_the_checks_that_exist_are_the_documented_ones():
    existing = checks()
    text = section(REFERENCE, "System checks")
    assert re.findall(rf"^   \* - ``({CHECK})", text, re.MULTILINE) == sorted(existing)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_checks_that_a_page_names_exist(page):
    named = set(re.findall(rf"{CHECK}", page.read_text()))
    assert named <= checks()


def test_the_loggers_are_documented():
    own = set(re.findall(r'getLogger\("(aiodjango[\w.]*)"\)', SOURCE))
    documented = {name for name in rows(section(REFERENCE, "Loggers")) if "," not in name}
    assert documented == own
