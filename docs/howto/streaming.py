import csv
import io
from contextlib import suppress
from pathlib import Path

from aiohttp import web
from aiohttp_sse import sse_response
from django.contrib.auth.models import User
from django.http import StreamingHttpResponse

from aiodjango import aio_login_required
from aiodjango.broadcast import subscribe

PAPERS = Path(__file__).parent / "papers"


async def events(request):
    async with sse_response(request, send_timeout=10) as response, subscribe("news") as news:
        await news.send_to(response)
    return response


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
