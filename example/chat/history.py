"""Pages of a room's messages, for the page itself (sync) and for the JSON endpoint (async)."""

from typing import Any

from django.db.models import QuerySet

from .models import Message, Room

PAGE_SIZE = 50


def select_page(
    room: Room, *, before: int | None = None, after: int | None = None
) -> QuerySet[Message]:
    """The messages next to a mark, or the latest ones; one too many, to see if there are more."""
    messages = Message.objects.filter(room=room).select_related("room", "author")
    if after is not None:
        return messages.filter(id__gt=after).order_by("id")[: PAGE_SIZE + 1]
    if before is not None:
        messages = messages.filter(id__lt=before)
    return messages.order_by("-id")[: PAGE_SIZE + 1]


def as_page(selected: list[Message]) -> dict[str, Any]:
    """What `select_page` found, oldest first; `more` tells whether to ask again that way."""
    messages = sorted(selected[:PAGE_SIZE], key=lambda message: message.id)
    return {
        "messages": [message.as_dict() for message in messages],
        "more": len(selected) > PAGE_SIZE,
    }
