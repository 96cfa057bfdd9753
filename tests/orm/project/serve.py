"""python -m tests.orm.project.serve FD SETTINGS: serve on a listening socket."""

import os
import socket
import sys

from aiohttp import web

if __name__ == "__main__":
    os.environ["TEST_SETTINGS"] = sys.argv[2]

    from aiodjango import get_aio_application

    app = get_aio_application()

    from django.core.management import call_command
    from django.db import connections

    from tests.orm.project.models import Book

    call_command("migrate", run_syncdb=True, verbosity=0)
    call_command("flush", interactive=False, verbosity=0)
    Book.objects.bulk_create(Book(title=f"book {n}") for n in range(1, 8))
    connections.close_all()
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), access_log=None)
