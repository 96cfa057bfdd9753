"""What gets built and installed, and that every module stands on its own."""

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes

import pytest

import aiodjango
from tests.conftest import require
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

PACKAGE = ROOT / "aiodjango"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in SOURCES
]
# What the package declares, and no more: a transitive dependency may go away without notice.
DEPENDENCIES = {"aiodjango", "aiohttp", "asgiref", "django", "yarl"}


def python(*arguments, cwd, **variables):
    """Run this interpreter apart from the suite; return its output, or fail with it."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the source distribution, built from a copy: the checkout stays as it was."""
    require(module="build")
    require(module="setuptools")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "_build", "dist", "*.sqlite3*"
    )
    shutil.copytree(ROOT, source, ignore=unwanted)
    python(
        "-m", "build", "--no-isolation", "--sdist", "--wheel", "--outdir", str(folder), cwd=source
    )
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


def test_wheel_holds_the_package_and_nothing_else(built):
    wheel, _ = built
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    expected = [str(path.relative_to(ROOT)) for path in SOURCES]
    expected += ["aiodjango/py.typed", "pytest_aiodjango.py"]
    assert sorted(names) == sorted(expected)


def test_wheel_metadata(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as archive:
        folder = f"aiodjango-{aiodjango.__version__}.dist-info"
        metadata = message_from_bytes(archive.read(f"{folder}/METADATA"))
        assert b"BSD 3-Clause" in archive.read(f"{folder}/licenses/LICENSE")
    assert metadata["Name"] == "aiodjango"
    assert metadata["Version"] == aiodjango.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    required = {
        re.match(r"[\w-]+", line)[0]
        for line in metadata.get_all("Requires-Dist")
        if "extra ==" not in line
    }
    assert required == DEPENDENCIES - {"aiodjango"}


def test_source_distribution_holds_what_a_packager_needs(built):
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "pyproject.toml",
        "pytest_aiodjango.py",
        "setup.py",
        "aiodjango/__init__.py",
        "docs/index.rst",
        "manage.py",
        "example/settings.py",
        "tests/conftest.py",
        "tests/settings.py",
    } <= names


def test_installed_wheel_works_without_the_checkout(built, tmp_path):
    wheel, _ = built
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    script = (
        "import aiodjango; from pathlib import Path;"
        "from django.core.management import load_command_class;"
        "print(Path(aiodjango.__file__).parent);"
        "print(sorted(set(aiodjango.__all__) - set(dir(aiodjango))));"
        "print(type(load_command_class('aiodjango', 'runserver')).__module__)"
    )
    output = python("-W", "error", "-c", script, cwd=tmp_path, PYTHONPATH=str(target))
    assert output.splitlines() == [
        str(target / "aiodjango"),
        "[]",
        "aiodjango.management.commands.runserver",
    ]


def test_changelog_begins_with_this_version():
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == aiodjango.__version__


def test_installed_version_is_the_checkouts():
    try:
        version = importlib.metadata.version("aiodjango")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the checkout is used without being installed")
    assert version == aiodjango.__version__


@pytest.mark.parametrize("module", MODULES)
def test_module_can_be_imported_first(module):
    """In a fresh interpreter, warnings as errors: no circular import, no thread started."""
    script = f"import {module}, threading; print(threading.active_count())"
    assert python("-W", "error", "-c", script, cwd=ROOT).strip() == "1"


@pytest.mark.parametrize("source", SOURCES, ids=MODULES)
def test_module_uses_declared_dependencies_only(source):
    used = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            used |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            used.add(node.module.partition(".")[0])
    # For type checkers alone, and a module of the standard library from 3.14 on.
    used -= {"_typeshed", "annotationlib"}
    if source.stem == "worker":
        used -= {"gunicorn", "uvloop"}  # which import it, or which its user has installed
    if source.parent.name == "broadcast":
        used -= {source.stem, "psycopg"}  # each back end uses the client of its broker
    assert used - sys.stdlib_module_names <= DEPENDENCIES
