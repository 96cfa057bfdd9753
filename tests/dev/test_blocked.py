"""A view that blocks the event loop is named in the terminal."""

import pytest

from aiodjango.notes.blocking import can_look_at_frames

from .conftest import get

pytestmark = pytest.mark.skipif(
    not can_look_at_frames(), reason="a free-threaded Python before 3.14 names no views"
)


async def test_a_blocking_view_is_named(runserver, project):
    views = project / "devsite" / "views.py"
    views.write_text(views.read_text().replace("LONG = 1200", "LONG = 0.5"))
    server = await runserver("127.0.0.1:0")
    url = await server.started()
    await get(f"{url}/blocking/")
    found = await server.wait_for(
        r"The view devsite\.views\.blocking blocked the event loop for \d\.\d+ s, and .*\n"
        r'  File "(.+)", line \d+, in blocking\n    time\.sleep\(LONG\)\n'
    )
    assert found[1] == str(views)
