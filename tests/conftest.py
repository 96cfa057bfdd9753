"""What the whole suite shares.

A test that needs something a machine may lack (a browser, a server) skips with a reason that begins
with "needs ", best by `require()`. With CI set in the environment such a skip is a failure: a
machine that is set up to run everything cannot quietly run less. There, tests that can be as
thorough as one likes are, unless FEW_CASES is set as well.

With QUICK set, as `make test-quick` does, what needs a browser, another server or a whole site in
processes of its own is left out.
"""

import importlib.util
import os
import re
import shutil
import signal
from pathlib import Path

import hypothesis
import pytest

from aiodjango.test import close_orm_threads
from tests.support.environment import drop_other_variables

drop_other_variables()
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # The suite runs in the background of a script: its servers would ignore Ctrl-C as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis would choose another profile in CI, and elsewhere complain about a slow machine.
hypothesis.settings.register_profile(
    "suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("suite")

# Whether to try thousands of cases where a hundred will do while one works.
THOROUGH = bool(os.environ.get("CI")) and not os.environ.get("FEW_CASES")
QUICK = bool(os.environ.get("QUICK"))
# Folders and files of tests of whole sites, and what takes more than some seconds.
NOT_QUICK = (
    "broadcast", "dev/test_accesslog.py", "dev/test_application.py", "dev/test_blocked.py",
    "dev/test_ending.py", "dev/test_options.py", "dev/test_reload.py", "dev/test_serving.py",
    "gateway/test_fuzz.py", "gateway/test_parser_in_python.py", "orm",
    "routes/test_differential.py", "runner/test_bodies.py", "runner/test_responses.py",
    "runner/test_runner.py", "runner/test_targets.py", "runner/test_worker.py",
    "system/deploy", "system/django_suites", "system/docs", "system/example", "system/packages",
    "system/test_hostile_clients.py", "system/test_packaging.py", "test/test_examples.py",
)  # fmt: skip
# How a Debian machine gets a missing part, where the package's name is not the program's.
DEBIAN = {"nginx": "nginx-light", "PostgreSQL": "postgresql", "setpriv": "util-linux"}
# Seconds for a process that is of no use any more to write down which lines it has run: `make
# coverage` wants to know.
LAST_WORDS = 5 if "COVERAGE_PROCESS_CONFIG" in os.environ else 0


def require(*, program: str | None = None, module: str | None = None) -> str:
    """Skip the test unless a program is on PATH, or a module can be imported.

    Returns the program's path, or the module's name. Debian keeps servers off the PATH of users.
    """
    if program is not None:
        if QUICK:
            pytest.skip(f"not in a quick run: {program}", allow_module_level=True)
        folders = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
        path = shutil.which(program, path=os.pathsep.join(folders))
        if path is None:
            pytest.skip(f"needs the program {program}", allow_module_level=True)
        return path
    if module is None:
        raise TypeError("require() needs program= or module=")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"needs the module {module}", allow_module_level=True)
    return module


def refuse_missing_part(report):
    """Turn a skip for a missing part into a failure, on a CI machine."""
    if os.environ.get("CI") and report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if reason.startswith(("needs ", "could not import ")):
            report.outcome = "failed"
            report.longrepr = f"skipped on a CI machine: {reason}"
    return report


def pytest_collection_modifyitems(config, items):
    if not QUICK:
        return
    here = Path(__file__).parent
    left_out = [here / name for name in NOT_QUICK]
    quick = {True: [], False: []}
    for item in items:
        slow = any(folder in (item.path, *item.path.parents) for folder in left_out)
        quick[not slow and not item.get_closest_marker("browser")].append(item)
    items[:] = quick[True]
    config.hook.pytest_deselected(items=quick[False])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter):
    """Say in one line, after all else, what was skipped and what to install for it."""
    yield
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [report.longrepr[2].removeprefix("Skipped: ") for report in skipped]
    reasons = [reason for reason in reasons if not reason.startswith("not in a quick run")]
    if reasons:
        terminalreporter.write_line(describe_skips(reasons))


def describe_skips(reasons):
    """One line about skipped tests, with what to install for them."""
    packages, commands, others = set(), set(), set()
    for reason in reasons:
        if match := re.match(r"needs (?:the program )?(\S+)$", reason):
            packages.add(DEBIAN.get(match[1], match[1]))
        elif reason.startswith(("needs the module ", "could not import ")):
            commands.add('pip install -e ".[test,packages]"')
        else:
            others.add(reason)
    if packages:
        commands.add(f"apt-get install {' '.join(sorted(packages))}")
    line = f"Skipped tests: {len(reasons)}."
    if commands:
        line += f" To run them: {', '.join(sorted(commands))}."
    if others:
        line += f" {'Others' if commands else 'Reasons'}: {'; '.join(sorted(others))}."
    return line


@pytest.fixture(scope="session", autouse=True)
def no_orm_threads_left():
    """The ORM threads belong to the process; the suite ends them, with their connections."""
    yield
    close_orm_threads()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return refuse_missing_part((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return refuse_missing_part((yield))
