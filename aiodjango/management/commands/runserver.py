"""``manage.py runserver``: Django's command, with an aiohttp server."""

import os
import signal
import sys
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import django
from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandParser

import aiodjango
from aiodjango.dev.server import (
    EXIT_GRACE,
    DevelopmentServer,
    ListeningSocket,
    get_internal_aio_application,
)
from aiodjango.notes import gunicorn_command
from aiodjango.subapp import view_resources

if TYPE_CHECKING or (apps.apps_ready and apps.is_installed("django.contrib.staticfiles")):
    from django.contrib.staticfiles.management.commands.runserver import Command as DjangoCommand
else:
    from django.core.management.commands.runserver import Command as DjangoCommand


class Command(DjangoCommand):
    help = (
        "Starts a development server for the whole project: aiohttp serves coroutine views, "
        "Django everything else."
    )

    # Set by Django's handle() from the address.
    addr: str
    _raw_ipv6: bool

    use_aio = True
    server: DevelopmentServer | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--noaio",
            action="store_false",
            dest="use_aio",
            help="Runs Django's own development server, without aiohttp.",
        )

    def run_from_argv(self, argv: list[str]) -> None:
        code = 1
        try:
            super().run_from_argv(argv)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else int(error.code is not None)
            raise
        finally:
            if self.server is not None:
                _limit_exit(code)

    def run(self, **options: Any) -> None:
        self.use_aio = options["use_aio"]
        if not self.use_aio:
            return super().run(**options)
        self.server_cls = ListeningSocket
        if not options["use_reloader"] and threading.current_thread() is threading.main_thread():
            # As the autoreloader does.
            signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
        try:
            super().run(**options)
        except KeyboardInterrupt:  # pragma: no cover - Django rarely misses it
            sys.exit(0)
        finally:
            # The autoreloader exits in the main thread while another one serves.
            if self.server is not None:
                self.server.stop()

    def get_handler(self, *args: Any, **options: Any) -> Any:
        """Return a `DevelopmentServer`, or with --noaio the handler of Django's server."""
        if not self.use_aio:
            return super().get_handler(*args, **options)
        # These options exist only with the staticfiles app.
        use_static = options.get("use_static_handler", False) and (
            settings.DEBUG or options["insecure_serving"]
        )
        self.server = DevelopmentServer(
            get_internal_aio_application(),
            use_threading=options["use_threading"],
            use_static=use_static,
        )
        return self.server

    def on_bind(self, server_port: int) -> None:
        if self.server is None:
            super().on_bind(server_port)
            return
        if self._raw_ipv6:
            address = f"[{self.addr}]"
        else:
            address = "0.0.0.0" if self.addr == "0" else self.addr
        quit_command = "CTRL-BREAK" if sys.platform == "win32" else "CONTROL-C"
        count = len(view_resources(self.server.app))
        views = "1 coroutine view is" if count == 1 else f"{count} coroutine views are"
        self.stdout.write(
            f"{datetime.now():%B %d, %Y - %X}\n"
            f"Django version {django.get_version()}, aiodjango version {aiodjango.__version__}, "
            f"using settings {settings.SETTINGS_MODULE!r}\n"
            f"Starting aiodjango development server at {self.protocol}://{address}:{server_port}/\n"
            f"{views} served by aiohttp, everything else by Django.\n"
            f"Quit the server with {quit_command}."
        )
        if os.environ.get("DJANGO_RUNSERVER_HIDE_WARNING") != "true":
            self.stdout.write(
                self.style.WARNING(
                    "WARNING: This is a development server. Do not use it in a production "
                    "setting. Use gunicorn with aiodjango's worker instead:\n"
                    f"{gunicorn_command()}"
                )
            )
        # So that a program that reads a pipe receives the address now.
        self.stdout.flush()


def _limit_exit(code: int) -> None:
    """Limit the time that other threads, which executors join at exit, may delay a reload."""
    if threading.active_count() > 1:
        timer = threading.Timer(EXIT_GRACE / 2, _leave, (code,))
        timer.daemon = True
        timer.start()


def _leave(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
