"""Whatever names the supported versions of Python and Django names the same ones."""

import re
import tomllib

import pytest

import aiodjango
from tests.support.environment import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def classified(prefix):
    """The versions that the classifiers of the package name, oldest first."""
    pattern = re.compile(re.escape(prefix) + r" :: (\d+)\.(\d+)$")
    found = [pattern.match(line) for line in PROJECT["classifiers"]]
    return [(int(match[1]), int(match[2])) for match in found if match]


def numbers(text):
    return [tuple(map(int, version.split("."))) for version in re.findall(r"\d+\.\d+", text)]


PYTHONS = classified("Programming Language :: Python")
DJANGOS = classified("Framework :: Django")


def oldest(name):
    (found,) = (line for line in PROJECT["dependencies"] if line.startswith(name))
    return numbers(found)[0]


def test_no_version_is_left_out():
    first, last = PYTHONS[0], PYTHONS[-1]
    assert [(3, minor) for minor in range(first[1], last[1] + 1)] == PYTHONS


def test_requirements():
    assert numbers(PROJECT["requires-python"]) == PYTHONS[:1]
    assert oldest("django") == DJANGOS[0]


@pytest.mark.parametrize("page", ["README.md", "docs/index.rst"])
def test_what_users_read(page):
    text = " ".join((ROOT / page).read_text().split())
    (stated,) = re.findall(r"runs on Python (.+?), Django (.+?) and aiohttp (\S+)\.\s", text)
    assert numbers(stated[0]) == [PYTHONS[0], PYTHONS[-1]]
    assert numbers(stated[1]) == [DJANGOS[0], DJANGOS[-1]]
    assert numbers(stated[2]) == [oldest("aiohttp")]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_what_a_newcomer_needs(page):
    text = (ROOT / page).read_text()
    assert numbers(" ".join(re.findall(r"Python \d\.\d+ or newer", text))) == PYTHONS[:1]


def test_make_finds_each():
    text = (ROOT / "Makefile").read_text()
    (tried,) = re.findall(r"for python in python3 (.+);", text)
    assert sorted(numbers(tried)) == PYTHONS
    (needed,) = set(re.findall(r"sys\.version_info < \((\d, \d+)\)", text))
    assert needed == "{}, {}".format(*PYTHONS[0])


def test_ci_runs_each():
    (matrix,) = re.findall(r"^pairs=\((.+)\)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    pairs = [tuple(numbers(pair)) for pair in matrix.split() if "t:" not in pair]
    assert sorted({python for python, _ in pairs}) == PYTHONS
    assert sorted({django for _, django in pairs}) == DJANGOS
    # The newest with the newest, and the oldest with the oldest.
    assert (PYTHONS[-1], DJANGOS[-1]) in pairs
    assert (PYTHONS[0], DJANGOS[0]) in pairs


def test_what_ci_runs_is_there():
    text = (ROOT / ".ci/run").read_text()
    for folder, names in re.findall(r"(tests/[\w/]*)\{(.+?)\}", text):
        for name in names.split(","):
            assert (ROOT / folder / name).exists()


def test_the_workflow_runs_each():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (matrix,) = re.findall(r"python: (\[.+\])", text)
    assert numbers(matrix) == PYTHONS


def test_the_citation_has_the_version():
    assert f"\nversion: {aiodjango.__version__}\n" in (ROOT / "CITATION.cff").read_text()
