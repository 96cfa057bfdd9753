"""``manage.py aiobroadcast``: publish an event, or print what is published."""

import asyncio
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from aiodjango.broadcast import publish, subscribe
from aiodjango.broadcast.backend import backend_class
from aiodjango.broadcast.process import close_hub, close_sender


class Command(BaseCommand):
    help = "Publishes an event to a channel, or prints the events of a channel."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("channel", help="The name of the channel.")
        parser.add_argument("event", nargs="?", help="The event, as JSON (default: null).")
        parser.add_argument(
            "--listen", action="store_true", help="Print the events of the channel, a line each."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if not backend_class().is_remote:
            raise CommandError(
                "The memory back end does not reach other processes: set AIO_BROADCAST to the "
                "back end for Redis or PostgreSQL."
            )
        try:
            if options["listen"]:
                asyncio.run(_listen(self, options["channel"]))
            else:
                _publish(options["channel"], options["event"])
        except KeyboardInterrupt:
            pass
        except (TypeError, ValueError) as error:
            raise CommandError(str(error)) from error


def _publish(channel: str, event: str | None) -> None:
    try:
        content = None if event is None else json.loads(event)
    except ValueError as error:
        raise CommandError(f"The event is not JSON: {error}") from error
    publish(channel, content, now=True)
    if close_sender():
        raise CommandError("The event was not sent: the broker is unavailable.")


async def _listen(command: Command, channel: str) -> None:
    try:
        while True:
            async with subscribe(channel) as events:
                async for event in events:
                    command.stdout.write(json.dumps(event, ensure_ascii=False))
                    command.stdout.flush()
            command.stderr.write(f"Events were missed: {events.missed}.")
    finally:
        await close_hub()
