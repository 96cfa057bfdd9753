"""The same attacks, where aiohttp has no extension in C and parses in Python."""

import asyncio
import sys

from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

ATTACKS = ["hostile", "floods", "fuzz"]


async def test_stands_the_same_attacks(tmp_path):
    paths = [f"tests/gateway/test_{name}.py" for name in ATTACKS]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths,
        cwd=ROOT,
        env=environment(AIOHTTP_NO_EXTENSIONS="1", FEW_CASES="1"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, output.decode()
    assert b" passed" in output
