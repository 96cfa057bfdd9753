from aiohttp import web

from .models import Note


async def notes(request):
    latest = [as_dict(note) async for note in Note.objects.order_by("-pk")[:20]]
    return web.json_response(latest)


def as_dict(note):
    return {"id": note.pk, "text": note.text, "author": note.author}
