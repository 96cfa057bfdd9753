"""What the demo's pages look like in a browser, wide and on a phone."""

import re
from pathlib import Path

import pytest

from tests.system.example.conftest import serve
from tests.system.example.server import GUNICORN, Server
from tests.system.example.test_browser import (
    PHONE,
    Visit,
    browser,  # noqa: F401
    expect,
    log_in,
    say,
    visit,  # noqa: F401
)

pytestmark = pytest.mark.browser


def test_a_page_says_which_half_answers_what(site: Server, visit: Visit):  # noqa: F811
    page = visit(f"{site.url}/rooms/lobby/")
    log_in(page)
    how = page.locator("#how")
    expect(how.locator("dl")).to_be_hidden()
    page.get_by_text("How this page works").click()
    expect(how).to_contain_text(re.compile(r"made in thread aiodjango-\d+ of process \d+"))
    expect(how).to_contain_text(re.compile(r"A WebSocket: open, \d+ events? received, 1 request"))
    say(page, "Counted")
    expect(how).to_contain_text(re.compile(r"A WebSocket: open, \d+ events received, 1 sent"))


def test_the_rooms_while_the_server_is_away(
    demo_database: Path,
    tmp_path: Path,
    visit: Visit,  # noqa: F811
):
    with serve(GUNICORN, demo_database, tmp_path) as server:
        page = visit(server.url)
        page.get_by_text("How this page works").click()
        expect(page.locator("#how")).to_contain_text("An event stream: open")
        expect(page.get_by_role("status")).to_be_hidden()
        server.stop()
        expect(page.get_by_role("status")).to_contain_text("Not connected.")
        expect(page.locator("#how")).to_contain_text("An event stream: not connected")
        expect(page.get_by_role("link", name="Lobby")).to_be_visible()
        server.start()
        expect(page.get_by_role("status")).to_be_hidden()


@pytest.mark.parametrize("target", ["/", "/login/", "/signup/", "/rooms/lobby/", "/rooms/nowhere/"])
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(
    site: Server,
    visit: Visit,  # noqa: F811
    target: str,
    width: int,
):
    page = visit(f"{site.url}{target}", viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_one_can_log_out_of_a_room_on_a_phone(site: Server, visit: Visit):  # noqa: F811
    page = visit(f"{site.url}/rooms/lobby/", **PHONE)
    log_in(page)
    button = page.get_by_role("button", name="Log out")
    expect(button).to_be_hidden()
    page.locator("#people-button").click()
    button.click()
    expect(page.get_by_role("link", name="Log in")).to_be_visible()
