"""Messages from any code, in any process, to every open connection.

`publish()` and `apublish()` send an event to a channel, `subscribe()` receives the events of some
channels. A back end, chosen by the setting AIO_BROADCAST, carries events between processes.

An event's way:

in the publisher    the event is encoded (`publishing`) and given to each hub of the process
on an event loop    the hub (`hub`) delivers it to its subscriptions (`subscription`), and its
                    outbox (`outbox`) sends it to the broker through the back end
in other processes  the back end receives it and gives it to the hub there
"""

from .publishing import apublish, publish
from .subscription import Subscription, subscribe

__all__ = ["Subscription", "apublish", "publish", "subscribe"]
