"""The same attacks, where aiohttp has no extension in C and parses in Python."""

import asyncio
import sys

import pytest

from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE, LONGER

ATTACKS = ["hostile", "floods", "fuzz"]


# Each of those tests has a limit of its own; this one would end before it has told which hangs.
@pytest.mark.timeout(LONGER + DEADLINE)
async def test_stands_the_same_attacks(tmp_path):
    paths = [f"tests/gateway/test_{name}.py" for name in ATTACKS]
    log = tmp_path / "log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", *paths,
            "-o", f"faulthandler_timeout={DEADLINE}",  # tells where a test hangs
            cwd=ROOT,
            env=environment(AIOHTTP_NO_EXTENSIONS="1", FEW_CASES="1"),
            stdout=file,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    try:
        returncode = await asyncio.wait_for(process.wait(), LONGER)
    except TimeoutError:
        returncode = None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    output = log.read_text()
    assert returncode == 0, output
    assert " passed" in output
