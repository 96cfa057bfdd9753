"""How gunicorn runs the site: gunicorn --config example/deploy/gunicorn.conf.py"""

import asyncio
import importlib.util
import os

from aiohttp import web

wsgi_app = "example.wsgi:app"

# uvloop where it is installed: it makes the loop faster, and changes nothing else.
if importlib.util.find_spec("uvloop"):
    worker_class = "aiohttp.GunicornUVLoopWebWorker"
else:
    worker_class = "aiohttp.GunicornWebWorker"

# One for each core: a worker runs one event loop, and Python runs on one core at a time.
workers = int(os.environ.get("WEB_CONCURRENCY", os.cpu_count() or 1))

# Unless systemd passes a socket, which then comes before this.
bind = os.environ.get("BIND", "127.0.0.1:8000")

# How long requests may take to finish when a worker ends, and WebSockets to say goodbye.
graceful_timeout = 30

# A worker whose event loop has stood still for so long is killed, and replaced.
timeout = 60

# nginx writes one already.
accesslog = None

# gunicorn watches its workers by files; in memory no busy disk makes them look dead.
worker_tmp_dir = "/dev/shm"

# gunicornc isn't used here, and a unit without a home folder has no place for its socket.
control_socket_disable = True


# Seconds from the last connection that an ending worker accepts to the end of those that are idle.
LINGER = 0.5


class PatientRunner(web.AppRunner):
    """Ends a worker without dropping a request.

    A connection that a worker has just accepted looks idle until its request has arrived, and idle
    connections are closed first when a worker ends. So let requests arrive that are on their way.
    """

    async def cleanup(self):
        for site in list(self.sites):
            await site.stop()
        await asyncio.sleep(LINGER)
        await super().cleanup()


def post_worker_init(worker):
    """aiohttp's worker takes an application, or what makes a runner of it."""
    app, config = worker.wsgi, worker.cfg

    async def make_runner():
        return PatientRunner(
            app,
            logger=worker.log,
            access_log=worker.log.access_log if config.accesslog else None,
            keepalive_timeout=config.keepalive,
            shutdown_timeout=config.graceful_timeout * 0.95,
        )

    worker.wsgi = make_runner
