"""python -m tests.system.deploy.project.run_app FD: serve on a socket, by aiohttp alone."""

import socket
import sys

from aiohttp import web

from .wsgi import app

if __name__ == "__main__":
    web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])))
