"""Makes docs/_static/chat.png, the picture of the README: two browsers that talk to each other.

    .venv/bin/python docs/picture.py

It runs the example on a database of its own, and needs Chromium and the requirements of the tests.
"""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from playwright.sync_api import Browser, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "_static" / "chat.png"
WIDTH, HEIGHT, GAP = 560, 440, 16
TALK = [
    ("ben", "The talk starts at ten. Is the hall open?"),
    ("ann", "Opening it now."),
    ("ann", "This line was on your page before I let go of Enter."),
    ("ben", "So it was! And nobody polled for it."),
]
BOTH = """<body style="margin:0;display:flex;gap:{gap}px;padding:{gap}px;background:#d9d6cd">
{images}
</body>"""
IMAGE = '<img src="data:image/png;base64,{}" width="{}" style="border-radius:12px">'


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        environment = {**os.environ, "EXAMPLE_DATABASE": f"{folder}/db.sqlite3"}
        manage = [sys.executable, "manage.py"]
        subprocess.run([*manage, "demo"], cwd=ROOT, env=environment, check=True)
        command = [*manage, "runserver", "--noreload", f"127.0.0.1:{port}"]
        server = subprocess.Popen(command, cwd=ROOT, env=environment)
        try:
            wait_for(f"http://127.0.0.1:{port}/")
            PICTURE.write_bytes(draw(browser, f"http://127.0.0.1:{port}"))
        finally:
            server.terminate()
            server.wait()
            browser.close()
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1000} kB\n")


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            with urlopen(url):
                return
        except URLError:
            time.sleep(0.1)
    raise TimeoutError(url)


def draw(browser: Browser, url: str) -> bytes:
    pages = {name: enter(browser, url, name) for name in ("ben", "ann")}
    for name, text in TALK:
        pages[name].get_by_label("Message", exact=True).fill(text)
        pages[name].keyboard.press("Enter")
        for page in pages.values():
            expect(page.locator(".message .text", has_text=text)).to_be_visible()
    pages["ann"].get_by_label("Message", exact=True).press_sequentially("See you")
    expect(pages["ben"].locator("#typing")).to_have_text("ann is typing…")
    pages["ann"].wait_for_timeout(300)  # until the messages have arrived at their places
    images = [IMAGE.format(b64encode(page.screenshot()).decode(), WIDTH) for page in pages.values()]
    width, height = 2 * WIDTH + 3 * GAP, HEIGHT + 2 * GAP
    both = browser.new_page(viewport={"width": width, "height": height})
    both.set_content(BOTH.format(gap=GAP, images="".join(images)))
    return both.screenshot()


def enter(browser: Browser, url: str, name: str) -> Page:
    """Make an account, and open a room."""
    context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, locale="en-GB")
    page = context.new_page()
    page.goto(f"{url}/signup/?next=/rooms/lobby/")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password:", exact=True).fill("correct horse")
    page.get_by_label("Password confirmation").fill("correct horse")
    page.get_by_role("button", name="Join").click()
    return page


if __name__ == "__main__":
    main()
