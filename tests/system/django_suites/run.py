"""Runs suites of Django's own tests on the test clients and the live server of aiodjango.

    python -m tests.system.django_suites.run

The tests are not installed with Django: they come with its source distribution, from the package
index that pip uses. What fails is compared with `cannot_pass.toml`: a test that fails and is not
listed there is an error, and so is one that is listed and passes.
"""

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

import django

from tests.support.environment import ROOT, environment, installer_environment

HERE = Path(__file__).parent
# The list is for one version of Django: its tests change.
DJANGO = (6, 1)

SUITES = [
    *("test_client", "test_client_regress", "servers", "messages_tests", "csrf_tests"),
    *(
        f"auth_tests.test_{name}"
        for name in (
            *("auth_backends", "context_processors", "decorators", "middleware", "mixins"),
            *("remote_user", "signals", "views"),
        )
    ),
]


OPTIONS = ["--settings=aio_settings", "--parallel=1", "--verbosity=2"]
# After how long (seconds) the suites, which take some ten, are taken to hang.
PATIENCE = 500


class NoSource(Exception):
    """The source distribution of Django could not be downloaded."""


def download_tests(folder: Path) -> Path:
    """Download the tests of the installed Django into a folder. Returns where they are.

    Raises NoSource where no package index has them.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    # Built with what is installed here: pip reads the name and the version, no more.
    options = ["--no-binary", "django", "--no-build-isolation", "--retries", "1"]
    done = subprocess.run(
        [*pip, *options, f"django=={django.__version__}"],
        capture_output=True,
        text=True,
        env=installer_environment(),
    )
    if done.returncode:
        raise NoSource(done.stderr.strip())
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    (tests,) = folder.glob("*/tests")
    return tests


def run_suites(tests: Path) -> tuple[dict, str]:
    """Run the suites. Returns their outcome, as `aio_runner` writes it, and their output."""
    results = tests / "aio_results.json"
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "runtests.py", *OPTIONS, *SUITES],
        cwd=tests,
        env=environment(PYTHONPATH=os.pathsep.join([str(ROOT), str(HERE)]), RESULTS=str(results)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)  # faulthandler writes where each thread is
        output, _ = process.communicate()
    finally:
        process.kill()
    if not results.exists():
        raise RuntimeError(f"The suites did not run to their end:\n{output}")
    return json.loads(results.read_text()), output


def read_list() -> dict[str, str]:
    """The tests that cannot pass, each with the reason."""
    groups = tomllib.loads((HERE / "cannot_pass.toml").read_text())["group"]
    return {test: group["reason"] for group in groups for test in group["tests"]}


def compare(outcome: dict, listed: dict[str, str]) -> list[str]:
    """What is wrong with the outcome of the suites."""
    failed = outcome["failed"]
    return [
        *(f"{test} failed:\n{failed[test]}" for test in sorted(failed.keys() - listed.keys())),
        *(f"{test} is listed, and passes" for test in outcome["passed"] if test in listed),
        *(
            f"{test} is listed, and was not run"
            for test in sorted(listed.keys() - failed.keys() - set(outcome["passed"]))
        ),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="aiodjango-suites-") as folder:
        outcome, _ = run_suites(download_tests(Path(folder)))
    wrong = compare(outcome, read_list())
    print(*wrong, sep="\n\n")
    numbers = ", ".join(f"{len(tests)} {kind}" for kind, tests in outcome.items())
    print(f"{numbers}; {len(wrong)} not as listed")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
