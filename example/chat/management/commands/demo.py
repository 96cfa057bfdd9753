"""`python manage.py demo`: a database, something to read and a login. Safe to run again."""

import datetime
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, call_command
from django.utils import timezone

from example.chat.demo import LOGIN, PASSWORD, login_works
from example.chat.models import Message, Room

ROOMS = {
    "Lobby": (
        "Come in, say hello",
        [
            ("mira", "Good morning! Anybody here yet?"),
            ("tomas", "Just arrived. Coffee first."),
            ("mira", "This page came from Django, in a thread."),
            ("mira", "What you write next goes through a WebSocket in the same process."),
            ("jun", "One port, two worlds 🙂"),
            ("tomas", "Open a second window, log in as somebody else and talk to yourself."),
        ],
    ),
    "Garden": (
        "What grows, what doesn't, and who ate it",
        [
            ("jun", "First tomatoes today. Three of them. I am rich."),
            ("tomas", "The snails send their regards."),
        ],
    ),
    "Python": (
        "Snippets, questions, small victories",
        [
            ("tomas", "TIL: `asyncio.timeout()` reads much better than `wait_for`."),
            ("mira", "See https://docs.python.org/3/library/asyncio-task.html#timeouts"),
        ],
    ),
}


class Command(BaseCommand):
    help = "Makes the database, some rooms and messages, and a login (admin / admin)."

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", verbosity=0)
        self.make_rooms()
        self.make_login()

    def make_rooms(self) -> None:
        """Fill the rooms, unless somebody has been here before."""
        if Room.objects.exists():
            return
        users = get_user_model().objects
        when = timezone.now() - datetime.timedelta(hours=2)
        for name, (topic, messages) in ROOMS.items():
            room = Room.objects.create(name=name, slug=name.lower(), topic=topic)
            for author, text in messages:
                # They have no password, so nobody can log in as one of them.
                user = users.filter(username=author).first() or users.create_user(author)
                Message.objects.create(room=room, author=user, text=text, sent=when)
                when += datetime.timedelta(minutes=4)

    def make_login(self) -> None:
        users = get_user_model().objects
        if not users.filter(username=LOGIN).exists():
            users.create_superuser(LOGIN, password=PASSWORD)
        if login_works():
            self.stdout.write(self.style.SUCCESS(f"Log in as {LOGIN}, password {PASSWORD}."))
        else:
            self.stdout.write(f"Log in as {LOGIN}, with the password that you have given it.")
