"""The suite does not see the environment of who runs it."""

import os
import subprocess
import sys

from tests.support.environment import ROOT, environment

TEST = """
import os
from tests.support.environment import installer_environment

def test_it():
    names = {name for name in os.environ if not name.startswith(("PYTEST_", "COVERAGE_"))}
    # Python itself sets LC_CTYPE where no locale is set.
    assert names - {"LC_CTYPE", "LD_LIBRARY_PATH", "TMPDIR", "SUITE_INSTALLER_ENVIRONMENT"} == {
        "DJANGO_SETTINGS_MODULE", "HOME", "PATH", "TZ"
    }
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "tests.settings"
    assert installer_environment()["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert os.environ["TZ"] == "UTC"  # by Django
"""
RICH = {
    "DJANGO_SETTINGS_MODULE": "another.settings",
    "FORWARDED_ALLOW_IPS": "*",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "LANG": "de_DE.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "REDIS_URL": "redis://example.org",
    "TZ": "Asia/Tokyo",
}


def test_variables_of_the_machine_are_dropped(tmp_path):
    (tmp_path / "test_it.py").write_text(TEST)
    options = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", f"--rootdir={ROOT}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-c", ROOT / "pyproject.toml", tmp_path],
        cwd=ROOT,
        env=environment(**RICH),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_process_gets_what_it_needs(monkeypatch):
    for name, value in RICH.items():
        monkeypatch.setenv(name, value)
    given = environment(TZ="UTC")
    assert given["PATH"] == os.environ["PATH"]
    assert given["TZ"] == "UTC"
    assert not given.keys() & (RICH.keys() - {"TZ"})
