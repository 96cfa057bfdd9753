"""Cache backends that tell what is done with them."""

import threading

from django.core.cache.backends.locmem import LocMemCache


class Noted(LocMemCache):
    """A backend that says nothing about threads: Django gives it to one thread alone."""

    events: list = []

    def __init__(self, location, params):
        self.params = params
        self.keeps = params.pop("KEEPS", None)  # as a backend may do with parameters of its own
        self.thread = threading.get_ident()
        super().__init__(location, params)

    def where(self):
        return self.thread

    def close(self, **kwargs):
        self.events.append(("closed", self.thread))


def factory(location, params):
    return Noted(location, params)
