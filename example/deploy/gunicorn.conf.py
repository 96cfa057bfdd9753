"""How gunicorn runs the site: gunicorn --config example/deploy/gunicorn.conf.py"""

import importlib.util
import os

wsgi_app = "example.wsgi:app"

# uvloop where it is installed: it makes the loop faster, and changes nothing else.
if importlib.util.find_spec("uvloop"):
    worker_class = "aiodjango.worker.GunicornUVLoopWorker"
else:
    worker_class = "aiodjango.worker.GunicornWorker"

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
