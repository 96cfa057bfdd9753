"""What the demo's pages say: who has answered, errors under their fields, colours."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.environment import ROOT
from tests.system.example.client import Client, post_form
from tests.system.example.conftest import serve
from tests.system.example.server import GUNICORN, Server

CSS = (ROOT / "example/chat/static/chat/chat.css").read_text()


# ---- Which half has answered ----


@pytest.mark.parametrize(
    ("target", "half"),
    [
        ("/", "django"),
        ("/login/", "django"),
        ("/rooms/nowhere/", "django"),
        ("/rooms/lobby/history/", "aiohttp"),
        ("/rooms/nowhere/history/", "aiohttp"),
    ],
)
async def test_every_response_names_its_half(guest: Client, target: str, half: str):
    async with guest.get(target) as answer:
        assert answer.headers["Server-Timing"] == half


@pytest.mark.parametrize(
    ("name", "part"),
    [("views.py", "def rooms("), ("live.py", "async def socket("), ("tutorial", "A WebSocket")],
)
async def test_the_pages_link_to_their_source(guest: Client, name: str, part: str):
    async with guest.get("/") as answer:
        assert f'href="/how/{name}"' in await answer.text()
    async with guest.get(f"/how/{name}") as answer:
        assert answer.content_type == "text/plain"
        assert part in await answer.text()


@pytest.mark.parametrize("name", ["settings.py", "..%2Fsettings.py", "%2Fetc%2Fpasswd"])
async def test_no_other_file_is_shown(guest: Client, name: str):
    async with guest.get(f"/how/{name}") as answer:
        assert answer.status == 404


# ---- Errors ----


@pytest.mark.parametrize(
    ("password", "again", "field", "problem"),
    [
        ("abc", "abc", "id_password1", "This password is too short."),
        ("zed-zed-zed", "zed-zed-zed", "id_password1", "too similar to the username"),
        (
            "correct horse",
            "other horse",
            "id_password2",
            "fields didn\N{RIGHT SINGLE QUOTATION MARK}t match",
        ),
    ],
)
async def test_what_is_wrong_with_a_password_is_under_its_field(
    guest: Client, password: str, again: str, field: str, problem: str
):
    answer = await post_form(
        guest, "/signup/", username="zed-zed-zed", password1=password, password2=again
    )
    page = await answer.text()
    fields = re.split(r"(?=<input )", page)
    (under,) = [part for part in fields if problem in part]
    assert f'id="{field}"' in under


async def test_a_missing_room_has_a_page_of_the_site(guest: Client):
    async with guest.get("/rooms/nowhere/") as answer:
        page = await answer.text()
    assert answer.status == 404
    assert "Nothing here" in page
    assert "<code>/rooms/nowhere/</code>" in page
    assert 'href="/"' in page


async def test_without_debug_every_missing_page_is_of_the_site(
    demo_database: Path, tmp_path: Path, make_client: Callable[[Server], Client]
):
    variables = {
        "EXAMPLE_DEBUG": "0",
        "EXAMPLE_HOSTS": "127.0.0.1",
        "EXAMPLE_STATIC_ROOT": str(ROOT / "example/chat/static"),
    }
    with serve(GUNICORN, demo_database, tmp_path, **variables) as server:
        for target in ("/nowhere/", "/rooms/nowhere/history/"):
            async with make_client(server).get(target) as answer:
                assert answer.status == 404
                assert "Nothing here" in await answer.text()


# ---- What it looks like ----


def luminance(colour: str) -> float:
    if len(colour) == 4:
        colour = "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_edge_of_a_field_can_be_seen(scheme: str):
    light, dark = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+);", light if scheme == "light" else dark))
    for ground in ("paper", "surface"):
        assert contrast(colours["edge"], colours[ground]) >= 3
    blocks = re.findall(r"^(?:input|\.composer \{).*?^\}", CSS, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    assert all("border: 1px solid var(--edge);" in block for block in blocks)
