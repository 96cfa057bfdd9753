"""Chromium, for the tests that need a real browser."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.conftest import require
from tests.support.waiting import DEADLINE

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

# Without a sandbox, which root can't have, and without phoning home.
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@asynccontextmanager
async def chromium() -> AsyncIterator["Browser"]:
    """A browser of Playwright's; skips the test where a part of it is missing."""
    require(module="playwright")
    program = require(program="chromium")
    from playwright.async_api import async_playwright

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=OPTIONS)
        try:
            yield browser
        finally:
            await browser.close()


@pytest.fixture
async def page() -> AsyncIterator["Page"]:
    async with chromium() as browser:
        page = await browser.new_page()
        page.set_default_timeout(DEADLINE * 1000)
        yield page
