"""The application of benchmarks.broadcast_site for ASGI servers."""

from benchmarks.broadcast_site import asgi

application = asgi()
