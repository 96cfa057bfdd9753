import os

import sentry_sdk
from django.core.wsgi import get_wsgi_application

from aiodjango import get_aio_application


def one_transaction(event, hint):
    """Drop aiohttp's transaction of a request that Django answers: Django's own is sent."""
    shell = "aiodjango.fallback.Fallback.hand_to_django"
    return None if event.get("transaction") == shell else event


sentry_sdk.init(
    dsn=os.environ["SENTRY_DSN"],
    traces_sample_rate=1.0,
    before_send_transaction=one_transaction,
)

app = get_aio_application(get_wsgi_application())
