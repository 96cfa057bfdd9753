"""The sync half: pages, forms, the admin, static files and the demo command."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.system.example.client import Client, log_in, post_form
from tests.system.example.conftest import serve
from tests.system.example.server import GUNICORN, Server, manage


async def test_rooms_show_what_was_said_last(guest: Client):
    async with guest.get("/") as answer:
        page = await answer.text()
    assert answer.status == 200
    assert "The snails send their regards." in page


async def test_a_guest_is_invited_to_log_in_and_comes_back(guest: Client):
    async with guest.get("/rooms/garden/") as answer:
        page = await answer.text()
    assert 'id="composer"' not in page
    assert 'href="/login/?next=/rooms/garden/"' in page
    answer = await post_form(
        guest, "/login/?next=/rooms/garden/", username="admin", password="admin"
    )
    assert (answer.status, answer.headers["Location"]) == (302, "/rooms/garden/")
    async with guest.get("/rooms/garden/") as answer:
        assert 'id="composer"' in await answer.text()


async def test_a_wrong_password_does_not_log_in(guest: Client):
    answer = await post_form(guest, "/login/", username="admin", password="wrong")
    assert answer.status == 200
    assert "sessionid" not in guest.cookie_jar.filter_cookies(answer.url)


async def test_an_account_is_made_and_logged_in(guest: Client):
    answer = await post_form(
        guest,
        "/signup/?next=/rooms/python/",
        username="newcomer",
        password1="correct horse",
        password2="correct horse",
    )
    assert (answer.status, answer.headers["Location"]) == (302, "/rooms/python/")
    async with guest.get("/rooms/python/") as page:
        assert 'data-user="newcomer"' in await page.text()
    answer = await post_form(guest, "/logout/", page="/")
    assert answer.status == 302
    async with guest.get("/rooms/python/") as page:
        assert 'data-user=""' in await page.text()


async def test_signing_up_does_not_lead_off_the_site(guest: Client):
    answer = await post_form(
        guest,
        "/signup/?next=https://elsewhere.example/",
        username="careful",
        password1="correct horse",
        password2="correct horse",
    )
    assert (answer.status, answer.headers["Location"]) == (302, "/")


async def test_a_room_is_opened(admin: Client):
    answer = await post_form(admin, "/new/", name="Night Owls", topic="After midnight")
    assert (answer.status, answer.headers["Location"]) == (302, "/rooms/night-owls/")
    async with admin.get("/rooms/night-owls/") as page:
        assert "After midnight" in await page.text()


@pytest.mark.parametrize(
    ("name", "problem"),
    [("Lobby!", "There is a room with that name."), ("???", "Use a few letters or digits.")],
)
async def test_a_room_that_cannot_be_opened(admin: Client, name: str, problem: str):
    answer = await post_form(admin, "/new/", name=name)
    assert answer.status == 200
    assert problem in await answer.text()  # read already, so still there


async def test_a_guest_opens_no_room(guest: Client):
    async with guest.get("/new/", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/login/?next=/new/")


async def test_the_admin_with_its_static_files(guest: Client):
    answer = await post_form(guest, "/admin/login/", username="admin", password="admin")
    assert answer.status == 302
    answer = await post_form(
        guest, "/admin/chat/room/add/", name="From the admin", slug="from-the-admin", topic=""
    )
    assert (answer.status, answer.headers["Location"]) == (302, "/admin/chat/room/")
    async with guest.get("/admin/chat/room/") as answer:
        page = await answer.text()
    assert "From the admin" in page
    styles = re.findall(r'<link rel="stylesheet" href="([^"]+)"', page)
    assert styles
    for style in styles:
        async with guest.get(style) as answer:
            assert (answer.status, answer.content_type) == (200, "text/css"), style


async def test_the_static_files_of_the_chat(guest: Client):
    async with guest.get("/rooms/lobby/") as answer:
        page = await answer.text()
    addresses = re.findall(r'(?:src|href)="(/static/[^"]+)"', page)
    types = {}
    for address in addresses:
        async with guest.get(address) as answer:
            assert answer.status == 200, address
            types[address.rpartition("/")[2]] = answer.content_type
    assert types == {
        "chat.css": "text/css",
        "icon.svg": "image/svg+xml",
        "room.js": "text/javascript",
    }


def contents(database: Path) -> list[list[tuple[str, ...]]]:
    """All that the demo command could change: rooms, messages and users."""
    with closing(sqlite3.connect(database)) as connection:
        return [
            connection.execute(f"select * from {table} order by id").fetchall()
            for table in ("chat_room", "chat_message", "auth_user")
        ]


def test_the_demo_command_can_run_again(demo_database: Path, tmp_path: Path):
    database = tmp_path / "db.sqlite3"
    shutil.copy(demo_database, database)
    before = contents(database)
    assert "Log in as admin, password admin." in manage(database, "demo")
    assert contents(database) == before


def test_the_demo_command_prints_the_login(tmp_path: Path):
    assert "Log in as admin, password admin." in manage(tmp_path / "db.sqlite3", "demo")


DEMO_LOGIN = "log in as <b>admin</b>, password <b>admin</b>"


async def test_the_login_page_tells_the_demos_login(
    demo_database: Path, tmp_path: Path, make_client: Callable[[Server], Client]
):
    with serve(GUNICORN, demo_database, tmp_path) as server:
        async with make_client(server).get("/login/") as answer:
            assert DEMO_LOGIN in await answer.text()
        change = "from django.contrib.auth.models import User; user = User.objects.get()"
        change = change.replace("get()", "get(username='admin')")
        change += "; user.set_password('secret'); user.save()"
        manage(server.database, "shell", "--command", change)
        async with make_client(server).get("/login/") as answer:
            page = await answer.text()
        assert answer.status == 200
        assert "This is the demo" not in page
        assert "password that you have given it" in manage(server.database, "demo")


async def test_without_debug_the_login_page_tells_nothing(
    demo_database: Path,
    tmp_path: Path,
    make_client: Callable[[Server], Client],
):
    variables = {"EXAMPLE_DEBUG": "0", "EXAMPLE_HOSTS": "127.0.0.1"}
    with serve(GUNICORN, demo_database, tmp_path, **variables) as server:
        async with make_client(server).get("/login/") as answer:
            assert answer.status == 200
            assert "This is the demo" not in await answer.text()


async def test_under_a_prefix_every_address_begins_with_it(
    embedded: Server, make_client: Callable[[Server], Client]
):
    client = make_client(embedded)
    async with client.get("/") as answer:
        assert "here first" in await answer.text()
    async with client.get("/api/time") as answer:
        assert answer.content_type == "application/json"
    async with client.get("/nothing/") as answer:
        assert (answer.status, await answer.text()) == (404, "404: Not Found")
    await log_in(client, "/site")
    for path in ("/site/", "/site/rooms/lobby/", "/site/admin/"):
        async with client.get(path) as answer:
            assert answer.status == 200, path
            page = await answer.text()
        addresses = re.findall(r'(?:href|src|action|data-\w+)="(/[^"]*)"', page)
        assert addresses
        outside = [address for address in addresses if not f"{address}/".startswith("/site/")]
        assert outside == [], path
        for address in re.findall(r'(?:href|src)="([^"]*/static/[^"]+)"', page):
            async with client.get(address) as answer:
                assert answer.status == 200, address
