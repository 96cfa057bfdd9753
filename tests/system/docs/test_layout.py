"""The built documentation in a browser: no page is wider than its window, and code can be read."""

import subprocess
import sys

import pytest

from tests.conftest import require
from tests.support.browser import chromium
from tests.support.environment import ROOT, environment
from tests.support.waiting import DEADLINE

CONTRAST = 4.5  # WCAG AA, for text of this size
# What is wider than the window and does not scroll inside of itself.
TOO_WIDE = """() => {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return [];
    const scrolls = (node) => node && node !== document.body
        && (getComputedStyle(node).overflowX !== "visible" || scrolls(node.parentElement));
    return [...document.querySelectorAll("article *")]
        .filter((node) => node.getBoundingClientRect().right > root.clientWidth + 1)
        .filter((node) => !scrolls(node))
        .map((node) => `${node.tagName} ${node.textContent.trim().slice(0, 60)}`)
        .slice(0, 3)
        .concat(`the page has ${root.scrollWidth} px`);
}"""
# Each text of code, with its contrast, where that is too low.
TOO_PALE = """(least) => {
    const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    // Red, green, blue and opacity of any colour that CSS knows.
    const parsed = (color) => {
        context.clearRect(0, 0, 1, 1);
        context.fillStyle = color;
        context.fillRect(0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data];
    };
    const background = (node) => {
        const color = parsed(getComputedStyle(node).backgroundColor);
        if (color[3] === 255 || !node.parentElement) return color;
        const behind = background(node.parentElement);
        return color.map((part, i) => (part * color[3] + behind[i] * (255 - color[3])) / 255);
    };
    const luminance = (color) => {
        const [red, green, blue] = color.slice(0, 3).map((part) => part / 255).map(
            (part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const pale = new Set();
    for (const code of document.querySelectorAll("pre, code, .sig")) {
        const texts = document.createTreeWalker(code, NodeFilter.SHOW_TEXT);
        while (texts.nextNode()) {
            const text = texts.currentNode.textContent.trim();
            const node = texts.currentNode.parentElement;
            if (!text || !node.checkVisibility()) continue;
            const two = [parsed(getComputedStyle(node).color), background(node)].map(luminance);
            const ratio = (Math.max(...two) + 0.05) / (Math.min(...two) + 0.05);
            if (ratio < least) pale.add(`${ratio.toFixed(1)}: ${node.className} ${text}`);
        }
    }
    return [...pale].slice(0, 5);
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages, built as `make docs` builds them: a warning is an error."""
    for module in ("sphinx", "furo", "myst_parser"):
        require(module=module)
    folder = tmp_path_factory.mktemp("html")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", folder],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout
    return sorted(folder.glob("*.html"))


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_every_page_fits_and_its_code_can_be_read(pages, width, scheme):
    faults = {}
    async with chromium() as browser:
        viewport = {"width": width, "height": 844}
        page = await browser.new_page(viewport=viewport, color_scheme=scheme)
        for path in pages:
            await page.goto(path.as_uri())
            found = await page.evaluate(TOO_WIDE) + await page.evaluate(TOO_PALE, CONTRAST)
            if found:
                faults[path.name] = found
    assert not faults


@pytest.mark.browser
async def test_the_test_sees_a_wide_page_and_pale_code(tmp_path):
    (tmp_path / "page.html").write_text(
        "<!doctype html><article><p style='width: 2000px'>wide</p>"
        "<pre style='background: #fff; color: #999'>pale</pre></article>"
    )
    async with chromium() as browser:
        page = await browser.new_page()
        await page.goto((tmp_path / "page.html").as_uri())
        assert "P wide" in await page.evaluate(TOO_WIDE)
        assert await page.evaluate(TOO_PALE, CONTRAST) == ["2.8:  pale"]
