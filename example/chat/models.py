import uuid
from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse
from django.utils import timezone


class Room(models.Model):
    name = models.CharField(max_length=60, unique=True)
    slug = models.SlugField(max_length=60, unique=True)
    topic = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("chat:room", args=[self.slug])


class Message(models.Model):
    """What somebody said in a room. Ids grow with time, so they also serve as page marks."""

    MAX_LENGTH = 2000

    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="messages")
    text = models.TextField(max_length=MAX_LENGTH)
    sent = models.DateTimeField(default=timezone.now, editable=False)
    # Made by the browser. It sends a message again when the connection broke before the answer
    # came, and the constraint below keeps that from being said twice.
    ref = models.UUIDField(default=uuid.uuid4, editable=False)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["room", "id"], name="chat_message_page")]
        constraints = [
            models.UniqueConstraint(fields=["author", "ref"], name="chat_message_said_once"),
        ]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:40]}"

    def as_dict(self) -> dict[str, Any]:
        """The message as the browser gets it; `room` and `author` must be loaded already."""
        return {
            "type": "message",
            "id": self.id,
            "ref": str(self.ref),
            "room": self.room.slug,
            "author": self.author.get_username(),
            "text": self.text,
            "sent": self.sent.isoformat(),
        }
