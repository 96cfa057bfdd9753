"""The chat in a real browser: two people, a phone, a server that goes away and comes back."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import require
from tests.support.browser import OPTIONS
from tests.system.example.conftest import serve
from tests.system.example.server import DEADLINE, GUNICORN, Server

require(module="playwright")

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright  # noqa: E402

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 375, "height": 667}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = require(program="chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=DEADLINE * 1000)
        browser = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield browser
        browser.close()


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a page as a visitor with cookies of their own; any error in its script fails."""
    contexts: list[BrowserContext] = []
    errors: list[str] = []

    def visit(url: str, **options: object) -> Page:
        context = browser.new_context(**options)
        context.set_default_timeout(DEADLINE * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []


def log_in(page: Page) -> None:
    """From a room, as somebody who has an account."""
    page.get_by_role("link", name="Log in to say something").click()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()


def sign_up(page: Page, name: str) -> None:
    """From a room, as somebody new."""
    page.get_by_role("link", name="Log in to say something").click()
    page.get_by_role("link", name="Make an account").click()
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password:", exact=True).fill("correct horse")
    page.get_by_label("Password confirmation").fill("correct horse")
    page.get_by_role("button", name="Join").click()


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")


def texts(page: Page) -> list[str]:
    return page.locator(".message .text").all_inner_texts()


def message(page: Page, text: str):
    return page.locator(".message", has_text=text)


def test_two_people_talk(site: Server, visit: Visit, tmp_path: Path):
    admin = visit(f"{site.url}/rooms/lobby/")
    log_in(admin)
    mira = visit(f"{site.url}/rooms/lobby/")
    sign_up(mira, "mirabel")

    for page in (admin, mira):
        expect(page.locator("#people-list .name")).to_have_text(["admin", "mirabel"])
    say(admin, "Hello <b>you</b> & all")
    expect(message(mira, "Hello <b>you</b> & all")).to_be_visible()
    expect(mira.locator("#announcer")).to_contain_text("admin: Hello <b>you</b> & all")
    mira.get_by_label("Message", exact=True).press_sequentially("Hi adm")
    expect(admin.locator("#typing")).to_have_text("mirabel is typing…")
    say(mira, "Hi admin, see https://example.org/?a=1&b=2.")
    heard = message(admin, "Hi admin")
    expect(heard).to_be_visible()
    expect(heard.get_by_role("link")).to_have_attribute("href", "https://example.org/?a=1&b=2")
    expect(admin.locator("#typing")).to_have_text("")
    expect(admin.locator(".unsent")).to_have_count(0)
    assert texts(admin) == texts(mira)
    admin.screenshot(path=tmp_path / "two-people.png")

    mira.close()
    expect(admin.locator("#people-list .name")).to_have_text(["admin"])


def test_several_lines_and_the_keyboard(site: Server, visit: Visit):
    page = visit(f"{site.url}/rooms/garden/")
    log_in(page)
    field = page.get_by_label("Message", exact=True)
    expect(field).to_be_focused()
    page.keyboard.type("First line")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("second line")
    expect(page.locator(".message.mine")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(".message.mine:not(.unsent) .text")).to_have_text(
        "First line\nsecond line", use_inner_text=True
    )
    expect(field).to_have_value("")
    # Backwards from the text field: the messages can be reached, and scrolled by keys.
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("log")).to_be_focused()


def test_a_restarted_server_is_found_again(demo_database: Path, tmp_path: Path, visit: Visit):
    with serve(GUNICORN, demo_database, tmp_path) as server:
        admin = visit(f"{server.url}/rooms/lobby/")
        log_in(admin)
        mira = visit(f"{server.url}/rooms/lobby/")
        sign_up(mira, "mirabel")
        for page in (admin, mira):
            expect(page.locator("#people-list .name")).to_have_text(["admin", "mirabel"])
        say(admin, "Before the restart")
        expect(message(mira, "Before the restart")).to_be_visible()

        server.stop()
        for page in (admin, mira):
            expect(page.locator("#status")).to_contain_text("Connection lost")
        # Said into the dark: it is shown at once, and sent when there is somebody to hear it.
        say(admin, "While the server was away")
        expect(admin.locator(".unsent")).to_have_count(1)
        admin.screenshot(path=tmp_path / "lost.png")
        server.start()

        for page in (admin, mira):
            expect(page.locator("#status")).to_be_hidden()
            expect(message(page, "While the server was away")).to_have_count(1)
            expect(page.locator("#people-list .name")).to_have_text(["admin", "mirabel"])
        expect(admin.locator(".unsent")).to_have_count(0)
        say(mira, "And here we are again")
        expect(message(admin, "And here we are again")).to_be_visible()
        assert texts(admin) == texts(mira)


def test_what_was_said_during_an_absence_is_caught_up(site: Server, visit: Visit):
    admin = visit(f"{site.url}/rooms/python/")
    log_in(admin)
    guest = visit(f"{site.url}/rooms/python/")
    expect(admin.locator("#guests")).to_have_text("1 guest reading along")
    guest.context.set_offline(True)
    expect(guest.locator("#status")).to_contain_text("Connection lost")
    for number in range(60):  # more than a page of the history
        say(admin, f"Missed number {number}.")
    expect(admin.locator(".unsent")).to_have_count(0)
    guest.context.set_offline(False)
    expect(guest.locator("#status")).to_be_hidden()
    expect(message(guest, "Missed number 59.")).to_be_visible()
    assert texts(guest)[-60:] == [f"Missed number {number}." for number in range(60)]


def test_scrolling(site: Server, visit: Visit):
    """Older messages come when wanted; new ones do not take the reader away from them."""
    admin = visit(f"{site.url}/rooms/garden/")
    log_in(admin)
    for number in range(110):
        say(admin, f"Row {number}.")
    expect(admin.locator(".unsent")).to_have_count(0)

    reader = visit(f"{site.url}/rooms/garden/")
    expect(message(reader, "Row 109.")).to_be_in_viewport()
    expect(message(reader, "Row 0.")).to_have_count(0)
    expect(admin.locator("#guests")).to_have_text("1 guest reading along")
    # The beginning of the page loads what was before it, until there is no more.
    log = reader.get_by_role("log")
    while not reader.get_by_text("This is where Garden begins.").is_visible():
        log.evaluate("log => log.scrollTop = 0")
        reader.wait_for_function("document.querySelector('#log').scrollTop > 300")
    assert [text for text in texts(reader) if text.startswith("Row")] == [
        f"Row {number}." for number in range(110)
    ]

    log.evaluate("log => log.scrollTop = 0")
    say(admin, "Something new")
    button = reader.get_by_role("button", name="1 new message")
    expect(button).to_be_visible()
    expect(message(reader, "Something new")).not_to_be_in_viewport()
    assert log.evaluate("log => log.scrollTop") == 0
    button.click()
    expect(message(reader, "Something new")).to_be_in_viewport()
    expect(button).to_be_hidden()
    say(admin, "Newer still")
    expect(message(reader, "Newer still")).to_be_in_viewport()


def test_a_message_that_is_refused_says_why(site: Server, visit: Visit):
    page = visit(f"{site.url}/rooms/lobby/")
    log_in(page)
    page.locator("#text").evaluate("field => field.removeAttribute('maxlength')")
    say(page, "a" * 2001)
    expect(page.locator(".failed .problem")).to_have_text(
        "Ensure this value has at most 2000 characters (it has 2001)."
    )


def test_the_rooms_are_alive(site: Server, visit: Visit):
    rooms = visit(f"{site.url}/")
    admin = visit(f"{site.url}/rooms/garden/")
    log_in(admin)
    garden = rooms.locator("[data-room=garden]")
    expect(garden.locator(".here")).to_have_text("1 here")
    say(admin, "News from the <i>garden</i>")
    expect(garden.locator(".last")).to_have_text("admin News from the <i>garden</i>")
    expect(rooms.locator("#rooms > li").first).to_have_attribute("data-room", "garden")
    admin.close()
    expect(garden.locator(".here")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(site: Server, visit: Visit, tmp_path: Path, scheme: str):
    page = visit(f"{site.url}/rooms/lobby/", color_scheme=scheme, **PHONE)
    log_in(page)
    say(page, "x" * 300)  # a word that is wider than the screen
    expect(page.locator(".unsent")).to_have_count(0)
    button = page.get_by_role("button", name="1 here")
    expect(page.locator("#people")).not_to_be_visible()
    button.tap()
    expect(page.locator("#people-list .name")).to_have_text(["admin"])
    expect(page.locator("#people")).to_be_visible()
    page.screenshot(path=tmp_path / "people.png")
    page.keyboard.press("Escape")
    expect(page.locator("#people")).not_to_be_visible()
    # The on-screen keyboard takes the lower half: the text field and the last words stay.
    page.set_viewport_size({"width": 375, "height": 340})
    expect(page.get_by_label("Message", exact=True)).to_be_in_viewport(ratio=1)
    page.wait_for_function("(log => log.scrollHeight - log.scrollTop - log.clientHeight < 2)(log)")
    page.screenshot(path=tmp_path / "keyboard.png")
    for path in ("/rooms/lobby/", "/", "/new/"):
        page.goto(f"{site.url}{path}")
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, path


def test_under_a_prefix(embedded: Server, visit: Visit):
    page = visit(f"{embedded.url}/site/rooms/lobby/")
    log_in(page)
    expect(page).to_have_url(f"{embedded.url}/site/rooms/lobby/")
    expect(page.locator("#people-list .name")).to_have_text(["admin"])
    say(page, "Hello from below")
    expect(page.locator(".unsent")).to_have_count(0)
    guest = visit(f"{embedded.url}/site/")
    lobby = guest.locator("[data-room=lobby]")
    expect(lobby.locator(".last")).to_have_text("admin Hello from below")
    expect(lobby.locator(".here")).to_have_text("1 here")
    lobby.get_by_role("link").click()
    expect(message(guest, "Hello from below")).to_be_visible()


def test_the_admin(site: Server, visit: Visit):
    page = visit(f"{site.url}/admin/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill("admin")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Messages", exact=True).click()
    expect(page.get_by_role("heading", name="Select message to change")).to_be_visible()
    page.locator("#searchbar").fill("snails")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("link", name="The snails send their regards.")).to_be_visible()
