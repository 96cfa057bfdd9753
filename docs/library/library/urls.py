from aiohttp import web
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import path

from aiodjango import aget_user, aio_login_required

from .models import Book

PAGE = """<!doctype html>
<title>Books</title>
<ul id="books"></ul>
<script>
  const socket = new WebSocket(`ws://${location.host}/live/`);
  socket.onmessage = (event) => { books.innerHTML += `<li>${event.data}</li>`; };
  socket.onopen = () => socket.send("all");
</script>
"""


def index(request):
    return HttpResponse(PAGE)


@login_required
def add(request):
    Book.objects.create(title=request.POST["title"])
    return redirect("books")


async def books(request):
    titles = [book.title async for book in Book.objects.order_by("title")]
    return web.json_response({"books": titles})


@aio_login_required
async def account(request):
    user = await aget_user(request)
    return web.Response(text=f"Hello {user.username}")


async def live(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        async for book in Book.objects.order_by("title"):
            if message.data in ("all", book.title[0]):
                await ws.send_str(book.title)
    return ws


urlpatterns = [
    path("", index),
    path("add/", add),
    path("books/", books, name="books"),
    path("account/", account),
    path("live/", live),
]
