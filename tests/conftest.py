"""What the whole suite shares.

A test that needs something a machine may lack (a browser, a server) skips with a reason that begins
with "needs ", best by `require()`. With CI set in the environment such a skip is a failure: a
machine that is set up to run everything cannot quietly run less. There, tests that can be as
thorough as one likes are, unless FEW_CASES is set as well.
"""

import importlib.util
import os
import shutil
import signal

import hypothesis
import pytest

from aiodjango.database import close_orm_threads
from tests.environment import drop_other_variables

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
# Seconds for a process that is of no use any more to write down which lines it has run: `make
# coverage` wants to know.
LAST_WORDS = 5 if "COVERAGE_PROCESS_CONFIG" in os.environ else 0


def require(*, program: str | None = None, module: str | None = None) -> str:
    """Skip the test unless a program is on PATH, or a module can be imported.

    Returns the program's path, or the module's name. Debian keeps servers off the PATH of users.
    """
    if program is not None:
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
