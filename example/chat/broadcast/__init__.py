"""Tell every open connection that listens to a channel what has happened.

The views say `await broadcast.publish(channel, event)` and `async with broadcast.subscribe(channel)
as events`, and know no more. What lies between is decided here: this process alone, or with the
setting REDIS_URL all processes of the site, on however many hosts.
"""

from django.conf import settings

from .local import Broadcast, Subscription

__all__ = ["Broadcast", "Subscription", "broadcast"]


def make_broadcast() -> Broadcast:
    if url := getattr(settings, "REDIS_URL", ""):
        from .redis import RedisBroadcast  # a single process needs no redis-py

        return RedisBroadcast(url)
    return Broadcast()


broadcast = make_broadcast()
