"""Events from any code, in any process, to every open connection.

`publish()` and `apublish()` send an event to a channel, `subscribe()` receives the events of
channels. A back end, chosen by the setting AIO_BROADCAST, carries events between processes.

The way of an event, and the modules, each of which imports those below it:

subscription, publishing  the public functions; the event is encoded
process                   passes the message to each event loop's hub
hub                       delivers it to the subscriptions of its loop
outbox, link              send messages to the broker, and keep its subscriptions up to date
backend                   what a back end does: memory, redis, postgres, channels
"""

from .publishing import apublish, publish
from .subscription import Subscription, subscribe

__all__ = ["Subscription", "apublish", "publish", "subscribe"]
