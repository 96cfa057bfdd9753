"""The environment of the suite and of every process that its tests start: a newcomer's.

    subprocess.run([sys.executable, …], env=environment(DJANGO_SETTINGS_MODULE="tests.settings"))

What a developer's shell or a CI machine sets besides (PYTHONUNBUFFERED, LANG, proxies, settings of
other projects) is dropped: a test that depends on it fails everywhere, not only on other machines.
"""

import json
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# How this machine finds programs and libraries, and where a user may write.
MACHINE = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR")
# What changes the suite itself: see conftest.py.
SUITE = ("CI", "FEW_CASES", "QUICK", "AIOHTTP_NO_EXTENSIONS")
# How pip reaches an index. A test that downloads needs it, no other may see it.
INSTALLER = re.compile(
    r"PIP_|SSL_CERT_|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|(https?|no|all)_proxy", re.I
)
INSTALLER_ENVIRONMENT = "SUITE_INSTALLER_ENVIRONMENT"  # these variables, as JSON
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


def installer_environment() -> dict[str, str]:
    """The environment of a process that downloads: with the machine's index and proxy."""
    if INSTALLER_ENVIRONMENT in os.environ:
        return environment(**json.loads(os.environ[INSTALLER_ENVIRONMENT]))
    return environment(**_installer_variables())


def drop_other_variables() -> None:
    """Take out of this process's environment what does not belong to the suite."""
    # The workers of xdist start with what is left here.
    os.environ.setdefault(INSTALLER_ENVIRONMENT, json.dumps(_installer_variables()))
    for name in list(os.environ):
        if name not in (*MACHINE, *SUITE, INSTALLER_ENVIRONMENT) and not name.startswith(TOOLS):
            del os.environ[name]


def _installer_variables() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if INSTALLER.match(name)}
