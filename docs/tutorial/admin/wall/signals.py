from aiodjango.broadcast import publish

from .live import as_dict


def show_at_once(instance, created, **kwargs):
    if created:
        publish("wall", as_dict(instance))
