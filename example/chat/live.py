"""The live half: coroutine views. Each gets an aiohttp request and gives an aiohttp response."""

import asyncio
import datetime
import json
import logging
import os
import socket as sockets
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from aiohttp import web
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db import DatabaseError
from django.shortcuts import aget_object_or_404
from django.utils import timezone

from aiodjango import aget_user, django_context
from aiodjango.broadcast import Subscription, apublish, subscribe

from .forms import MessageForm
from .history import PAGE_SIZE, as_page, select_page
from .models import Message, Room
from .presence import Presence

logger = logging.getLogger(__name__)

FEED = "feed"  # the channel of everything that happens in any room
HEARTBEAT = 20  # seconds between signs of life, which find connections that died unnoticed
PATIENCE = 10  # seconds that a reader may keep us waiting before it is let go
RECENTLY = datetime.timedelta(minutes=1)  # longer than it takes to miss a process


def room_channel(slug: str) -> str:
    return f"room:{slug}"


def here(channel: str) -> str:
    """A channel for the pages that are open in this process alone."""
    return f"{channel}@{sockets.gethostname()}:{os.getpid()}"


# ---- The history, as JSON ----


async def history(request: web.Request, slug: str) -> web.Response:
    """A page of messages: the latest, or those `?before=` or `?after=` the message with that id."""
    try:
        marks = {
            name: int(request.query[name]) for name in ("before", "after") & request.query.keys()
        }
    except ValueError:
        raise web.HTTPBadRequest(text="before and after are message ids.") from None
    room = await aget_object_or_404(Room, slug=slug)
    page = as_page([message async for message in select_page(room, **marks)])
    return web.json_response(page)


# ---- A room's WebSocket ----


async def socket(request: web.Request, slug: str) -> web.WebSocketResponse:
    """What is said in a room. Everybody may listen; to speak one has to be logged in.

    Only pages of this site get here: aiodjango has looked at the handshake's Origin.
    """
    room = await aget_object_or_404(Room, slug=slug)
    user = await aget_user(request)
    name = user.get_username()  # "" for a guest

    ws = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=64 * 1024)
    # First: once the browser knows that it's connected, it must not miss anything.
    async with subscribe(room_channel(slug), here(room_channel(slug))) as events:
        await ws.prepare(request)
        presence.enter(slug, name)
        try:
            await events.send_to(ws, partial(receive, ws, room, user))
        finally:
            presence.leave(slug, name)
    return ws


async def receive(
    ws: web.WebSocketResponse, room: Room, user: AbstractBaseUser | AnonymousUser, content: Any
) -> None:
    """Act on what the browser sent: a message, or that somebody is typing one."""
    try:
        kind, ref = content["type"], content.get("ref")
    except (TypeError, KeyError):
        await send_error(ws, "That was not understood.")
        return
    if not user.is_authenticated:
        await send_error(ws, "Log in to take part.", ref)
    elif kind == "typing":
        await announce_typing(room, user)
    elif kind == "message":
        await say(ws, room, user, content)


async def send_error(ws: web.WebSocketResponse, text: str, ref: str | None = None) -> None:
    await ws.send_json({"type": "error", "text": text, "ref": ref})


async def say(
    ws: web.WebSocketResponse, room: Room, user: AbstractBaseUser, content: dict[str, Any]
) -> None:
    form = MessageForm(content)  # forms touch no database, so they work on the event loop too
    if not form.is_valid():
        problems = [str(text) for texts in form.errors.values() for text in texts]
        await send_error(ws, " ".join(problems), content.get("ref"))
        return
    # A browser that lost its connection may say the same thing again: `ref` tells.
    message, _ = await Message.objects.select_related("room", "author").aget_or_create(
        author=user,
        ref=form.cleaned_data["ref"],
        defaults={"room": room, "text": form.cleaned_data["text"]},
    )
    # Announced again too: the process that has stored it may have died before it told anybody.
    # Browsers know a message by its id.
    await announce_message(message)


async def announce_typing(room: Room, user: AbstractBaseUser) -> None:
    event = {"type": "typing", "user": user.get_username()}
    await apublish(room_channel(room.slug), event)


async def announce_message(message: Message) -> None:
    event = message.as_dict()
    for channel in room_channel(message.room.slug), FEED:
        await apublish(channel, event)


async def announce_latest() -> None:
    """A process is gone without a word. What it stored last may not have been announced."""
    latest = Message.objects.filter(sent__gt=timezone.now() - RECENTLY)
    try:
        async with django_context():  # this is called from no view
            async for message in latest.select_related("room", "author"):
                event = message.as_dict()
                for channel in room_channel(message.room.slug), FEED:
                    await apublish(here(channel), event)
    except DatabaseError:
        logger.exception("The latest messages could not be announced again.")


# ---- Who is where ----


def presence_event(slug: str) -> dict[str, Any]:
    return {
        "type": "presence",
        "room": slug,
        "people": presence.people(slug),
        "guests": presence.guests(slug),
    }


async def announce_presence(slug: str) -> None:
    """Tell the browsers of this process. Each process learns of changes, and tells its own."""
    event = presence_event(slug)
    for channel in room_channel(slug), FEED:
        await apublish(here(channel), event)


presence = Presence(on_change=announce_presence, on_loss=announce_latest)


# ---- The feed of all rooms, as server-sent events ----


async def feed(request: web.Request) -> web.StreamResponse:
    """New messages and who is where. A browser that comes back gets what it missed first."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",  # nginx: pass each event on at once
        }
    )
    await response.prepare(request)
    async with subscribe(FEED, here(FEED)) as events:
        try:
            await response.write((await catch_up(request)).encode())
            async for event in with_heartbeat(events):
                async with asyncio.timeout(PATIENCE):
                    await response.write(event.encode())
        except (TimeoutError, ConnectionResetError):
            # Cut the connection: a polite end would wait behind all that was not read.
            if request.transport is not None:
                request.transport.abort()
    return response


async def catch_up(request: web.Request) -> str:
    """Who is where now, and the latest messages after the last one that the browser has seen."""
    events = [feed_event(presence_event(slug)) for slug in presence.rooms()]
    mark = request.headers.get("Last-Event-ID") or request.query.get("after", "")
    if mark.isdecimal():
        missed = Message.objects.filter(id__gt=int(mark)).select_related("room", "author")
        latest = [message async for message in missed.order_by("-id")[:PAGE_SIZE]]
        events += [feed_event(message.as_dict()) for message in reversed(latest)]
    return "retry: 2000\n\n" + "".join(events)


async def with_heartbeat(events: Subscription) -> AsyncIterator[str]:
    """The events, with a comment in quiet times: writing is how one notices a reader that left."""
    while True:
        try:
            async with asyncio.timeout(HEARTBEAT):
                event = feed_event(await anext(events))
        except TimeoutError:
            event = ": still here\n\n"
        except StopAsyncIteration:
            return
        yield event


def feed_event(event: dict[str, Any]) -> str:
    """An event in the format of `text/event-stream`; the browser comes back with its last mark."""
    place = f"id: {event['id']}\n" if "id" in event else ""
    return f"{place}data: {json.dumps(event)}\n\n"
