"""Changed files, under real watching: Python code restarts the server, templates do not."""

import asyncio
import os
import struct

from tests.support.waiting import DEADLINE

from .conftest import eventually, get
from .test_ending import everything_open


async def save(server, path, text):
    """Change a file until the autoreloader sees it.

    A change before its first look at the file, shortly after the banner, goes unnoticed.
    """
    path.write_text(text)
    for _ in range(int(DEADLINE)):
        try:
            await server.wait_for(r"changed, reloading\.", patience=1.5)
            return
        except AssertionError:
            os.utime(path)
    raise AssertionError(f"no reload in:\n{server.output}")


async def test_changed_code_restarts_a_busy_server_at_once(runserver, project):
    server = await runserver("127.0.0.1:0")
    url = await server.started()
    assert await get(f"{url}/lifted/") == "lifted, first edition"
    views = project / "devsite" / "views.py"
    async with everything_open(server, url) as ws:
        await save(server, views, views.read_text().replace("first edition", "second edition"))
        url = await server.started()  # the views that are busy take longer than that may
        # The client learns of it at once, and may connect again.
        async with asyncio.timeout(DEADLINE):
            await ws.receive()
        assert ws.closed
    assert await get(f"{url}/lifted/") == "lifted, second edition"
    assert await get(f"{url}/sync/") == "sync, second edition"
    assert "Traceback" not in server.output


async def test_a_broken_file_waits_for_its_repair(runserver, project):
    server = await runserver("127.0.0.1:0")
    await server.started()
    views = project / "devsite" / "views.py"
    good = views.read_text()
    await save(server, views, good + "\nthis is no Python\n")
    await server.wait_for("SyntaxError: invalid syntax\n")
    await save(server, views, good.replace("first", "repaired"))
    url = await server.started()
    assert await get(f"{url}/lifted/") == "lifted, repaired edition"


async def test_a_reload_ends_the_application_before_it_starts_the_next(runserver, project):
    server = await runserver("127.0.0.1:0", DEVSITE_AIO_APPLICATION="devsite.aio.app")
    await server.started()
    diary = project / "devsite" / "diary.txt"
    await eventually(diary.exists)
    views = project / "devsite" / "views.py"
    await save(server, views, views.read_text() + "\n# changed\n")
    await eventually(lambda: diary.read_text() == "started\nended\nstarted\n")


async def test_a_changed_template_needs_no_restart(runserver, project):
    server = await runserver("127.0.0.1:0")
    url = await server.started()
    template = project / "devsite" / "templates" / "page.html"
    assert "first edition" in await get(f"{url}/page/")
    template.write_text("<p>template, second edition</p>\n")

    async def changed():
        os.utime(template)
        return "second edition" in await get(f"{url}/page/")

    await eventually(changed)
    assert server.output.count("Quit the server") == 1


async def test_a_changed_translation_needs_no_restart(runserver, project):
    catalogue = project / "devsite" / "locale" / "de" / "LC_MESSAGES" / "django.mo"
    catalogue.parent.mkdir(parents=True)
    catalogue.write_bytes(compiled({"Hello": "Guten Tag"}))
    server = await runserver("127.0.0.1:0")
    url = await server.started()
    assert await get(f"{url}/greeting/") == "Guten Tag"
    catalogue.write_bytes(compiled({"Hello": "Servus"}))

    async def changed():
        os.utime(catalogue)
        return await get(f"{url}/greeting/") == "Servus"

    await eventually(changed)
    assert server.output.count("Quit the server") == 1


def compiled(messages):
    """A catalogue as msgfmt writes it, which not every machine has."""
    pairs = {"": "Content-Type: text/plain; charset=UTF-8\n", **messages}
    originals = [text.encode() for text in sorted(pairs)]
    translations = [pairs[text.decode()].encode() for text in originals]
    offset = 28 + 16 * len(originals)
    tables, data = [], b""
    for text in originals + translations:
        tables.append(struct.pack("<II", len(text), offset + len(data)))
        data += text + b"\0"
    header = struct.pack(
        "<7I", 0x950412DE, 0, len(originals), 28, 28 + 8 * len(originals), 0, offset
    )
    return header + b"".join(tables) + data
