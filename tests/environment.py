"""The environment of the suite and of every process that its tests start: a newcomer's.

    subprocess.run([sys.executable, …], env=environment(DJANGO_SETTINGS_MODULE="tests.settings"))

What a developer's shell or a CI machine sets besides (PYTHONUNBUFFERED, LANG, proxies, settings of
other projects) is dropped: a test that depends on it fails everywhere, not only on other machines.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# How this machine finds programs and libraries, and where a user may write.
MACHINE = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR")
# What changes the suite itself: see conftest.py.
SUITE = ("CI", "FEW_CASES", "QUICK", "AIOHTTP_NO_EXTENSIONS")
# Set by pytest, coverage and Django (TZ, from TIME_ZONE) for the suite's own process.
TOOLS = ("PYTEST_", "COVERAGE_", "DJANGO_SETTINGS_MODULE", "TZ")


def environment(**variables: str) -> dict[str, str]:
    """The environment of a process that a test starts.

    variables: what this process needs besides.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in MACHINE or name.startswith("COVERAGE_")
    }
    return kept | variables


def drop_other_variables() -> None:
    """Take out of this process's environment what does not belong to the suite."""
    for name in list(os.environ):
        if name not in MACHINE + SUITE and not name.startswith(TOOLS):
            del os.environ[name]
