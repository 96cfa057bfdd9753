import asyncio
import csv
import io
import json
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from django.contrib.auth.models import User
from django.http import StreamingHttpResponse

from aiodjango import aio_login_required

PAPERS = Path(__file__).parent / "papers"
HEARTBEAT = 15  # seconds
PATIENCE = 10  # seconds that a reader may keep us waiting

streams = set()  # a queue for each open stream of events


async def events(request):
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",  # nginx: pass each event on at once
        }
    )
    await response.prepare(request)
    waiting = asyncio.Queue()
    streams.add(waiting)
    try:
        await response.write(b": welcome\n\n")
        while (event := await next_event(waiting)) is not None:
            async with asyncio.timeout(PATIENCE):
                await response.write(event.encode())
    except ConnectionResetError:
        pass  # the reader has left
    except TimeoutError:
        request.transport.abort()  # somebody who does not read won't read a goodbye
    finally:
        streams.discard(waiting)
    return response


async def next_event(waiting):
    try:
        async with asyncio.timeout(HEARTBEAT):
            event = await waiting.get()
    except TimeoutError:
        return ": still here\n\n"
    return event if event is None else f"data: {json.dumps(event)}\n\n"


def publish(event):
    for waiting in streams:
        waiting.put_nowait(event)


async def close_streams(app):  # for app.on_shutdown
    publish(None)


async def export(request):
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8",
            "Content-Disposition": 'attachment; filename="users.csv"',
        }
    )
    await response.prepare(request)
    with suppress(ConnectionResetError):  # the reader has left
        async for user in User.objects.order_by("pk").aiterator():
            await response.write(as_line(user.pk, user.username))  # as fast as it is read
    return response


def as_line(*values):
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode()


@aio_login_required
async def paper(request, name):  # path("papers/<slug:name>/", …)
    return web.FileResponse(PAPERS / f"{name}.txt")


async def receive(request):
    size = 0
    async for part in request.content.iter_chunked(64 * 1024):
        size += len(part)
    return web.json_response({"size": size})


def lines(request):  # Django's, in a thread
    return StreamingHttpResponse(f"line {number}\n" for number in range(100))
